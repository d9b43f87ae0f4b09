//! With the feature `rbd`: the driver for images of Ceph, which is in C, and librbd. With `nbd`:
//! that for NBD exports, and libnbd.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "rbd")]
    build_rbd_driver();
    #[cfg(feature = "nbd")]
    build_nbd_driver();
}

#[cfg(feature = "nbd")]
fn build_nbd_driver() {
    let folder = "../libnbd";
    let sources = ["blkalign-nbd.c", "connection.c", "driver.c", "driving.c", "session.c"];
    println!("cargo::rerun-if-changed={folder}");
    cc::Build::new()
        .files(sources.map(|name| format!("{folder}/{name}")))
        .include("../../include")
        .flag("-std=c99")
        .define("_GNU_SOURCE", None)
        .compile("blkalign-nbd");
    println!("cargo::rustc-link-lib=nbd");
}

#[cfg(feature = "rbd")]
fn build_rbd_driver() {
    let folder = "../librbd";
    let sources = ["blkalign-rbd.c", "place.c", "driver.c"];
    println!("cargo::rerun-if-changed={folder}");
    cc::Build::new()
        .files(sources.map(|name| format!("{folder}/{name}")))
        .include("../../include")
        .flag("-std=c99")
        .define("_GNU_SOURCE", None)
        .compile("blkalign-rbd");
    println!("cargo::rustc-link-lib=rbd");
    println!("cargo::rustc-link-lib=rados");
}
