//! Comments of the header as mdoc: sentences, names of functions and constants, lists of errors.

/// The first sentence, as a page's one-line description: no full stop, no capital.
pub fn summary(comment: &str) -> String {
    let text = comment.split_whitespace().collect::<Vec<_>>().join(" ");
    // A line of names cannot mark which of two words is the argument.
    let text = text.replace("`bytes` bytes", "bytes");
    let end = [". ", ": ", "; "].iter().filter_map(|end| text.find(end)).min();
    let sentence = text[..end.unwrap_or(text.len())].trim_end_matches('.').replace('`', "");
    let mut letters = sentence.chars();
    let second = sentence.chars().nth(1);
    match letters.next() {
        // "I/O" and names stay as they are.
        Some(first) if second.is_some_and(|next| next.is_lowercase() || next == ' ') => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => sentence,
    }
}

/// What a function does, what it returns, and its errors with what they mean.
#[allow(clippy::type_complexity)]
pub fn description(comment: &str) -> (String, Option<String>, Vec<(String, String)>) {
    let start = comment.find("\nReturns ").or_else(|| comment.starts_with("Returns ").then_some(0));
    let Some(start) = start else { return (comment.to_owned(), None, Vec::new()) };
    let (what, rest) = comment.split_at(start);
    let mut returns = Vec::new();
    let mut errors: Vec<(String, String)> = Vec::new();
    for line in rest.trim().lines() {
        if let (Some(rest), true) = (line.strip_prefix("-E"), line.contains("  ")) {
            let (name, meaning) = rest.split_once(' ').unwrap_or((rest, ""));
            errors.push((format!("E{name}"), meaning.trim().to_owned()));
        } else if let (Some((_, meaning)), true) = (errors.last_mut(), line.starts_with("  ")) {
            *meaning += &format!(" {}", line.trim());
        } else {
            returns.push(line.trim());
        }
    }
    // What led over to the list of errors, which has a section of its own.
    let mut returns = returns.join(" ").trim_end_matches(", and").trim_end_matches(':').to_owned();
    if !returns.ends_with('.') {
        returns.push('.');
    }
    for (_, meaning) in &mut errors {
        *meaning = meaning.trim_end_matches([';', '.']).to_owned() + ".";
    }
    (what.trim().to_owned(), Some(returns), errors)
}

/// Paragraphs of running text.
pub fn paragraphs(text: &str) -> String {
    let text = text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty());
    text.map(inline).collect::<Vec<_>>().join(".Pp\n")
}

/// One paragraph: a sentence starts on a line of its own, and names get their macros.
pub fn inline(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let flush = |line: &mut String, lines: &mut Vec<String>| {
        if !line.is_empty() {
            lines.push(std::mem::take(line));
        }
    };
    for word in text.split_whitespace() {
        if let Some(macro_line) = macro_line(word) {
            flush(&mut line, &mut lines);
            lines.push(macro_line);
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line += &at_start(&escaped(&word.replace('`', "")), line.is_empty());
        }
        if word.ends_with(['.', '?', '!']) {
            flush(&mut line, &mut lines);
        }
    }
    flush(&mut line, &mut lines);
    lines.iter().map(|line| filled(line)).collect()
}

/// A name that has a macro, with the punctuation around it as mdoc wants it.
fn macro_line(word: &str) -> Option<String> {
    let (open, rest) = match word.strip_prefix('(') {
        Some(rest) => ("( ", rest),
        None => ("", word),
    };
    if let Some(argument) = argument_line(open, rest) {
        return Some(argument);
    }
    let rest = rest.trim_start_matches('`');
    let end = rest.trim_end_matches([',', '.', ';', ':', ')', '`']);
    // The parentheses of a call belong to the name.
    let (name, is_call) = match (end.strip_suffix('('), rest[end.len()..].starts_with(')')) {
        (Some(name), true) => (name, true),
        _ => (end, false),
    };
    let after = &rest[end.len() + usize::from(is_call)..];
    let after: String =
        after.chars().filter(|c| *c != '`').map(|mark| format!(" {mark}")).collect();
    let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_call && name.starts_with("blkalign_") && word(name) {
        return Some(format!(".Xr {open}{name} 3{after}"));
    }
    // The closing parenthesis has been taken for punctuation.
    if let Some(after) = rest.strip_prefix("blkalign(7)") {
        let after: String = after.chars().map(|mark| format!(" {mark}")).collect();
        return Some(format!(".Xr {open}blkalign 7{after}"));
    }
    if name.starts_with("BLKALIGN_") && word(name) {
        return Some(format!(".Dv {open}{name}{after}"));
    }
    if let Some(errno) = name.strip_prefix("-E").filter(|rest| rest.len() >= 2 && word(rest)) {
        return Some(format!(".Er {open}\\-E{errno}{after}"));
    }
    None
}

