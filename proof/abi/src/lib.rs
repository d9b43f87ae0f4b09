//! Makes `include/blkalign.h` from `src/header` and `src/capi`. The tests beside this prove that it
//! is up to date and that a C compiler reads from it what the Rust side means.

pub mod man;
mod polish;

use std::path::{Path, PathBuf};

/// What the header is made of, in the order of its parts.
const SOURCES: [&str; 19] = [
    "header/constants.rs",
    "header/types.rs",
    "header/driver.rs",
    "header/throttle.rs",
    "header/latency.rs",
    "header/notifier.rs",
    "header/overlay.rs",
    "capi/open.rs",
    "capi/sync.rs",
    "capi/aio.rs",
    "capi/control.rs",
    "capi/events.rs",
    "capi/threads.rs",
    "capi/throttle.rs",
    "capi/before_write.rs",
    "capi/overlay.rs",
    "capi/query.rs",
    "capi/operations.rs",
    "capi/log.rs",
];

/// The folder of the library.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this package lies in the library's")
}

pub fn header_path() -> PathBuf {
    root().join("include/blkalign.h")
}

pub fn sources() -> impl Iterator<Item = PathBuf> {
    SOURCES.iter().map(|name| root().join("src").join(name))
}

/// The text of the header as it should be.
pub fn header() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml");
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = sources().fold(builder, |builder, source| builder.with_src(source));
    let mut text = Vec::new();
    builder.generate().expect("cbindgen understands the sources").write(&mut text);
    polish::polish(&String::from_utf8(text).expect("cbindgen writes UTF-8"))
}

/// The structs of a header with the names of their fields, in order.
pub fn struct_fields(header: &str) -> Vec<(String, Vec<String>)> {
    let mut structs = Vec::new();
    for body in header.split("typedef struct ").skip(1) {
        let Some((name, rest)) = body.split_once(" {\n") else { continue };
        if name.contains([';', '\n']) {
            continue;
        }
        let fields = rest.split_once("\n}").map_or(rest, |(fields, _)| fields);
        let fields = without_comments(fields);
        let fields = fields.split(';').filter_map(field_name).collect();
        structs.push((name.to_owned(), fields));
    }
    structs
}

/// `int (*preadv)(void *opaque)`, `const char *name` and `uint64_t buckets[312]` name `preadv`,
/// `name` and `buckets`.
fn field_name(declaration: &str) -> Option<String> {
    let declaration = declaration.trim();
    let name = match declaration.split_once("(*") {
        Some((_, function)) => function.split(')').next()?,
        None => declaration.rsplit([' ', '*']).next()?.split('[').next()?,
    };
    (!name.is_empty()).then(|| name.to_owned())
}

fn without_comments(text: &str) -> String {
    let mut parts = text.split("/*");
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.split_once("*/").map_or("", |(_, code)| code));
    first + &rest.collect::<String>()
}
