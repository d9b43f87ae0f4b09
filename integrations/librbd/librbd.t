#!/bin/sh
# The driver for images of Ceph, on a cluster of its own: test-librbd.c, the
# conformance suite, the benchmark. TAP, for prove(1). BLKALIGN_TEST_LIBRBD,
# BLKALIGN_TORTURE and BLKALIGN_BENCH name the programs.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

here=$(dirname "$(realpath "$0")")
torture=$(realpath "${BLKALIGN_TORTURE:-build/tools/blkalign-torture}")
bench=$(realpath "${BLKALIGN_BENCH:-build/tools/blkalign-bench}")
tests=${BLKALIGN_TEST_LIBRBD-$PWD/build/test-librbd}
if [ ! -x "$tests" ]; then
    echo "1..0 # SKIP built without librbd: librbd-dev is missing"
    exit 0
fi
. "$here/ceph.sh"
missing=$(ceph_missing)
if [ -n "$missing" ]; then
    echo "1..0 # SKIP wants a Ceph cluster, and there is no $missing:" \
        "BLKALIGN_SETUP_CEPH=1 scripts/setup installs it"
    exit 0
fi
. "$here/../../tools/common/tap.sh"
directory=$(mktemp -d) || exit 1
trap 'ceph_stop; rm -rf "$directory"' EXIT
trap 'exit 1' HUP INT TERM
cd "$directory" || exit 1
if ! ceph_start; then
    sed 's/^/# /' ceph/start.log
    echo "Bail out! Ceph does not start here"
    exit 1
fi
# run_program PROGRAM...: leaves out, err and status behind
run_program() {
    program=$1
    shift
    run "$@"
}
passes() {
    exited 0 && ! grep -q '^not ok' out || return 1
    for words; do
        grep -q -e "$words" out || return 1
    done
}

run_program "$tests" "$ceph_osd"
ok "test-librbd: all holds" passes

rbd create --size 16 rbd/torture
run_program "$torture" --destroy-data --rounds 10 -a blkalign-rbd \
    -o align=4096 rbd:rbd/torture
ok "the suite passes over the driver, in blocks" passes \
    "its driver for Ceph, alignment 4096" \
    "No guarantee that was tested is broken"
run_program "$torture" --destroy-data --rounds 10 -a blkalign-rbd \
    -o completion=eventfd rbd:rbd/torture
ok "and with all bytes as they come" passes \
    "its driver for Ceph, alignment 1" \
    "No guarantee that was tested is broken"

run_program "$bench" -w -q -c 500 -d 32 -s 100 -S 100 --pattern=7 \
    --flush-interval 100 rbd:rbd/torture
ok "the benchmark writes through it" silent 0 err
bytes_are() {
    rbd export --no-progress rbd/torture got &&
        head -c 50000 /dev/zero | tr '\0' '\7' | cmp -n 50000 got -
}
ok "what it wrote is there" bytes_are

echo "1..$number"
