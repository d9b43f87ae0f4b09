#!/bin/bash
# A guest partitions a disk, makes file systems, writes files, syncs, reads
# them back and switches itself off; then the host looks. Through nbdkit with
# the plugin, the vhost-user-blk daemon, and, to compare, QEMU alone.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
. "$(dirname "$0")/common.sh"

# A new disk each time, with something on it that has to stay.
new_disk() {
    head -c 33554432 /dev/zero | tr '\0' 'S' >stays
    blkdiscard "$loop" &&
        dd if=stays of="$loop" bs=1M oflag=direct status=none
}

# Between the table and the first partition, and between the last ones.
gaps_untouched() {
    cmp -n $((62 * 512)) -i 512 dump stays &&
        cmp -n $(((616455 - 616448) * 512)) -i $((616448 * 512)):0 dump gap
}

direct_writes_there() {
    dd if=payload/big bs=512 count=100 status=none >want
    cmp -n 51200 -i 1536:0 partition.4 want
}

check_disk() {
    ok "$1: the disk can be read" dump_disk
    ok "$1: nothing was written beside the partitions" gaps_untouched
    ok "$1: sectors written directly are there" direct_writes_there
    ok "$1: ext2 at sector 63 is sound" e2fsck -fn partition.1
    ok "$1: XFS at sector 2048 is sound" xfs_repair -n partition.2
    ok "$1: ext4 at an odd sector is sound" e2fsck -fn partition.3
    ok "$1: the files of the first are right" \
        inside partition.1 sha256sum -c "$directory/payload/sums.small"
    ok "$1: of the second" \
        inside partition.2 sha256sum -c "$directory/payload/sums"
    ok "$1: of the third" \
        inside partition.3 sha256sum -c "$directory/payload/sums"
}

# Of the guest's own clock, between its boot and its end
tell_times() {
    sed -n 's/^guest: \(booted\|over\) after \([0-9.]*\).*/\2/p' console |
        tr '\n' ' ' |
        awk -v name="$1" '{ printf "# %s: booted in %s s, its work took %.2f s\n",
                                   name, $1, $2 - $1 }'
}

# whole_life BACKEND NAME
whole_life() {
    ok "$2: a new disk" new_disk
    [ "$1" = raw ] || ok "$2: the server starts" serve "$1" || return
    ok "$2: the guest says that all is right" run_guest "$1" files &&
        tell_times "$2"
    [ "$1" = raw ] || ok "$2: the server stops" stop_server
    check_disk "$2"
}

head -c 3584 /dev/zero >gap
if [ -e "$plugin" ]; then
    whole_life nbdkit nbdkit
else
    skip 'nbdkit' 'the plugin was not built'
fi
if [ -x "$daemon" ]; then
    whole_life vhost vhost-user-blk
else
    skip 'vhost-user-blk' 'the daemon was not built'
fi
[ -n "$quick" ] || whole_life raw 'QEMU alone'
done_testing
