//! Makes the manual pages of section 3 from the header, whose comments are what they say: a page
//! for each function and each struct, and `blkalign(3)`, which lists them and explains the
//! constants.

mod header;
mod text;

use std::path::PathBuf;

use header::{Constant, Function, Header, Struct};
use text::{description, escaped, inline, paragraphs, summary};

/// When the pages last changed in substance.
const DATE: &str = "November 30, 2026";

/// A page: its file's name and its text.
pub struct Page {
    pub name: String,
    pub text: String,
}

pub fn directory() -> PathBuf {
    crate::root().join("docs/man")
}

/// All pages that are made from `header`.
pub fn pages(header: &str) -> Vec<Page> {
    let header = Header::parse(header);
    let functions = header.functions.iter().map(|function| page_of_function(function, &header));
    let structs = header.structs.iter().map(page_of_struct);
    let overview = Page { name: "blkalign.3".into(), text: overview(&header) };
    std::iter::once(overview).chain(functions).chain(structs).collect()
}

fn start(name: &str, what: &str) -> String {
    format!(
        ".\\\" Generated from src/header and src/capi by `make man`.\n\
         .\\\" SPDX-License-Identifier: MIT OR Apache-2.0\n\
         .Dd {DATE}\n.Dt {} 3\n.Os\n.Sh NAME\n.Nm {name}\n.Nd {what}\n",
        name.to_uppercase()
    )
}

fn page_of_function(function: &Function, header: &Header) -> Page {
    let name = &function.name;
    let mut page = start(name, &summary(&function.comment));
    page += ".Sh LIBRARY\nblkalign (libblkalign, \\-lblkalign)\n";
    page += ".Sh SYNOPSIS\n.In blkalign.h\n";
    page += &format!(".Ft {}\n.Fo {name}\n", quoted(&function.returns));
    for argument in &function.arguments {
        page += &format!(".Fa {}\n", quoted(argument));
    }
    page += ".Fc\n.Sh DESCRIPTION\n";
    let (what, returns, errors) = description(&function.comment);
    page += &paragraphs(&what);
    if let Some(returns) = returns {
        page += ".Sh RETURN VALUES\n";
        page += &inline(&returns);
    }
    if !errors.is_empty() {
        page += ".Sh ERRORS\nThe negative of:\n.Bl -tag -width Er\n";
        for (errno, meaning) in &errors {
            page += &format!(".It Bq Er {errno}\n{}", inline(meaning));
        }
        page += ".El\n";
    }
    page += ".Sh SEE ALSO\n.Xr blkalign 3 ,\n";
    for other in related(function, header) {
        page += &format!(".Xr {other} 3 ,\n");
    }
    page += ".Xr blkalign 7\n";
    Page { name: format!("{name}.3"), text: page }
}

/// The synchronous and the asynchronous form of the same, what frees what one gives, and the
/// structs among the arguments.
fn related(function: &Function, header: &Header) -> Vec<String> {
    let name = &function.name;
    let takes = |record: &&Struct| {
        function.arguments.iter().any(|argument| argument.split(' ').any(|it| it == record.name))
    };
    let structs = header.structs.iter().filter(takes).map(|record| record.name.clone());
    let stem = name.trim_start_matches("blkalign_").trim_start_matches("aio_");
    let mut related: Vec<String> = structs.collect();
    for function in &header.functions {
        let other = function.name.trim_start_matches("blkalign_").trim_start_matches("aio_");
        let pair = [("plug", "unplug"), ("register_buf", "unregister_buf"), ("memalign", "free")]
            .iter()
            .chain(&[("get_event_fd", "poll"), ("open", "close"), ("aio_submit", "aio_cancel")])
            .chain(&[("drain", "drain_timeout"), ("aio_cancel", "cancel_all")])
            .chain(&[("throttle_new", "throttle_set"), ("throttle_new", "throttle_free")])
            .chain(&[("throttle_new", "set_throttle")])
            .chain(&[("pause", "resume"), ("get_latency", "latency_bucket_ns")])
            .chain(&[("get_stats", "get_latency"), ("set_timeout", "cancel_all")])
            .any(|pair| *pair == (stem, other) || *pair == (other, stem));
        if function.name != *name && (other == stem || pair) {
            related.push(function.name.clone());
        }
    }
    related.sort();
    related
}

fn page_of_struct(record: &Struct) -> Page {
    let name = &record.name;
    let mut page = start(name, &summary(&record.comment));
    page += ".Sh SYNOPSIS\n.In blkalign.h\n.Bd -literal\n";
    page += &format!("typedef struct {name} {{\n");
    for field in &record.fields {
        page += &format!("    {};\n", escaped(&field.declaration));
    }
    page += &format!("}} {name};\n.Ed\n.Sh DESCRIPTION\n");
    page += &paragraphs(&record.comment);
    page += ".Bl -tag -width 4n\n";
    for field in &record.fields {
        page += &format!(".It Va {}\n{}", field.name, paragraphs(&field.comment));
    }
    page += ".El\n.Sh SEE ALSO\n.Xr blkalign 3 ,\n.Xr blkalign 7\n";
    Page { name: format!("{name}.3"), text: page }
}

/// `.Va a , b` and the like.
fn list(names: &[String], macro_name: &str) -> String {
    format!("{macro_name} {}", names.join(" , "))
}

