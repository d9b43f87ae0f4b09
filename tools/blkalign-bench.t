#!/bin/sh
# Tests of blkalign-bench, in TAP, for prove(1). BLKALIGN_BENCH names the
# program. None of them is about speed.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

bench=${BLKALIGN_BENCH:-build/tools/blkalign-bench}
case $bench in */*) bench=$(cd "$(dirname "$bench")" && pwd)/${bench##*/} ;; esac
CC=${CC:-cc}
program=$bench
. "$(dirname "$0")/common/tap.sh"
directory=$(mktemp -d) || exit 1
loop=
clean_up() {
    [ -z "$loop" ] || losetup -d "$loop"
    rm -rf "$directory"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM
PATH=$PATH:/usr/sbin:/sbin
cd "$directory" || exit 1
# byte OFFSET VALUE: that byte of the file `disk` has this value
byte() { [ "$(od -An -tu1 -j "$1" -N 1 disk | tr -d ' ')" = "$2" ]; }

head -c 1048576 /dev/zero >disk

# ---- the command line ----

run
ok "no FILE is wrong usage" refused "which FILE"
run disk disk
ok "two FILEs are wrong usage" refused "only one FILE"
run --wrong disk
ok "an unknown option is named" refused "no such option: --wrong"
run disk -c
ok "a missing argument is named" refused "^blkalign-bench: -c needs an"
run -c 1x disk
ok "a number must be one" refused "-c: '1x' is not a number"
run -s 99999999999999999999 disk
ok "a number must fit" refused "-s: '9*' is not from 1 to"
run -s 9000000T disk
ok "a number must fit with its suffix" refused "is not from 1 to"
run --order sideways disk
ok "an unknown word shows the known ones" refused "seq random same zipf"
run -i native disk
ok "an engine that is not there is refused" refused "auto threads io_uring"
run -f qcow2 disk
ok "only raw files" refused "only raw, not 'qcow2'"
run --handles 2 disk
ok "handles need threads" refused "2 handles, but only 1 threads"
run --threads 4 -d 2 disk
ok "threads need depth" refused "4 threads cannot share a depth of 2"
run --batch 33 -d 32 disk
ok "a batch must fit into the depth" refused "a batch of 33 does not fit"
run --flush-interval 10 disk
ok "reads need no flush" refused "is for writes"
run --poll all disk
ok "polling is for eventfd" refused "is for --completion eventfd"
run --poll all --completion eventfd -w --flush-interval 9 disk
ok "who polls for all cannot wait for its own" \
    refused "has no --flush-interval"
run --help
ok "help is no error" says 0 out "^Usage:"
run --version
ok "the version is told" says 0 out "^blkalign-bench [0-9]"

# ---- what cannot be done ----

run missing
ok "a missing file is named" says 1 err "missing: .*No such file"
run -o 1048576 disk
ok "a first request past the end is refused" says 1 err "pass its end"
run -s 2M disk
ok "a request larger than the disk is refused" says 1 err "pass its end"
"$bench" -c 1 disk >/dev/full 2>err
status=$?
ok "output that is lost is a failure" says 1 err "standard output"

# ---- what is printed ----

run -n -U -f raw -i auto -c 100 -d 8 -s 512 -S 4k -o 1k disk
ok "the first line is that of qemu-img" says 0 out "^Sending 100 read requests, 512 bytes each, 8 in parallel (starting at offset 1024, step size 4096)$"
closing() {
    exited 0 && tail -n 1 out |
        grep -qE '^Run completed in [0-9]+\.[0-9]{3} seconds\.$'
}
ok "the closing line is that of qemu-img" closing
ok "the statistics explain it" says 0 out "^  storage  *[0-9]"
ok "without a terminal there is no progress line" silent 0 err
run -q -c 100 disk
quiet() { closing && [ "$(wc -l <out)" -eq 1 ]; }
ok "-q leaves the closing line alone" quiet
run --latency -c 100 disk
ok "percentiles come when asked for" says 0 out "99.9 %: [0-9.]* us"

if command -v python3 >/dev/null; then
    cp disk 'q"\'
    run --json --latency -w --mix 50 -c 200 -s 512 --threads 2 --handles 2 \
        --align 4096 --flush-interval 50 'q"\'
    ok "JSON is valid, and it adds up" python3 -c '
import json
facts = json.load(open("out", encoding="utf-8"))
assert facts["path"] == "q\"\\"
assert facts["count"] == facts["reads"] + facts["writes"] == 200
assert facts["flushes"] == 4 and facts["seconds"] > 0
assert facts["request_alignment"] == 4096
assert facts["latency_ns"]["longest"] >= facts["latency_ns"]["50"] > 0
'
else
    skip "JSON is valid, and it adds up" "no python3"
fi

# ---- what is written, and where ----

fresh() { head -c "$1" /dev/zero >disk; }

fresh 10000
run -w --pattern=7 -c 4 -d 1 -s 512 -S 4096 disk
at_the_steps() {
    exited 0 && byte 0 7 && byte 511 7 && byte 512 0 && byte 4096 7 &&
        byte 8192 7 && byte 2287 0 && byte 2288 7 && byte 2799 7 &&
        byte 2800 0
}
ok "offsets wrap modulo the length" at_the_steps
fresh 10000
run -w --pattern=7 -c 2 -d 1 -s 512 -S 9700 disk
ok "what does not fit before the end begins at 0" \
    eval "exited 0 && byte 0 7 && byte 9700 0"
fresh 10000
run -w --pattern=0xfe -o 4096 --order same -c 100 -s 7 disk
ok "the same place again and again" \
    eval "exited 0 && byte 4095 0 && byte 4096 254 && byte 4103 0"

# Both programs give the options the same meaning.
as_qemu() {
    qemu-img bench -f raw -w "$@" theirs >out 2>err &&
        "$bench" -f raw -w "$@" disk >>out 2>>err && cmp disk theirs >>out
}
if command -v qemu-img >/dev/null; then
    for options in "-c 10 -s 512 -S 4096" "-c 300 -s 1024 -d 3 -o 2048" \
        "-c 20 -s 8k -S 1M -o 4k"; do
        head -c 262144 /dev/zero | tee theirs >disk
        # shellcheck disable=SC2086
        ok "writes where qemu-img bench does: $options" \
            as_qemu $options --pattern=9
    done
else
    skip "writes where qemu-img bench does" "no qemu-img"
fi

# ---- whose it is ----

# Without descriptor 0, 1 or 2 the file must not become one of them.
zeros_alone() { [ "$(tr -d '\0' <disk | wc -c)" -eq 0 ]; }
for closed in '<&-' '>&-' '2>&-' '<&- >&- 2>&-'; do
    fresh 1048576
    eval '"$bench" -w -o 64k -c 10 disk' ">out 2>err $closed"
    status=$?
    # Without standard output the output is lost, which is a failure.
    case " $closed" in *' >&-'*) lost=1 ;; *) lost=0 ;; esac
    ok "started with $closed it writes no words into the file" \
        eval "zeros_alone && exited $lost"
