#!/bin/sh
# The conformance suite and the benchmark over the NBD driver, on an nbdkit
# that refuses whatever is not whole blocks. TAP, for prove(1).
# BLKALIGN_TORTURE and BLKALIGN_BENCH name the programs.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

torture=$(realpath "${BLKALIGN_TORTURE:-build/tools/blkalign-torture}")
bench=$(realpath "${BLKALIGN_BENCH:-build/tools/blkalign-bench}")
for need in nbdkit nbdcopy qemu-io; do
    if ! command -v $need >/dev/null; then
        echo "1..0 # SKIP $need is not installed"
        exit 0
    fi
done
if "$torture" --help | grep -q "built without libnbd"; then
    echo "1..0 # SKIP built without libnbd: libnbd-dev is missing"
    exit 0
fi
. "$(dirname "$0")/../../tools/common/tap.sh"
directory=$(mktemp -d) || exit 1
trap 'rm -rf "$directory"' EXIT
trap 'exit 1' HUP INT TERM
cd "$directory" || exit 1

# under SERVER PROGRAM...: the program with the URI as its last argument, on
# the server with these arguments; leaves out, err and status behind
under() {
    server=$1
    shift
    line=
    for word; do
        line="$line '$word'"
    done
    # shellcheck disable=SC2086
    nbdkit -U - --filter=blocksize-policy $server blocksize-minimum=4096 \
        blocksize-error-policy=error --run "$line \"\$uri\" >out 2>err" 2>server
    status=$?
}

passes() {
    exited 0 && [ ! -s err ] && ! grep -q '^not ok' out &&
        grep -q '^# No guarantee that was tested is broken' out || return 1
    for words; do
        grep -q -e "$words" out || return 1
    done
}

under "--filter=log --filter=error memory 4M error-pread-rate=100% \
    error-file=$directory/fail logfile=$directory/log" \
    "$torture" --destroy-data --rounds 15 -a blkalign-nbd \
    --fault-on "touch $directory/fail" --fault-off "rm $directory/fail" \
    --flush-count "grep -cE \"Flush|fua=1\" $directory/log"
ok "the suite passes over the driver" passes \
    "its driver for NBD, alignment 4096" "lost-update: 0 of 120" \
    "edge-read-error: 6 writes failed, 0 of them" \
    "flush: 32 accepted, each reached"
several() { grep -q "connection=4 Write" log; }
ok "over several connections" several
under "memory 4M" "$torture" --destroy-data --rounds 15 -a blkalign-nbd \
    -o connections=1,completion=eventfd
ok "with one, and eventfd" passes "eventfd" "model-handles: "

head -c 65536 /dev/zero >image
under "--filter=fua file image" "$bench" -w -q -c 500 -s 100 -S 100 \
    --pattern=7 --flush-interval 100
ok "the benchmark writes through it" silent 0 err
bytes_are() {
    qemu-io -r -f raw -c 'read -P 7 0 50000' -c 'read -P 0 50000 15536' \
        image >out 2>err && ! grep -q "verification failed" out
}
ok "what it wrote is there, and nothing else" bytes_are
under "memory 1M" "$bench" -w -c 2000 -s 700 -S 900 --order random --verify
ok "it verifies what it wrote" silent 0 err
run() {
    "$bench" -c 1 "nbd+unix:///?socket=$directory/none" >out 2>err
    status=$?
}
run
ok "no server is an error, in words" says 1 err "none.*No such file"

echo "1..$number"
