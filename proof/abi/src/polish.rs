//! Makes cbindgen's output read as if written by hand: short comments on one line, prototypes
//! filled to the width of the page, `blkalign_handle` without `struct`, constants of one kind
//! together. Changes white space and comments only; but for `struct`, which the typedefs make
//! superfluous.

/// Columns of the page.
pub const WIDTH: usize = 79;

pub fn polish(generated: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut input = generated.lines().map(tidy);
    while let Some(line) = input.next() {
        if line.trim() == "/**" {
            let comment: Vec<String> =
                std::iter::once(line).chain(take_until(&mut input, "*/")).collect();
            lines.extend(short_comment(comment));
        } else if line.contains('(') && line.ends_with(',') {
            let rest = take_until(&mut input, ");");
            lines.extend(filled(&line, &rest));
        } else {
            lines.push(line);
        }
    }
    let lines = constants_together(lines);
    for line in &lines {
        assert!(
            line.len() <= WIDTH,
            "wrap the comment in src/header or src/capi to {WIDTH} columns: {line}"
        );
    }
    lines.join("\n") + "\n"
}

fn tidy(line: &str) -> String {
    let line = line.trim_end();
    match line.split_once("// ").filter(|_| line.starts_with(['#', '}'])) {
        Some((code, comment)) => format!("{} /* {comment} */", code.trim_end()),
        None if line.starts_with("typedef struct") => line.to_owned(),
        None => line.replace("struct blkalign_", "blkalign_"),
    }
}

/// The lines up to the first that ends with `end`, which is among them.
fn take_until(input: &mut impl Iterator<Item = String>, end: &str) -> Vec<String> {
    let mut taken = Vec::new();
    for line in input {
        let last = line.ends_with(end);
        taken.push(line);
        if last {
            break;
        }
    }
    taken
}

/// A comment of one line that fits beside its own marks is put there.
fn short_comment(comment: Vec<String>) -> Vec<String> {
    if let [open, text, _] = comment.as_slice() {
        let indent = &open[..open.len() - "/**".len()];
        let text = text.trim().trim_start_matches('*').trim();
        let line = format!("{indent}/** {text} */");
        if line.len() <= WIDTH {
            return vec![line];
        }
    }
    comment
}

/// A prototype, as many arguments to a line as fit.
fn filled(first: &str, rest: &[String]) -> Vec<String> {
    // In `int (*name)(void *opaque` the arguments follow the second bracket.
    let name_end = first.find("(*").and_then(|at| first[at..].find(')').map(|end| at + end));
    let column = first[name_end.unwrap_or(0)..].find('(').unwrap_or(0) + name_end.unwrap_or(0) + 1;
    let mut lines = vec![first[..column].to_owned()];
    let arguments = std::iter::once(&first[column..]).chain(rest.iter().map(|line| line.trim()));
    for argument in arguments {
        let line = lines.last_mut().expect("begins with one");
        let space = if line.len() == column { "" } else { " " };
        if line.len() + space.len() + argument.len() > WIDTH {
            lines.push(" ".repeat(column) + argument);
        } else {
            line.push_str(space);
            line.push_str(argument);
        }
    }
    lines
}

/// Drops the empty line between two constants of the same kind (`BLKALIGN_O_...`).
fn constants_together(lines: Vec<String>) -> Vec<String> {
    let kind = |line: &String| -> Option<String> {
        let name = line.strip_prefix("#define ")?.split(' ').next()?;
        Some(name.split('_').take(2).collect::<Vec<_>>().join("_"))
    };
    let mut together = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| kind(&lines[before]));
        let mut after = lines[index + 1..].iter().skip_while(|line| is_comment(line));
        if line.is_empty() && before.is_some() && before == after.next().and_then(kind) {
            continue;
        }
        together.push(line.clone());
    }
    together
}

fn is_comment(line: &str) -> bool {
    line.starts_with("/**") || line.starts_with(" *")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cbindgen_writes_becomes_readable() {
        let generated = "\
/**
 * One.
 */
#define BLKALIGN_O_A (1 << 0)

/**
 * Two.
 */
#define BLKALIGN_O_B (1 << 1)

/**
 * Another kind.
 */
#define BLKALIGN_OP_C 1

#define BLKALIGN_OP_D 2

int blkalign_f(struct blkalign_handle *h,
               int64_t offset,
               const struct iovec *iov,
               int iovcnt,
               uint32_t flags);
#endif // __cplusplus
";
        let expected = "\
/** One. */
#define BLKALIGN_O_A (1 << 0)
/** Two. */
#define BLKALIGN_O_B (1 << 1)

/** Another kind. */
#define BLKALIGN_OP_C 1
#define BLKALIGN_OP_D 2

int blkalign_f(blkalign_handle *h, int64_t offset, const struct iovec *iov,
               int iovcnt, uint32_t flags);
#endif /* __cplusplus */
";
        assert_eq!(polish(generated), expected);
    }

    #[test]
    fn pointers_to_functions_are_filled_below_their_arguments() {
        let first = "    int (*preadv)(void *opaque,";
        let rest = ["   int64_t offset,", "const struct iovec *iovecs_of_some_length,", "int n);"];
        let lines = filled(first, &rest.map(str::to_owned));
        assert_eq!(lines[0], "    int (*preadv)(void *opaque, int64_t offset,");
        assert_eq!(
            lines[1],
            "                  const struct iovec *iovecs_of_some_length, int n);"
        );
    }
}
