//! Takes the header apart: comments, constants, structs, functions. The header is our own output
//! (`polish.rs`), so its form is known.

pub struct Header {
    pub introduction: String,
    pub constants: Vec<Constant>,
    pub structs: Vec<Struct>,
    pub function_types: Vec<Constant>,
    pub functions: Vec<Function>,
}

/// Names that one comment explains.
pub struct Constant {
    pub names: Vec<String>,
    pub comment: String,
}

pub struct Struct {
    pub name: String,
    pub comment: String,
    pub fields: Vec<Field>,
}

pub struct Field {
    pub name: String,
    pub declaration: String,
    pub comment: String,
}

pub struct Function {
    pub name: String,
    pub comment: String,
    pub returns: String,
    pub arguments: Vec<String>,
}

impl Header {
    pub fn parse(header: &str) -> Header {
        let mut parsed = Header {
            introduction: introduction(header),
            constants: Vec::new(),
            structs: Vec::new(),
            function_types: Vec::new(),
            functions: Vec::new(),
        };
        let code = header.split_once("#define BLKALIGN_VERSION_MAJOR").expect("a version").0.len();
        let start = header[..code].rfind("/**").expect("the version has a comment");
        let mut lines = header[start..].lines();
        let mut comment = String::new();
        while let Some(line) = lines.next() {
            if line.starts_with("/**") {
                comment = read_comment(line, &mut lines);
            } else if let Some(rest) = line.strip_prefix("#define ") {
                let name = rest.split(' ').next().unwrap_or_default().to_owned();
                parsed.add_constant(name, std::mem::take(&mut comment));
            } else if let Some(rest) = line.strip_prefix("typedef struct ") {
                if let Some(name) = rest.strip_suffix(" {") {
                    let fields = read_fields(&mut lines);
                    let comment = std::mem::take(&mut comment);
                    parsed.structs.push(Struct { name: name.to_owned(), comment, fields });
                }
                comment.clear();
            } else if line.starts_with("typedef ") {
                let names = vec![pointer_name(line)];
                let comment = std::mem::take(&mut comment);
                parsed.function_types.push(Constant { names, comment });
            } else if line.contains("blkalign_") && line.contains('(') && !line.starts_with(' ') {
                let declaration = read_until(line, &mut lines, ");");
                parsed.functions.push(function(&declaration, std::mem::take(&mut comment)));
            }
        }
        parsed
    }

    fn add_constant(&mut self, name: String, comment: String) {
        match self.constants.last_mut() {
            Some(last) if comment.is_empty() => last.names.push(name),
            _ => self.constants.push(Constant { names: vec![name], comment }),
        }
    }
}

/// The header's first comment, without its example, which is a matter of the manual of section 7.
fn introduction(header: &str) -> String {
    let (_, rest) = header.split_once("/*\n").expect("a comment");
    let (text, _) = rest.split_once(" */").expect("its end");
    let lines = text.lines().map(|line| line.trim_start_matches(" *").trim_end());
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line));
    let kept = lines.filter(|line| !line.starts_with("    ") && !line.starts_with("SPDX"));
    let text = kept.collect::<Vec<_>>().join("\n");
    text.replace("This file is generated from src/header and src/capi by `make header`.", "")
        .trim()
        .to_owned()
}

fn read_comment<'a>(first: &str, lines: &mut impl Iterator<Item = &'a str>) -> String {
    let first = first.trim();
    if let Some(text) = first.strip_prefix("/** ").and_then(|text| text.strip_suffix(" */")) {
        return text.to_owned();
    }
    let inner = lines.take_while(|line| line.trim() != "*/");
    let inner = inner.map(|line| line.trim().trim_start_matches('*'));
    let inner = inner.map(|line| line.strip_prefix(' ').unwrap_or(line));
    inner.collect::<Vec<_>>().join("\n")
}

fn read_until<'a>(first: &str, lines: &mut impl Iterator<Item = &'a str>, end: &str) -> String {
    let mut text = first.trim().to_owned();
    while !text.ends_with(end) {
        let next = lines.next().expect("a declaration ends");
        text = text + " " + next.trim();
    }
    text
}

fn read_fields<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut comment = String::new();
    while let Some(line) = lines.next() {
        if line.starts_with('}') {
            break;
        }
        if line.trim().starts_with("/**") {
            comment = read_comment(line, lines);
            continue;
        }
        let declaration = read_until(line, lines, ";");
        let declaration = declaration.trim_end_matches(';').to_owned();
        let name = match declaration.contains("(*") {
            true => pointer_name(&declaration),
            false => last_word(&declaration),
        };
        fields.push(Field { name, declaration, comment: std::mem::take(&mut comment) });
    }
    fields
}

/// `name` of `void (*name)(...)`.
fn pointer_name(declaration: &str) -> String {
    let (_, rest) = declaration.split_once("(*").expect("a pointer to a function");
    rest.split(')').next().unwrap_or_default().to_owned()
}

fn last_word(declaration: &str) -> String {
    declaration.rsplit([' ', '*']).next().unwrap_or_default().to_owned()
}

fn function(declaration: &str, comment: String) -> Function {
    let (head, arguments) = declaration.split_once('(').expect("arguments");
    let name = last_word(head);
    let returns = head[..head.len() - name.len()].trim().to_owned();
    let arguments = arguments.trim_end_matches(");");
    let arguments = arguments.split(", ").map(str::to_owned).collect();
    Function { name, comment, returns, arguments }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_struct_and_constant_of_the_header_is_found() {
        let header = crate::header();
        let parsed = Header::parse(&header);
        let code = crate::sources().map(|source| std::fs::read_to_string(source).unwrap());
        let exported: usize = code.map(|code| code.matches("#[no_mangle]").count()).sum();
        assert_eq!(parsed.functions.len(), exported);
        let constants: usize = parsed.constants.iter().map(|constant| constant.names.len()).sum();
        let defines = header.lines().filter(|line| line.starts_with("#define BLKALIGN_"));
        let defines = defines.filter(|line| !line.contains("_INIT") && line.contains(' ')).count();
        assert_eq!(constants, defines - 1, "all but the include guard");
        assert!(parsed.functions.iter().all(|function| !function.comment.is_empty()));
        assert!(parsed.structs.iter().all(|record| record.fields.len() > 1));
    }
}