fn overview(header: &Header) -> String {
    let mut page = start("blkalign", "I/O of any size at any offset on storage that takes blocks");
    page += ".Sh LIBRARY\nblkalign (libblkalign, \\-lblkalign)\n.Sh SYNOPSIS\n.In blkalign.h\n";
    page += ".Sh DESCRIPTION\n";
    page += &paragraphs(&header.introduction);
    page += ".Xr blkalign 7\nexplains the model: alignment, isolation, durability, threads.\n";
    page += ".Ss Functions\n.Bl -tag -width 4n\n";
    for function in &header.functions {
        page += &format!(".It Xr {} 3\n{}", function.name, inline(&summary(&function.comment)));
    }
    page += ".El\n.Ss Structs\n.Bl -tag -width 4n\n";
    for record in &header.structs {
        page += &format!(".It Xr {} 3\n{}", record.name, inline(&summary(&record.comment)));
    }
    page += ".El\n.Ss Function types\n.Bl -tag -width 4n\n";
    for Constant { names, comment } in &header.function_types {
        page += &format!(".It {}\n{}", list(names, "Vt"), paragraphs(comment));
    }
    page += ".El\n.Ss Constants\n.Bl -tag -width 4n\n";
    for Constant { names, comment } in &header.constants {
        page += &format!(".It {}\n{}", list(names, "Dv"), paragraphs(comment));
    }
    page += ".El\n.Sh SEE ALSO\n.Xr blkalign-bench 1 ,\n.Xr blkalign-info 1 ,\n";
    page += ".Xr blkalign-torture 1 ,\n.Xr blkalign 7\n";
    page
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// What one name says, and whose words they are.
    fn words_of_all(header: &Header) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for record in &header.structs {
            all.push((record.name.clone(), record.comment.clone()));
            for field in &record.fields {
                all.push((format!("{}.{}", record.name, field.name), field.comment.clone()));
            }
        }
        for function in &header.functions {
            all.push((function.name.clone(), function.comment.clone()));
        }
        for constant in header.constants.iter().chain(&header.function_types) {
            for (index, name) in constant.names.iter().enumerate() {
                // Those after the first have no comment of their own.
                let comment = if index == 0 { constant.comment.clone() } else { String::new() };
                all.push((name.clone(), comment));
            }
        }
        all
    }

    /// The punctuation that a sentence does not have.
    fn broken_punctuation(text: &str) -> Option<&'static str> {
        let text = text.replace("...", "");
        const BROKEN: [&str; 17] = [
            "..", ":.", ",.", ";.", ".,", ":,", ";,", ",,", ".:", ",:", ";:", "::", ".;", ":;",
            ",;", " .", " ,",
        ];
        BROKEN.into_iter().find(|broken| text.contains(broken))
    }

    /// The text of a page as it is read: names without their macros.
    fn read_aloud(page: &str) -> String {
        let mut text = String::new();
        for line in page.lines() {
            let Some(line) = line.strip_prefix('.').filter(|line| !line.starts_with("\\\"")) else {
                text.push_str(line);
                text.push('\n');
                continue;
            };
            let mut words = line.split(' ');
            match words.next().unwrap_or_default() {
                "Sh" | "Ss" | "It" | "Pp" | "El" | "Bl" => text.push_str("\n\n"),
                _ => text.push(' '),
            }
            for word in words {
                let mark = word.len() == 1 && !word.starts_with(|c: char| c.is_alphanumeric());
                text.push_str(if mark || text.ends_with(['\n', '(', ' ']) { "" } else { " " });
                text.push_str(word);
            }
            text.push('\n');
        }
        text
    }

    #[test]
    fn every_field_function_and_constant_has_a_sentence_of_its_own() {
        let header = Header::parse(&crate::header());
        let all = words_of_all(&header);
        let mut seen: BTreeMap<(String, String), String> = BTreeMap::new();
        let mut wrong = Vec::new();
        for (name, words) in &all {
            let ends = words.ends_with('.') || words.ends_with(".)");
            if !ends || !words.contains(' ') {
                wrong.push(format!("{name}: no sentence: {words:?}"));
            }
            // The same words for two fields of a struct, say.
            let whole = (name.split('.').next().unwrap_or_default().to_owned(), words.clone());
            if let Some(other) = seen.insert(whole, name.clone()) {
                wrong.push(format!("{name}: the words of {other}"));
            }
        }
        assert!(wrong.is_empty(), "in src/header and src/capi:\n{}", wrong.join("\n"));
        assert!(all.len() > 150, "{}", all.len());
    }

    #[test]
    fn no_page_and_no_comment_has_broken_punctuation() {
        let header = crate::header();
        let comments = words_of_all(&Header::parse(&header));
        let pages = pages(&header).into_iter().map(|page| (page.name, read_aloud(&page.text)));
        for (name, text) in comments.into_iter().chain(pages) {
            if let Some(broken) = broken_punctuation(&text) {
                let at = text.find(broken).unwrap_or_default();
                let around: String = text.chars().skip(at.saturating_sub(40)).take(60).collect();
                panic!("{name}: {broken:?} in {around:?}");
            }
        }
    }

    #[test]
    fn no_part_of_a_page_is_empty() {
        for page in pages(&crate::header()) {
            let lines: Vec<&str> = page.text.lines().collect();
            for pair in lines.windows(2) {
                let opens = |line: &str| {
                    [".Sh ", ".Ss ", ".It ", ".Pp"].iter().any(|open| line.starts_with(open))
                };
                let empty = opens(pair[0]) && (opens(pair[1]) || pair[1] == ".El");
                // `.It Xr name 3` of the list of functions says it all in the next line, too.
                assert!(!empty, "{}: nothing between {:?} and {:?}", page.name, pair[0], pair[1]);
            }
        }
    }
}
