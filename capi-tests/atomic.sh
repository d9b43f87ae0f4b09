#!/bin/bash
# The torn-read promise where the storage has atomic writes of more than its
# block: XFS on a disk with 512-byte sectors. All cases of the conformance
# suite hold while writes are cut for it. (That the flag goes out is tested in
# Rust, driver/file/atomic_tests.rs, and the cut in the simulator.)

. "$(dirname "$0")/common.sh"

loop=
clean_up() {
    mountpoint -q "$work/mnt" && umount "$work/mnt"
    [ -z "$loop" ] || losetup -d "$loop"
    rm -rf "$work"
}
trap clean_up EXIT
torture=${BLKALIGN_TORTURE:-$build/tools/blkalign-torture}
info=${BLKALIGN_INFO:-$build/tools/blkalign-info}

make_disk() {
    truncate -s 400M "$work/image" && mkdir "$work/mnt" &&
        loop=$(losetup --show -f --direct-io=on "$work/image") &&
        mkfs.xfs -q "$loop" && mount "$loop" "$work/mnt" &&
        head -c 16777216 /dev/zero >"$work/mnt/disk"
}

if ! make_disk >"$work/said" 2>&1; then
    skip "writes with a promise on XFS" "no such disk can be made here"
    done_testing
    exit
fi
most=$("$info" --json "$work/mnt/disk" |
    sed -n 's/.*"atomic_write_unit_max": *\([0-9]*\).*/\1/p')
echo "# atomic writes of up to ${most:-0} bytes"
for engine in threads io_uring; do
    for unit in 4096 16384; do
        check "$engine: writes with a promise of $unit bytes" \
            "$torture" -a blkalign -o "engine=$engine" \
            -o "guest-block-size=$unit" --destroy-data --rounds 20 \
            "$work/mnt/disk"
    done
done
done_testing
