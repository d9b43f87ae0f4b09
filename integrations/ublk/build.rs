//! With the feature `nbd`: the driver for NBD, which is in C, and libnbd.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "nbd")]
    build_nbd_driver();
}

#[cfg(feature = "nbd")]
fn build_nbd_driver() {
    let folder = "../libnbd";
    let sources = ["blkalign-nbd.c", "connection.c", "driver.c", "driving.c", "session.c"];
    println!("cargo::rerun-if-changed={folder}");
    let libnbd = pkg_config::Config::new().cargo_metadata(false).probe("libnbd").unwrap();
    cc::Build::new()
        .files(sources.map(|name| format!("{folder}/{name}")))
        .include("../../include")
        .includes(libnbd.include_paths)
        .flag("-std=c99")
        .define("_GNU_SOURCE", None)
        .compile("blkalign-nbd");
    println!("cargo::rustc-link-lib=nbd");
}