done
fresh 1048576
cp disk before
for order in -w '--mix 50'; do
    # shellcheck disable=SC2086
    locking disk "$bench" $order --pattern=7 -c 10 disk >out 2>err
    status=$?
    ok "an image that a guest has open is not written to: $order" \
        eval 'says 1 err "disk is an image .* has open: --force" &&
              cmp disk before'
done
locking disk "$bench" -c 10 disk >out 2>err
status=$?
ok "it may be read" exited 0
locking disk "$bench" -w --force --pattern=7 -c 10 disk >out 2>err
status=$?
ok "or written to with --force" eval 'exited 0 && byte 0 7'
if [ "$(id -u)" -eq 0 ] && loop=$(losetup --show -f disk 2>err); then
    cp disk before
    run -w --pattern=8 -c 10 disk
    ok "a file behind a loop device is not written to" \
        eval 'says 1 err "disk is behind $loop: --force" && cmp disk before'
    holding "$loop" "$bench" -w --pattern=8 -c 10 "$loop" >out 2>err
    status=$?
    ok "nor is a device that somebody has for himself" \
        eval 'says 1 err "is mounted, or in use" && cmp disk before'
    holding "$loop" "$bench" -w --force --pattern=8 -c 10 "$loop" >out 2>err
    status=$?
    ok "but with --force" exited 0
    run -w --pattern=8 -c 10 "$loop"
    ok "a device that is free is" exited 0
    losetup -d "$loop"
    loop=
