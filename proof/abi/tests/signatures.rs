//! What a C compiler reads from the header (bindgen, by libclang) are the functions, structs and
//! numbers of the Rust source, argument by argument.

use std::collections::BTreeMap;

use quote::ToTokens;
use syn::{Fields, FnArg, GenericArgument, Item, PathArguments, ReturnType, Type};

/// Name of an item to its shape, in a form that both sides share.
type Shapes = BTreeMap<String, String>;

fn header_as_rust() -> String {
    bindgen::Builder::default()
        .header(abi_test::header_path().to_str().unwrap())
        .allowlist_item("blkalign_.*|BLKALIGN_.*")
        .layout_tests(false)
        .generate()
        .expect("libclang reads the header")
        .to_string()
}

/// Spells a type as both sides can: without paths, and without the `Option` that lets a pointer to
/// a function be NULL, which C does not tell apart.
fn spelled(ty: &Type) -> String {
    match ty {
        Type::Ptr(pointer) => {
            let access = if pointer.mutability.is_some() { "mut" } else { "const" };
            format!("*{access} {}", spelled(&pointer.elem))
        }
        Type::BareFn(function) => {
            let named = |argument: &syn::BareFnArg| {
                let name = argument.name.as_ref().map(|(name, _)| name.to_string());
                format!("{}: {}", name.unwrap_or_default(), spelled(&argument.ty))
            };
            let arguments: Vec<String> = function.inputs.iter().map(named).collect();
            format!("fn({}) -> {}", arguments.join(", "), result(&function.output))
        }
        Type::Path(path) => {
            let last = path.path.segments.last().expect("a path has a last segment");
            match &last.arguments {
                PathArguments::AngleBracketed(of) if last.ident == "Option" => match &of.args[0] {
                    GenericArgument::Type(inner) => spelled(inner),
                    other => unreachable!("{other:?}"),
                },
                _ => last.ident.to_string(),
            }
        }
        Type::Array(array) => {
            let count = array.len.to_token_stream().to_string();
            format!("[{}; {}]", spelled(&array.elem), count.trim_end_matches("usize"))
        }
        other => unreachable!("C has no {}", other.to_token_stream()),
    }
}

fn arguments<'a>(inputs: impl Iterator<Item = &'a FnArg>) -> String {
    let types = inputs.map(|input| match input {
        FnArg::Typed(typed) => format!("{}: {}", typed.pat.to_token_stream(), spelled(&typed.ty)),
        FnArg::Receiver(_) => unreachable!("C has none"),
    });
    types.collect::<Vec<_>>().join(", ")
}

fn result(output: &ReturnType) -> String {
    match output {
        ReturnType::Default => "()".to_owned(),
        ReturnType::Type(_, ty) => spelled(ty),
    }
}

fn signature(signature: &syn::Signature) -> String {
    format!("fn({}) -> {}", arguments(signature.inputs.iter()), result(&signature.output))
}

fn ours(name: &syn::Ident) -> bool {
    let name = name.to_string();
    name.starts_with("blkalign_") || name.starts_with("BLKALIGN_")
}

fn add(shapes: &mut Shapes, item: Item) {
    let (name, shape) = match item {
        Item::Fn(function) if ours(&function.sig.ident) => {
            (function.sig.ident.to_string(), signature(&function.sig))
        }
        Item::ForeignMod(block) => {
            for item in block.items {
                if let syn::ForeignItem::Fn(function) = item {
                    shapes.insert(function.sig.ident.to_string(), signature(&function.sig));
                }
            }
            return;
        }
        Item::Struct(item) if ours(&item.ident) => match item.fields {
            Fields::Named(fields) if !is_opaque(&item.ident) => {
                let named = |field: &syn::Field| {
                    format!("{}:{}", field.ident.as_ref().unwrap(), spelled(&field.ty))
                };
                let fields: Vec<String> = fields.named.iter().map(named).collect();
                (item.ident.to_string(), fields.join(";"))
            }
            _ => return,
        },
        Item::Type(item) if ours(&item.ident) => (item.ident.to_string(), spelled(&item.ty)),
        Item::Const(item) if ours(&item.ident) => (item.ident.to_string(), number(&item.expr)),
        _ => return,
    };
    shapes.insert(name, shape);
}

/// The value of `5` or `1 << 5`.
fn number(expression: &syn::Expr) -> String {
    let text = expression.to_token_stream().to_string().replace(' ', "");
    let value = match text.split_once("<<") {
        Some((one, shift)) => one.parse::<u32>().unwrap() << shift.parse::<u32>().unwrap(),
        None => text.parse().unwrap(),
    };
    value.to_string()
}

fn shapes<'a>(sources: impl Iterator<Item = &'a str>) -> Shapes {
    let mut shapes = Shapes::new();
    for source in sources {
        syn::parse_file(source).unwrap().items.into_iter().for_each(|item| add(&mut shapes, item));
    }
    shapes
}

#[test]
fn header_and_rust_agree() {
    let header = header_as_rust();
    let texts: Vec<String> =
        abi_test::sources().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let in_header = shapes(std::iter::once(header.as_str()));
    let in_rust = shapes(texts.iter().map(String::as_str));
    assert!(in_rust.len() > 60, "{}", in_rust.len());
    assert_eq!(in_header.keys().collect::<Vec<_>>(), in_rust.keys().collect::<Vec<_>>());
    for (name, shape) in &in_rust {
        assert_eq!(&in_header[name], shape, "{name}");
    }
}

/// C knows only pointers to these.
fn is_opaque(name: &syn::Ident) -> bool {
    ["blkalign_handle", "blkalign_throttle", "blkalign_notifier"].iter().any(|its| name == its)
}
