#!/bin/bash
# The library on another kind of machine: its unit tests in Rust and the tests
# in C, cross-built, run by QEMU's emulation of user programs, which has no
# io_uring: all I/O is done by threads. TAP, for prove(1). As root; the first
# time with a network.
#
#     check.sh MACHINE        arm64, s390x (big-endian) or ppc64el; so far only
#                             arm64 was tried
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/../.."
. proof/machines/root.sh
machine "${1:?arm64, s390x or ppc64el}"
if ! bring_root; then
    echo "1..0 # SKIP $why"
    exit 0
fi
. proof/machines/build.sh

# What the emulation of a user program cannot do: io_uring; a program that
# starts itself again (proof::faults), which the kernel would have to know as
# one of QEMU's; a limit of memory, which does not hold there; masks of
# signals, which are QEMU's own in /proc. Exhaustive searches would take an
# hour. guest.sh runs all of the tests in C.
rust_skips='--skip ring --skip proof::faults --skip exhaustive'
not_emulated=' test-uring test-uring-refused test-eventfd-inline '
not_emulated+='test-no-memory test-threads-fds '
emulated() {
    local test
    for test in $(c_tests); do
        case $not_emulated in
            *" ${test##*/} "*) ;;
            *) echo "$test" ;;
        esac
    done
}

failed=0
# ok NUMBER NAME COMMAND...: what it says is in build/machines/, and is shown
# if it fails
ok() {
    local number=$1 words=$2 log=$built-$1.log
    shift 2
    if "$@" >"$log" 2>&1; then
        echo "ok $number - $words"
    else
        echo "not ok $number - $words"
        tail -n 60 "$log" | sed 's/^/# /'
        failed=1
    fi
}
# shellcheck disable=SC2086
rust_tests() { with_cargo test $packages --lib --bins -- $rust_skips; }
c_tests_run() {
    local tests
    mapfile -t tests < <(emulated)
    in_root env LD_LIBRARY_PATH="$built" BLKALIGN_TEST_ENGINE=threads \
        BLKALIGN_TEST_SLOW=1 prove --timer --exec "$qemu -L $sysroot" \
        "${tests[@]}"
}

ok 1 "$name: the library and the tests are built" build_all
ok 2 "$name: unit tests in Rust" rust_tests
ok 3 "$name: tests in C, on threads" c_tests_run
echo 1..3
exit $failed