else
    loop=
    skip "a device that somebody has for himself" "no loop device"
fi

# ---- --verify ----

for completion in serial concurrent eventfd sync; do
    head -c 262144 /dev/urandom >disk
    run --verify --completion $completion --mix 40 -c 2000 -d 16 -s 700 \
        -S 600 --align 4096 --order random --threads 3 --handles 2 \
        --flush-interval 100 disk
    ok "verified: $completion" says 0 out "verified"
done
for batch in 0 4; do
    head -c 262144 /dev/urandom >disk
    run --verify --completion eventfd --poll all --mix 40 -c 2001 -d 16 \
        -s 700 -S 600 --align 4096 --threads 4 --handles 2 --batch $batch disk
    ok "verified: each thread polls, batch $batch" says 0 out "verified"
done
fresh_steps() { exited 0 && byte 0 7 && byte 4095 7 && byte 4096 0; }
head -c 16384 /dev/zero >disk
run -w --pattern=7 --completion eventfd --poll all --threads 4 -d 4 -c 8 \
    -s 512 disk
ok "threads that all poll send one sequence" fresh_steps
head -c 262144 /dev/urandom >disk
cp disk before
run --verify -c 500 -s 512 --order zipf disk
ok "verified: reading changes nothing" eval "exited 0 && cmp disk before"

# A library that now and then writes or reads one byte further.
cat >damage.c <<'CODE'
#include <blkalign.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static int64_t moved(const char *what, int64_t offset)
{
    static int calls;
    const char *damage = getenv("DAMAGE");

    return damage && !strcmp(damage, what) && ++calls == 77 ? offset + 1
                                                            : offset;
}

#define MOVED(name, what) \
    int64_t name(blkalign_handle *h, int64_t offset, \
                 const struct iovec *iov, int iovcnt, uint32_t flags, \
                 blkalign_completion_fn cb, void *opaque) \
    { \
        __typeof__(&name) next; \
        *(void **)&next = dlsym(RTLD_NEXT, #name); \
        return next(h, moved(what, offset), iov, iovcnt, flags, cb, \
                    opaque); \
    }
MOVED(blkalign_aio_preadv, "read")
MOVED(blkalign_aio_pwritev, "write")
CODE
root=$(cd "$(dirname "$bench")/../.." && pwd)
if $CC -D_GNU_SOURCE -shared -fPIC -I"$root/include" damage.c -o damage.so \
    -ldl 2>err; then
    head -c 262144 /dev/urandom >disk
    DAMAGE=write LD_PRELOAD=./damage.so "$bench" --verify -w -s 512 -S 4096 \
        -c 500 --align 4096 disk >out 2>err
    status=$?
    # The 77th goes to 12 * 4096 the second time: 76 % 64 == 12.
    ok "verify finds a neighbour that was damaged" says 1 err \
        "disk: damage: 1 bytes are wrong, the first at 49664, where the run did not write"
    DAMAGE=read LD_PRELOAD=./damage.so "$bench" --verify -s 512 -S 4096 \
        -c 500 -d 8 disk >out 2>err
    status=$?
    ok "verify finds a read that is wrong" says 1 err \
        "damage: the read of 512 bytes at 49152 got a wrong byte"
else
    skip "verify finds what was damaged" "no C compiler"
fi

echo "1..$number"
