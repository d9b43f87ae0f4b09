//! Writes down the names that `src/header` has, of structs with their fields and of constants, for
//! tests/layout.rs to look at with both compilers.

use std::fmt::Write as _;
use std::path::Path;

use syn::Item;

fn is_c(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("repr")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|kind| kind == "C")
    })
}

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/header");
    println!("cargo::rerun-if-changed={}", folder.display());
    println!("cargo::rustc-env=TARGET={}", std::env::var("TARGET").unwrap());
    let (mut structs, mut constants) = (String::new(), String::new());
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "rs")) {
        for item in syn::parse_file(&std::fs::read_to_string(file).unwrap()).unwrap().items {
            match item {
                Item::Struct(item) if is_c(&item.attrs) => {
                    write!(structs, "{} {{ ", item.ident).unwrap();
                    for name in item.fields.iter().filter_map(|field| field.ident.as_ref()) {
                        write!(structs, "{name} ").unwrap();
                    }
                    structs += "}\n";
                }
                Item::Const(item) if item.ident.to_string().starts_with("BLKALIGN_") => {
                    writeln!(constants, "{}", item.ident).unwrap();
                }
                _ => {}
            }
        }
    }
    let names = format!("names! {{ structs {{\n{structs}}} constants {{\n{constants}}} }}\n");
    let out = std::env::var_os("OUT_DIR").unwrap();
    std::fs::write(Path::new(&out).join("names.rs"), names).unwrap();
}
