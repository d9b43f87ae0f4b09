//! Makes the manual pages of section 3 from the header, whose comments are what they say: a page for
//! each function and each struct, and `blkalign(3)`, which lists them and explains the constants.

mod header;
mod text;

use std::path::PathBuf;

use header::{Constant, Function, Header, Struct};
use text::{description, escaped, inline, paragraphs, summary};

/// When the pages last changed in substance.
const DATE: &str = "November 22, 2026";

/// A page: its file's name and its text.
pub struct Page {
    pub name: String,
    pub text: String,
}

pub fn directory() -> PathBuf {
    crate::root().join("man")
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
        ".\\\" Generated from src/capi by `make man`.\n\
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
    for other in related(name, header) {
        page += &format!(".Xr {other} 3 ,\n");
    }
    page += ".Xr blkalign 7\n";
    Page { name: format!("{name}.3"), text: page }
}

/// The synchronous and the asynchronous form of the same, and what frees what one gives.
fn related(name: &str, header: &Header) -> Vec<String> {
    let stem = name.trim_start_matches("blkalign_").trim_start_matches("aio_");
    let mut related = Vec::new();
    for function in &header.functions {
        let other = function.name.trim_start_matches("blkalign_").trim_start_matches("aio_");
        let pair = [("plug", "unplug"), ("register_buf", "unregister_buf"), ("memalign", "free")]
            .iter()
            .chain(&[("get_event_fd", "poll"), ("open", "close"), ("aio_submit", "aio_cancel")])
            .any(|pair| *pair == (stem, other) || *pair == (other, stem));
        if function.name != name && (other == stem || pair) {
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
    let mut names = Vec::new();
    let mut comment = String::new();
    for field in &record.fields {
        // Fields without a comment share the one before them.
        if !field.comment.is_empty() && !names.is_empty() {
            page += &item(&names, &comment);
            names.clear();
        }
        if !field.comment.is_empty() {
            comment.clone_from(&field.comment);
        }
        names.push(field.name.clone());
    }
    page += &item(&names, &comment);
    page += ".El\n.Sh SEE ALSO\n.Xr blkalign 3 ,\n.Xr blkalign 7\n";
    Page { name: format!("{name}.3"), text: page }
}

fn item(names: &[String], comment: &str) -> String {
    format!(".It {}\n{}", list(names, "Va"), inline(comment))
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
        page += &format!(".It {}\n{}", list(names, "Vt"), inline(comment));
    }
    page += ".El\n.Ss Constants\n.Bl -tag -width 4n\n";
    for Constant { names, comment } in &header.constants {
        page += &format!(".It {}\n{}", list(names, "Dv"), inline(comment));
    }
    page += ".El\n.Sh SEE ALSO\n.Xr blkalign-info 1 ,\n.Xr blkalign 7\n";
    page
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}
