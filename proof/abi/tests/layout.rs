//! A C compiler that reads the header sees what Rust means: each struct has the same size, each
//! field the same place and size, each constant the same value.

use std::fmt::Write as _;
use std::mem::{offset_of, size_of};
use std::path::Path;

use blkalign::capi::*;

/// A struct of `src/capi`.
struct Struct {
    name: &'static str,
    bytes: usize,
    fields: Vec<Field>,
}

struct Field {
    name: &'static str,
    offset: usize,
    bytes: usize,
}

struct Constant {
    name: &'static str,
    value: u64,
}

/// What Rust's compiler makes of the names that build.rs has found.
macro_rules! names {
    (structs { $($name:ident { $($field:ident)* })* } constants { $($constant:ident)* }) => {(
        vec![$(Struct {
            name: stringify!($name),
            bytes: size_of::<$name>(),
            fields: vec![$(Field {
                name: stringify!($field),
                offset: offset_of!($name, $field),
                bytes: bytes_of_field(|owner: &$name| &owner.$field),
            },)*],
        },)*],
        vec![$(Constant { name: stringify!($constant), value: $constant.into() },)*],
    )};
}

fn bytes_of_field<Owner, Kind>(_: fn(&Owner) -> &Kind) -> usize {
    size_of::<Kind>()
}

fn rust() -> (Vec<Struct>, Vec<Constant>) {
    include!(concat!(env!("OUT_DIR"), "/names.rs"))
}

/// Lets the C compiler check each number: an array of -1 elements is an error.
fn c_program() -> String {
    let (structs, constants) = rust();
    let mut expected = Vec::new();
    for owner in &structs {
        let name = owner.name;
        expected.push((format!("sizeof({name})"), owner.bytes as u64));
        for field in &owner.fields {
            let place = format!("offsetof({name}, {})", field.name);
            let bytes = format!("sizeof((({name} *)0)->{})", field.name);
            expected.push((place, field.offset as u64));
            expected.push((bytes, field.bytes as u64));
        }
    }
    expected.extend(constants.iter().map(|each| (each.name.to_owned(), each.value)));
    let mut program = String::from("#include <blkalign.h>\n");
    for (number, (seen, value)) in expected.iter().enumerate() {
        writeln!(program, "typedef char rust_{number}[{seen} == {value} ? 1 : -1];").unwrap();
    }
    program
}

#[test]
fn c_compiler_sees_the_sizes_places_and_values_of_rust() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source = out.join("layout.c");
    std::fs::write(&source, c_program()).unwrap();
    let compiler = cc::Build::new()
        .cargo_metadata(false)
        .host(env!("TARGET"))
        .target(env!("TARGET"))
        .opt_level(0)
        .out_dir(out)
        .get_compiler();
    let output = compiler
        .to_command()
        .args(["-std=c99", "-fsyntax-only", "-I"])
        .arg(abi_test::root().join("include"))
        .arg(&source)
        .output()
        .expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The names that were compared are all that the header has.
#[test]
fn no_field_is_forgotten_here() {
    let header = abi_test::header();
    let (structs, constants) = rust();
    for (name, fields) in abi_test::struct_fields(&header) {
        let here = structs.iter().filter(|owner| owner.name == name);
        let here: Vec<&str> =
            here.flat_map(|owner| &owner.fields).map(|field| field.name).collect();
        assert_eq!(here, fields, "{name}");
    }
    let macros = header.lines().filter_map(|line| line.strip_prefix("#define BLKALIGN_"));
    // Those of the header alone: the guard, and initialisers.
    let values = macros.filter(|line| line.contains(' ') && !line.contains(['{', '\\']));
    let values: Vec<String> =
        values.map(|line| format!("BLKALIGN_{}", line.split(' ').next().unwrap())).collect();
    let here: Vec<&str> = constants.iter().map(|constant| constant.name).collect();
    assert_eq!(here, values);
}
