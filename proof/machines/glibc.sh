#!/bin/bash
# The library on Debian 11 (glibc 2.31): built there with this machine's Rust,
# it needs nothing newer, and tests in C pass there. TAP, for prove(1). As
# root; the first time with a network.
#
# A library that was built on a newer system needs that system's glibc or a
# newer one, as all do: capi-tests/symbols.sh sees to it that it needs no
# function that Debian 11 lacks.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/../.."
. proof/machines/root.sh
root=$machines/bullseye built=$machines/glibc
skip_all() {
    echo "1..0 # SKIP $*"
    exit 0
}
make_old_root() {
    local mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
    rm -rf --one-file-system "$root"
    unshare --mount debootstrap --variant=minbase \
        --include=gcc,libc6-dev,make,perl,binutils bullseye "$root" \
        "$mirror" && touch "$root/made"
}
[ "$(id -u)" -eq 0 ] || skip_all 'it takes root, for chroot'
command -v debootstrap >/dev/null || skip_all 'debootstrap is not installed'
mkdir -p "$machines" "$built/c"
[ -e "$root/made" ] || make_old_root >"$root.log" 2>&1 ||
    skip_all "a Debian 11 cannot be made: see $root.log"
bring_crates >"$machines/vendor.log" 2>&1 ||
    skip_all "no crates: see $machines/vendor.log"
rust=$(rustc --print sysroot)
tests=(lost-update vectors driver-contract uring callbacks)
tests=("${tests[@]/#/build/machines/glibc/c/test-}")

failed=0
ok() {
    local number=$1 words=$2
    shift 2
    if "$@" >"$built.log" 2>&1; then
        echo "ok $number - $words"
    else
        echo "not ok $number - $words"
        tail -n 40 "$built.log" | sed 's/^/# /'
        failed=1
    fi
}
build() {
    also=$rust in_root env PATH="$rust/bin:$PATH" \
        CARGO_HOME="$machines/cargo-home" CARGO_NET_OFFLINE=true \
        cargo --config "$machines/vendor.toml" rustc --locked --release \
        --lib -p blkalign --crate-type cdylib --target-dir "$built/target" \
        -- -C link-arg=-Wl,-soname,libblkalign.so.0 &&
        cp "$built/target/release/libblkalign.so" \
            "$built/libblkalign.so.0" &&
        also=$rust in_root env PATH="$rust/bin:$PATH" make -s "${tests[@]}" \
            OUT=build/machines/glibc/c \
            TEST_SHARED=build/machines/glibc/libblkalign.so.0 \
            TEST_LINK='build/machines/glibc/libblkalign.so.0 -lpthread -lrt -ldl -lm'
}
nothing_newer() {
    objdump -T "$built/libblkalign.so.0" | grep -oE 'GLIBC_[0-9.]+' |
        sort -uV | tee "$built/versions"
    grep -q . "$built/versions" &&
        ! grep -qE 'GLIBC_2\.(3[2-9]|[4-9][0-9])' "$built/versions"
}
some_tests() {
    in_root env LD_LIBRARY_PATH="$built" prove --exec '' \
        "${tests[@]}"
}
ok 1 'it is built on Debian 11' build
ok 2 'it needs nothing newer than glibc 2.31' nothing_newer
echo "# it needs $(tail -n 1 "$built/versions")"
ok 3 'tests pass there' some_tests
echo 1..3
exit $failed
