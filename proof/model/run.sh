#!/bin/bash
# Checks the models with spin, and that each broken variant is rejected. TAP.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

here=$(cd "$(dirname "$0")" && pwd)
if ! command -v spin >/dev/null; then
    echo '1..0 # SKIP spin is not installed'
    exit 0
fi
directory=$(mktemp -d) || exit 1
trap 'rm -rf "$directory"' EXIT
cd "$directory" || exit 1
number=0

# verify MODEL PAN-OPTIONS DEFINE...: the whole state space; leaves `said`
verify() {
    local model=$1 options=$2
    shift 2
    rm -f ./*.trail
    spin -a "${@/#/-D}" "$here/$model" >said 2>&1 &&
        cc -O2 -w -DMEMLIM=2048 -DVECTORSZ=2048 -o pan pan.c >>said 2>&1 &&
        ./pan -m1000000 $options >>said 2>&1
}

holds() { grep -q 'errors: 0' said && ! grep -q 'max search depth' said; }
rejected() { grep -q "$1" said && ls ./*.trail >/dev/null 2>&1; }

# ok NAME COMMAND...
ok() {
    local name=$1
    number=$((number + 1))
    shift
    if "$@"; then
        echo "ok $number - $name"
    else
        echo "not ok $number - $name"
        sed 's/^/# /' said
    fi
}
states() { sed -n 's/^ *\([0-9.e+]*\) states, stored.*/# \1 states/p' said; }

verify wait.pml ''
ok 'no deadlock, no lost update: 3 writers, 2 blocks' holds
states
verify wait.pml '' WRITERS=2 BLOCKS=3
ok 'no deadlock, no lost update: 2 writers, 3 blocks' holds
states
for variant in NO_WAIT READ_EARLY EDGES_ONLY; do
    verify wait.pml '' $variant
    ok "$variant loses updates and is rejected" rejected 'assertion violated'
done
for variant in LATE_TOO BLOCKWISE; do
    verify wait.pml '' $variant
    ok "$variant deadlocks and is rejected" rejected 'invalid end state'
done
verify fair.pml '-a -f'
ok 'nobody starves' holds
states
verify fair.pml '-a -f' BARGING
ok 'BARGING starves a writer and is rejected' rejected 'acceptance cycle'
echo "1..$number"
