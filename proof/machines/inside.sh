#!/bin/bash
# In the guest, after proof/storage/init.sh, as /opt/bed/guest.sh: runs the
# tests that are there, and says on the console what became of each:
#
#     guest: ok NAME, 12 tests, 3 skipped
#     guest: not ok NAME: WHY
#     guest: over
#
# First those in C that go through the storage, with each engine on a disk with
# blocks of 4096 bytes; then what of the unit tests in Rust is about rings; then
# all tests in C, on the beds that they find (ext4, XFS and btrfs on loop
# devices, zram, disks in memory), with all engines and completions by turns.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u
export PATH=/opt/bed/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=linux
export LD_LIBRARY_PATH=/opt/bed/lib BLKALIGN_TEST_SLOW=4 TMPDIR=/scratch
export BLKALIGN_TORTURE_SECONDS=2

say() { echo "guest: $*"; }

prepare() {
    local module
    mount -t tmpfs -o mode=755 none /run
    mount -t tmpfs none /tmp
    ln -s /proc/self/fd /dev/fd
    mkdir -p /dev/pts /dev/shm /scratch
    mount -t devpts none /dev/pts
    mount -t tmpfs none /dev/shm
    busybox ifconfig lo up
    ldconfig 2>/dev/null
    for module in loop zram xfs btrfs; do
        modprobe $module || say "no $module"
    done
}

# disk SERIAL
disk() {
    local file
    for file in /sys/block/vd*/serial; do
        [ "$(cat "$file")" != "$1" ] ||
            { file=${file%/serial}; echo "/dev/${file##*/}"; }
    done
}

# run NAME COMMAND...
run() {
    local name=$1 status first
    shift
    timeout 900 "$@" >/tmp/out 2>&1 </dev/null
    status=$?
    first=$(grep -E -m 1 '^(not ok|Bail)|panicked|FAILED' /tmp/out)
    if [ $status = 0 ]; then
        say "ok $name, $(grep -cE '^ok|\.\.\. ok' /tmp/out) tests," \
            "$(grep -ciE '# SKIP' /tmp/out) skipped"
    else
        say "not ok $name: status $status: $(cut -c 1-200 <<<"${first:-$(
            tail -n 1 /tmp/out)}")"
        grep -vE '^ok' /tmp/out | tail -n 20 | sed 's/^/guest: # /'
    fi
}

# Four million requests at once, which takes too long here: ONLY=test-no-memory
slow=test-no-memory

# Those that go through the storage in all shapes
on_a_disk='test-vectors test-zeroes test-discard test-torture
    test-stable-writes test-registered test-lost-update test-uring'

for word in $(cat /proc/cmdline); do
    case $word in
        only=*) eval "$word" ;;
    esac
done
prepare
mount "$(disk scratch)" /scratch
say "Linux $(uname -r) $(uname -m), pages of $(getconf PAGESIZE)"
for engine in threads io_uring; do
    for test in ${only:-$on_a_disk}; do
        run "$test, $engine, 4Kn disk" env BLKALIGN_TEST_ENGINE=$engine \
            BLKALIGN_TEST_BED="$(disk k1)" "$test"
    done
done
[ -n "${only:-}" ] || for test in /opt/bed/unit/*; do
    run "unit tests of rings, ${test##*/}" "$test" ring
done
for test in /opt/bed/bin/${only:-test-*}; do
    if [ "${test##*/}" = $slow ] && [ -z "${only:-}" ]; then
        say "left out: $slow"
        continue
    fi
    run "${test##*/}" "$test"
done
say over
sync
busybox poweroff -f
sleep 60
