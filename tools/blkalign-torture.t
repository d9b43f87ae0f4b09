#!/bin/sh
# Tests of blkalign-torture, in TAP, for prove(1). BLKALIGN_TORTURE names the
# program. Back ends with deliberate faults show that it finds faults.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

torture=${BLKALIGN_TORTURE:-build/tools/blkalign-torture}
case $torture in
    */*) torture=$(cd "$(dirname "$torture")" && pwd)/${torture##*/} ;;
esac
program=$torture
. "$(dirname "$0")/common/tap.sh"
root=$(cd "$(dirname "$torture")/../.." && pwd)
# /tmp may be a tmpfs, without direct I/O.
directory=$(mktemp -d "${TMPDIR:-/var/tmp}/blkalign-torture-XXXXXX") || exit 1
loop=
clean_up() {
    [ -z "$loop" ] || losetup -d "$loop"
    rm -rf "$directory"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM
cd "$directory" || exit 1

# passes WORDS...: all cases that could be tested hold; these words are there
passes() {
    exited 0 && [ ! -s err ] && ! grep -q '^not ok' out &&
        grep -q '^# No guarantee that was tested is broken' out || return 1
    for words; do
        grep -q -e "$words" out || return 1
    done
}

# ---- the command line ----

head -c 262144 /dev/urandom >file
cp file before
run file
refused_and_same() {
    refused "this overwrites file: confirm with --destroy-data" && cmp file before
}
ok "without --destroy-data nothing is touched" refused_and_same
run --destroy-data
ok "no TARGET is wrong usage" refused "which TARGET"
run --destroy-data file file
ok "two TARGETs are wrong usage" refused "only one TARGET"
run --destroy-data --case wrong file
ok "an unknown case is named" refused "no such case: 'wrong'"
run --destroy-data --adapter wrong file
ok "an unknown adapter is named" refused "no such adapter: 'wrong'"
run --destroy-data -a path -o direct,wrong=1 file
ok "an unknown option of an adapter is named" refused "no option 'wrong'"
run --destroy-data --rounds 0 file
ok "no rounds at all are refused" refused "is not from 1 to"
run --destroy-data --fault-on true file
ok "a fault that goes on must go off" refused "go together"
run --adapter broken:wrong
ok "an unknown fault is refused" says 3 err "no such fault"
run --destroy-data missing
ok "a missing target is named" says 3 err "missing: .*No such file"
head -c 4096 /dev/zero >small
run --destroy-data small
ok "a target that is too small is refused" says 3 err "too small: 4096"
run --help
ok "help is no error" says 0 out "^Usage:"
run --list
ok "the list has cases and faults" says 0 out "^  no-serialise "
"$torture" --list >/dev/full 2>err
status=$?
ok "output that is lost is a failure" says 3 err "standard output"

# ---- whose it is ----

locking file "$torture" --destroy-data --rounds 1 file >out 2>err
status=$?
ok "an image that a guest has open is left alone" \
    eval 'says 3 err "file is an image .* has open: --force" &&
          cmp file before'
head -c 1048576 /dev/zero >closed
"$torture" --destroy-data --rounds 2 --case read-edges closed >&- 2>err
status=$?
ok "without a standard output it writes no words into the target" \
    eval 'says 3 err "standard output" && ! grep -q adapter closed'

# ---- what it finds ----

run --adapter broken:nothing --rounds 40
ok "a back end without a fault passes" passes "^1\.\.24"
run --adapter broken:noise --rounds 40
ok "what is discarded may read as noise" passes "^1\.\.24"
same_numbers() {
    for seed in 5 5 6; do
        run --adapter broken:nothing --rounds 20 --case model --seed $seed
        grep '^ok 1 - model' out >>models
    done
    [ "$(sed -n 1p models)" = "$(sed -n 2p models)" ] &&
        [ "$(sed -n 1p models)" != "$(sed -n 3p models)" ]
}
ok "the same seed does the same, another does not" same_numbers

# finds FAULT CASE WORDS [ROUNDS]: runs only this case, which fails with these
# words
finds() {
    run --adapter "broken:$1" --case "$2" --rounds "${4:-60}" --timeout 2
    ok "$2 finds $1" says 1 out "^not ok 1 - $2: .*$3"
}
finds no-serialise lost-update "[1-9][0-9]* of 480 sectors lost"
finds no-serialise straddle "[1-9][0-9]* of 1440 sectors lost"
finds no-serialise model "which operation"
finds no-serialise-handles lost-update-handles "[1-9][0-9]* of .* lost"
finds no-serialise-handles straddle-handles "[1-9][0-9]* of .* lost"
finds no-serialise-handles aligned-handles "[1-9][0-9]* of .* lost"
finds no-serialise-handles zero-race-handles "[1-9][0-9]* of .* lost"
finds no-serialise-handles model-handles "which operation"
finds no-serialise-aligned aligned "[1-9][0-9]* of .* lost"
finds no-serialise-straddle straddle "[1-9][0-9]* of .* lost"
finds no-serialise-zero zero-race "[1-9][0-9]* of .* lost"
finds discard-neighbours discard-race "[1-9][0-9]* of .* lost"
finds edge-error-zeroes edge-read-error "3584 .* reports success"
finds edge-error-writes edge-read-error "3584 .* reports Input/output error"
finds write-neighbours write-edges "changed the byte"
finds zero-neighbours zero-edges "changed the byte"
finds discard-neighbours discard-edges "changed the byte"
finds grow odd-length "shows 8392704 bytes of 8389220"
finds cut odd-length "shows 8388608 bytes of 8389220"
finds drop-last-block odd-length "is wrong"
finds past-end past-end "succeeded"
finds vectors vectors "is wrong"
finds large large "left something else"
finds memory write-edges "left something else"
finds memory model "which operation"
finds elements write-edges "left something else"
finds elements model "which operation"
finds spill read-edges "changed memory beside"
finds stale coherent "[1-9][0-9]* of 60 reads"
finds no-flush flush "32 of 32 writes were lost"
finds no-fua fua "32 of 32 writes were lost"
finds torn torn-reads "[1-9][0-9]* of .* are torn"
finds lost-write model "which operation"
# With 60 rounds one run in 16 found nothing.
finds misplaced model "which operation" 400
finds error lost-update "Input/output error"
run --adapter broken:hang --timeout 1 --rounds 60
ok "a request that never comes back is told of" says 1 out \
    "^Bail out! .* has not come back in 1 s"
run --adapter broken:no-serialise --case lost-update --rounds 60 --seed 9
ok "the summary says what does not hold, and how to see it again" eval \
    'says 1 out "^# What DOES NOT HOLD" && says 1 out "Again: --seed 9 --r"'

# ---- libblkalign ----

# libblkalign promises more than every back end must keep.
strictly="edge-read-error: 6 writes failed, 0 of them"
refuses="past-end: refused, nothing changed"
head -c 1048676 /dev/zero >file
for options in engine=threads completion=eventfd \
    buffered,completion=concurrent; do
    run --destroy-data --rounds 15 -o $options --behind file file
    ok "libblkalign passes: $options" passes "$strictly" "$refuses" \
        "odd-length: 1048676 bytes, 100 past" "1 accepted\|2 accepted"
done
if [ "$(id -u)" -eq 0 ] && truncate -s 16M backing 2>err &&
    loop=$(losetup --show -f --sector-size 4096 --direct-io=on backing \
        2>err); then
    cp backing before
    run --destroy-data --rounds 1 backing
    ok "a file behind a loop device is left alone" \
        eval 'says 3 err "is behind $loop: --force" && cmp backing before'
    holding "$loop" "$torture" --destroy-data --rounds 1 "$loop" >out 2>err
    status=$?
    ok "so is a device that somebody has for himself" \
        eval 'says 3 err "is mounted, or in use" && cmp backing before'
    holding "$loop" "$torture" --destroy-data --force --rounds 1 \
        --case write-edges "$loop" >out 2>err
    status=$?
    ok "but with --force" exited 0
    run --destroy-data --rounds 15 "$loop"
    ok "libblkalign passes on a disk of 4096-byte blocks" passes \
        "alignment 4096" "$strictly" "$refuses" "lost-update: 0 of 120"
    run --destroy-data --rounds 15 -a path -o direct "$loop"
    ok "what takes no small requests is not asked for them" passes \
        "lost-update # SKIP .* smaller than a block, 4096"
else
    loop=
    skip "libblkalign passes on a disk of 4096-byte blocks" "no loop disk"
    skip "what takes no small requests is not asked for them" "no loop disk"
fi
run --destroy-data --rounds 15 -a path file
ok "a file by pread and pwrite passes" passes "page cache"

# ---- NBD ----

nbd_ok="an NBD server passes, with reads that fail when asked to"
nbd_cut="a server that hides the last bytes is found out"
nbd_count="flushes below a server are counted"
if "$torture" --help | grep -q "built without libnbd"; then
    reason="built without libnbd"
elif ! command -v nbdkit >/dev/null; then
    reason="no nbdkit"
else
    reason=
fi
if [ -z "$reason" ]; then
    # serve ARGUMENT... -- ARGUMENT...: of nbdkit, and of ours
    serve() {
        ours="'$torture' --destroy-data --rounds 15"
        theirs=
        while [ "$1" != -- ]; do
            theirs="$theirs $1"
            shift
        done
        shift
        for argument; do
            ours="$ours '$argument'"
        done
        # shellcheck disable=SC2086
        nbdkit -U - $theirs --run "$ours \"\$uri\" >out 2>err" 2>server
        status=$?
    }
    serve --filter=blocksize --filter=error memory 2M minblock=4096 \
        error-pread-rate=100% "error-file=$directory/fail" -- \
        --fault-on "touch $directory/fail" --fault-off "rm $directory/fail"
    ok "$nbd_ok" passes "lost-update-handles: 0 of 120" \
        "edge-read-error: [1-9]"
    head -c 1048676 /dev/zero >odd
    serve --filter=blocksize file odd minblock=4096 -- --case odd-length \
        --behind "$directory/odd"
    ok "$nbd_cut" says 1 out "shows 1048576 bytes of 1048676"
    serve --filter=log memory 2M "logfile=$directory/log" -- --case flush \
        --flush-count "grep -c Flush $directory/log"
    ok "$nbd_count" passes "flush: 32 accepted, each reached"
else
    skip "$nbd_ok" "$reason"
    skip "$nbd_cut" "$reason"
    skip "$nbd_count" "$reason"
fi

# ---- without libblkalign ----

if ${CC:-cc} --version >/dev/null 2>&1 &&
    make -s -C "$root/tools/blkalign-torture" standalone CC="${CC:-cc}" CFLAGS=-O0 \
        OUTPUT="$directory/alone" >out 2>err; then
    program=$directory/alone
    run --destroy-data --rounds 15 file
    ok "it can be built without libblkalign" passes "adapter path"
else
    number=$((number + 1))
    echo "not ok $number - it can be built without libblkalign"
    sed 's/^/# /' err
fi

echo "1..$number"
