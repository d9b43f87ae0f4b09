#!/bin/sh
# Tests of blkalign-overlay, in TAP, for prove(1). BLKALIGN_OVERLAY names the
# program.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

overlay=${BLKALIGN_OVERLAY:-build/tools/blkalign-overlay}
case $overlay in
*/*) overlay=$(cd "$(dirname "$overlay")" && pwd)/${overlay##*/} ;;
esac
program=$overlay
. "$(dirname "$0")/common/tap.sh"
directory=$(mktemp -d) || exit 1
filling=
trap '[ -z "$filling" ] || kill -9 "$filling"; rm -rf "$directory"' EXIT
cd "$directory" || exit 1

# Neither a whole number of clusters nor of blocks.
head -c 5000001 /dev/urandom >base

run create --like base disk
ok "an overlay is created, as long as its backing object" silent 0 err
ok "its data is a file of that length" \
    [ "$(wc -c <disk)" -eq 5000001 ]
ok "and it has a map" [ -s disk.map ]
run create --like base disk
ok "nothing is overwritten" says 1 err "^blkalign-overlay: disk.*exists"
run info disk
ok "nothing is there at first" says 0 out "absent  *5000001$"
ok "a cluster is 64 KiB" says 0 out "cluster  *65536$"
cksum disk.map >before
run check --read disk
ok "a new overlay is sound" says 0 out "^disk: sound; 0 of 5000001 bytes"
ok "to check it changes nothing" sh -c 'cksum disk.map | cmp -s - before'

run fill --progress disk base
ok "it is filled" exited 0
ok "the progress is told" says 0 err "^100 %"
ok "then it is its backing object" cmp disk base
ok "and has no map any more" [ ! -e disk.map ]
run info disk
ok "it is no overlay any more" says 1 err "ordinary image"

run create --length 32M --cluster 4K slow
ok "length and cluster may be told" exited 0
run info --json slow
if command -v python3 >/dev/null; then
    ok "JSON for programs" python3 -c '
import json
facts = json.load(open("out", encoding="utf-8"))
assert facts == {"path": "slow", "length": 32 << 20, "cluster": 4096,
                 "there": 0, "absent": 32 << 20}, facts
'
else
    skip "JSON for programs" "no python3"
fi
head -c 32M /dev/urandom >large
"$overlay" fill --rate 8M slow large >out 2>err &
filling=$!
sleep 0.5
run info slow
ok "who fills it has it alone" says 1 err "locked\|open elsewhere"
kill -TERM "$filling"
wait "$filling"
status=$?
filling=
mv err stopped
run info slow
ok "a signal stops the fill in between" grep -q "goes on from here" stopped
there=$(sed -n 's/^ *there *//p' out)
ok "what it copied stays" [ "$there" -gt 0 ]
ok "it kept to its rate" [ "$there" -lt 16777216 ]
run check --read slow
ok "it is sound" exited 0
run fill slow large
ok "the next fill goes on to the end" exited 0
ok "the copy is whole" cmp slow large

run create --length 1M bad
printf 'x' | dd of=bad.map bs=1 seek=20 conv=notrunc 2>/dev/null
cksum bad.map bad >before
run check bad
ok "a damaged map is noticed, with words" says 1 err "checksum"
ok "and nothing is touched" sh -c 'cksum bad.map bad | cmp -s - before'
run fill bad base
ok "it is not filled" says 1 err "checksum"
run create --length 1M other
truncate -s 2M other
run check other
ok "data of another length is noticed" says 1 err "1048576"

run fill disk missing
ok "a backing object that is missing is named" says 1 err \
    "^blkalign-overlay: missing: cannot open"
run create --cluster 5000 --length 1M odd
ok "an odd cluster is refused" says 1 err "power of two"
ok "and nothing is left" [ ! -e odd ]
run create --length 1M --like base odd
ok "a length is told once" refused "either --length or --like"
run create odd
ok "a length is told" refused "either --length or --like"
run create --length 9X odd
ok "a length is a number" refused "no usable value: --length"
run create --length 99999999T odd
ok "which is not too great" refused "no usable value: --length"
run fill disk
ok "a backing object is told" refused "which BACKING"
run info
ok "a path is told" refused "which PATH"
run info disk odd
ok "not two" refused "too many arguments: odd"
run info --rate 1 disk
ok "options belong to commands" refused "no such option: --rate"
run wrong
ok "an unknown command is wrong usage" refused "no such command: wrong"
run
ok "no command is wrong usage" refused "^Usage:"
run --help
ok "help is no error" says 0 out "^Usage:"
run --version
ok "the version is told" says 0 out "^blkalign-overlay [0-9]"
"$overlay" --help >/dev/full 2>err
status=$?
ok "output that is lost is a failure" says 1 err "standard output"

echo "1..$number"
