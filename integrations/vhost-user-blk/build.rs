//! With the feature `rbd`: the driver for images of Ceph, which is in C, and librbd. With `nbd`:
//! that for NBD exports, and libnbd.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "rbd")]
    build_driver("librbd", &["blkalign-rbd.c", "place.c", "driver.c"], &["rbd", "rados"]);
    #[cfg(feature = "nbd")]
    build_driver(
        "libnbd",
        &["blkalign-nbd.c", "connection.c", "driver.c", "driving.c", "session.c"],
        &["nbd"],
    );
}

/// Compiles the driver in a folder of `integrations/`, and links what it stands on.
#[cfg(any(feature = "rbd", feature = "nbd"))]
fn build_driver(folder: &str, sources: &[&str], libraries: &[&str]) {
    println!("cargo::rerun-if-changed=../{folder}");
    cc::Build::new()
        .files(sources.iter().map(|name| format!("../{folder}/{name}")))
        .include("../../include")
        .flag("-std=c99")
        .define("_GNU_SOURCE", None)
        .compile(sources[0].trim_end_matches(".c"));
    for library in libraries {
        println!("cargo::rustc-link-lib={library}");
    }
}
