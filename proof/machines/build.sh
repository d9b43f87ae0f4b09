# Builds the library and the tests in C for a machine. Sourced, after root.sh
# and machine NAME.
#
#     build_all    leaves $built/libblkalign.so.0, $built/c/test-*, and unit
#                  tests in Rust in $built/unit/
#
# SPDX-License-Identifier: MIT OR Apache-2.0
built=$machines/$name

# The library's, the request machine's and the daemon's.
packages='-p blkalign -p blkalign-machine -p blkalign-vhost-user-blk'

build_unit_tests() {
    local file
    rm -rf "$built/unit" && mkdir -p "$built/unit"
    # shellcheck disable=SC2086
    with_cargo test $packages --lib --bins --no-run 2>&1 |
        tee "$built/unit.log"
    sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$built/unit.log" |
        while read -r file; do
            cp "$file" "$built/unit/"
        done
    [ -n "$(ls "$built/unit")" ]
}

# One at a time, of all that build for this machine.
build_all() {
    local result=0
    mkdir -p "$built/c"
    exec {lock}>"$built/lock"
    flock "$lock"
    build_each || result=1
    flock -u "$lock"
    return $result
}

build_each() {
    build_unit_tests || return 1
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