/// An argument or field, which stands in backquotes, with what follows it.
fn argument_line(open: &str, word: &str) -> Option<String> {
    let (name, after) = word.strip_prefix('`')?.split_once('`')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '*';
    if name.is_empty() || !name.chars().all(is_name) || !after.chars().all(|c| ",.;:)".contains(c))
    {
        return None;
    }
    let after: String = after.chars().map(|mark| format!(" {mark}")).collect();
    Some(format!(".Fa {open}{name}{after}"))
}

/// A line of text must not start like a macro.
fn at_start(word: &str, starts: bool) -> String {
    if starts && word.starts_with(['.', '\'']) {
        format!("\\&{word}")
    } else {
        word.to_owned()
    }
}

pub fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('"', "\\(dq")
}

/// Text lines of at most 79 columns.
fn filled(line: &str) -> String {
    if line.starts_with('.') {
        return format!("{line}\n");
    }
    let mut filled = String::new();
    let mut columns = 0;
    for word in line.split(' ') {
        if columns > 0 && columns + 1 + word.len() > 79 {
            filled.push('\n');
            columns = 0;
        }
        if columns > 0 {
            filled.push(' ');
            columns += 1;
        }
        let word = at_start(word, columns == 0);
        columns += word.len();
        filled += &word;
    }
    filled.push('\n');
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_macros_and_keep_their_punctuation() {
        assert_eq!(inline("see blkalign_flush()."), "see\n.Xr blkalign_flush 3 .\n");
        assert_eq!(inline("(BLKALIGN_O_RDWR) is"), ".Dv ( BLKALIGN_O_RDWR )\nis\n");
        assert_eq!(inline("-EIO: the end"), ".Er \\-EIO :\nthe end\n");
        assert_eq!(inline("One. Two `flags`."), "One.\nTwo\n.Fa flags .\n");
        assert_eq!(inline("(`*out`, too)"), ".Fa ( *out ,\ntoo)\n");
        assert_eq!(inline("`iov`'s end"), "iov's end\n");
        assert_eq!(inline("See blkalign(7), too."), "See\n.Xr blkalign 7 ,\ntoo.\n");
    }

    #[test]
    fn the_list_of_errors_is_taken_apart() {
        let comment = "Does it.\n\nReturns 0 or -errno: what it says, and\n\
                       -EINVAL   h is NULL;\n          or not;\n-EIO      past the end.";
        let (what, returns, errors) = description(comment);
        assert_eq!(what, "Does it.");
        assert_eq!(returns.unwrap(), "Returns 0 or -errno: what it says.");
        let errors: Vec<_> = errors.iter().map(|(e, m)| (e.as_str(), m.as_str())).collect();
        assert_eq!(errors, [("EINVAL", "h is NULL; or not."), ("EIO", "past the end.")]);
    }

    #[test]
    fn what_leads_to_the_list_of_errors_ends_the_sentence() {
        let comment = "Returns how many ran, or -errno:\n-EINVAL   h is NULL.";
        assert_eq!(description(comment).1.unwrap(), "Returns how many ran, or -errno.");
    }

    #[test]
    fn a_summary_is_the_first_sentence_in_small_letters() {
        assert_eq!(summary("Opens a file. More."), "opens a file");
        assert_eq!(summary("I/O of any size"), "I/O of any size");
        assert_eq!(summary("Reads `bytes` bytes at `offset`."), "reads bytes at offset");
    }
}
