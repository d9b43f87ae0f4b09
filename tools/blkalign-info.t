#!/bin/sh
# Tests of blkalign-info, in TAP, for prove(1). BLKALIGN_INFO names the program.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

info=${BLKALIGN_INFO:-build/tools/blkalign-info}
case $info in */*) info=$(cd "$(dirname "$info")" && pwd)/${info##*/} ;; esac
program=$info
. "$(dirname "$0")/common/tap.sh"
directory=$(mktemp -d) || exit 1
trap 'rm -rf "$directory"' EXIT
cd "$directory" || exit 1

head -c 10000 /dev/zero >file

run --buffered file
ok "buffered I/O needs no alignment" says 0 out "request alignment  *1 "
ok "the length is exact" says 0 out "length  *10000$"
ok "success is silent on standard error" silent 0 err

run file
if grep -q "no O_DIRECT" err; then
    ok "without O_DIRECT there is a hint" says 1 err "hint: --buffered"
else
    ok "O_DIRECT is used" says 0 out "direct I/O  *yes$"
fi

run --buffered file missing file
ok "a path that fails does not hide the others" says 1 out "^file$"
ok "an error names its path once" says 1 err \
    "^blkalign-info: missing: cannot open: No such file"

run .
ok "a directory is refused" says 1 err ": Is a directory$"
run /dev/null
ok "a character device is refused" says 1 err "a character device"

run "$(printf 'new\nline')"
ok "control bytes do not reach the terminal" says 1 err "new?line"

run
ok "no path is wrong usage" says 2 err "^Usage:"
run --wrong file
ok "an unknown option is wrong usage" says 2 err "no such option: --wrong"
run -- --wrong
ok "after -- everything is a path" says 1 err "^blkalign-info: --wrong: "
run --watch=1 --buffered file
ok "watching shows each second" says 0 out "^ *reads  *p50 us"
ok "with what the reads took" says 0 out "^ *[1-9][0-9]*  *[0-9.]*  *[0-9.]*"
run --watch=0 file
ok "no time to watch is wrong usage" says 2 err "1 to 86400 seconds"
run --watch=1 --json file
ok "watching is for people" says 2 err "exclude each other"
run --help
ok "help is no error" says 0 out "^Usage:"
run --version
ok "the version is told" says 0 out "^blkalign-info [0-9]"

"$info" --buffered file >/dev/full 2>err
status=$?
ok "output that is lost is a failure" says 1 err "standard output"

odd=$(printf 'q"\\\n\377\303\251')
cp file "$odd"
run --json --buffered file "$odd" missing
if command -v python3 >/dev/null; then
    ok "JSON is valid whatever the path" python3 -c '
import json
facts, odd, missing = json.load(open("out", encoding="utf-8"))
assert facts["request_alignment"] == 1 and facts["length"] == 10000
assert facts["direct"] is False and "path_hex" not in facts
assert odd["path"] == "q\"\\\n\ufffd\u00e9"
assert bytes.fromhex(odd["path_hex"]) == b"q\"\\\n\xff\xc3\xa9"
assert missing["errno"] == 2 and missing["path"] == "missing"
'
else
    skip "JSON is valid whatever the path" "no python3"
fi

echo "1..$number"
