# Builds the library and the tests in C for a machine. Sourced, after root.sh
# and machine NAME.
#
#     build_all    leaves $built/libblkalign.so.0 and $built/c/test-*
#
# SPDX-License-Identifier: MIT OR Apache-2.0
built=$machines/$name

build_all() {
    mkdir -p "$built/c"
    with_cargo rustc --release --lib -p blkalign --crate-type cdylib -- \
        -C link-arg=-Wl,-soname,libblkalign.so.0 &&
        cp "$machines/target/$triple/release/libblkalign.so" \
            "$built/libblkalign.so.0" &&
        in_root make -s -j2 tests CC="$gcc" OUT="build/machines/$name/c" \
            TEST_SHARED="build/machines/$name/libblkalign.so.0" \
            TEST_LINK="build/machines/$name/libblkalign.so.0 -lpthread"
}

# The tests in C that this sees: a program each.
c_tests() {
    local source
    for source in capi-tests/test-*.c; do
        source=${source##*/}
        echo "$built/c/${source%.c}"
    done
}
