#!/bin/busybox sh
# The guest's first and only program. The kernel's command line has job=NAME;
# what matters is said on the console in lines that begin with "guest: ".
#
# The disk has sectors of 512 bytes. Its partitions begin where a disk with
# blocks of 4096 bytes cannot begin anything: at sector 63, at odd ones.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /mnt/1 /mnt/2 /mnt/3
/bin/busybox --install -s /bin
export PATH=/sbin:/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
disk=/dev/vda
modules='virtio_pci virtio_blk crc32c_generic ext4 xfs'

say() { echo "guest: $*"; }

# must NAME COMMAND...
must() {
    local name=$1
    shift
    if "$@" >/tmp/said 2>&1; then
        say "ok $name"
    else
        say "FAILED $name: $*"
        sed 's/^/guest: # /' /tmp/said
        dmesg | tail -n 5 | sed 's/^/guest: # /'
        leave
    fi
}

leave() {
    say "over after $(cut -d ' ' -f 1 /proc/uptime) s"
    sync
    poweroff -f
    sleep 60
}

load_modules() {
    local name
    for name in $modules; do
        modprobe $name || say "FAILED modprobe $name"
    done
    for name in $(seq 50); do
        [ ! -b $disk ] || return 0
        sleep 0.1
    done
    return 1
}

partition_disk() {
    {
        echo o
        while read -r number first last; do
            printf 'n\np\n%s\n%s\n%s\n' "$number" "$first" "$last"
        done </partitions
        echo w
    } | fdisk -u $disk
    sleep 0.2
    [ -b ${disk}4 ]
}

# The first is a single MB; old file systems with blocks of 1024 bytes.
make_filesystems() {
    /sbin/mke2fs -q -F -t ext2 -b 1024 ${disk}1 &&
        mkfs.xfs -q -f -K -s size=512 ${disk}2 &&
        /sbin/mke2fs -q -F -t ext4 -b 1024 ${disk}3
}

mount_all() {
    mount -t ext4 ${disk}1 /mnt/1 && mount -t xfs ${disk}2 /mnt/2 &&
        mount -t ext4 ${disk}3 /mnt/3
}

unmount_all() {
    umount /mnt/1 && umount /mnt/2 && umount /mnt/3
}

# What the host does with its own copy: see edit_payload there.
copy_payload() {
    local to
    for to in /mnt/1 /mnt/2 /mnt/3; do
        cp -r /payload/small $to/ || return 1
    done
    for to in /mnt/2 /mnt/3; do
        cp /payload/big $to/ && edit_file $to/big || return 1
    done
}

edit_file() {
    dd if=/payload/big of="$1" bs=513 skip=9 seek=77 count=300 conv=notrunc &&
        dd if=/payload/big of="$1" bs=1 skip=5 seek=99999 count=7 conv=notrunc
}

# Sectors, past the guest's page cache, at odd places.
direct_writes() {
    dd if=/payload/big of=${disk}4 bs=512 count=100 seek=3 oflag=direct \
        conv=notrunc
}

sums_right() {
    echo 3 >/proc/sys/vm/drop_caches
    (cd /mnt/1 && sha256sum -c /payload/sums.small) &&
        (cd /mnt/2 && sha256sum -c /payload/sums) &&
        (cd /mnt/3 && sha256sum -c /payload/sums)
}

job_files() {
    must 'partition the disk' partition_disk
    must 'make file systems' make_filesystems
    must 'mount them' mount_all
    must 'write files' copy_payload
    must 'sync' sync
    must 'write sectors directly' direct_writes
    must 'read the files back' sums_right
    must 'unmount' unmount_all
    must 'mount again' mount_all
    must 'read the files back again' sums_right
    must 'unmount again' unmount_all
}

# Files of which the console says when they are safe.
write_files() {
    local number=0
    while [ $number -lt "$1" ]; do
        number=$((number + 1))
        dd if=/payload/big of=/mnt/3/file.$number bs=999 skip=$number \
            count=$((number % 40 + 1)) 2>/dev/null && sync ||
            { say "FAILED file $number"; return 1; }
        say "SAFE $number"
    done
}

# Until it is through, or somebody kills the guest or what it stands on.
job_load() {
    must 'partition the disk' partition_disk
    must 'make a file system' /sbin/mke2fs -q -F -t ext4 -b 1024 ${disk}3
    must 'mount it' mount -t ext4 ${disk}3 /mnt/3
    must 'fill the sectors' load fill ${disk}4
    sync
    say 'LOAD begins'
    write_files "$files" &
    load run ${disk}4 "$rounds" || say "FAILED load"
    wait $!
    echo 3 >/proc/sys/vm/drop_caches
    must 'every sector is right' load verify ${disk}4 "$rounds"
    must 'unmount' umount /mnt/3
}

# A disk of which each I/O takes 2 s.
slow_disk() {
    modprobe null_blk nr_devices=1 gb=1 bs=4096 queue_mode=2 irqmode=2 \
        completion_nsec=2000000000 && [ -b /dev/nullb0 ]
}

job_lock() {
    must 'make a slow disk' slow_disk
    if late /dev/nullb0 /sys/block/nullb0/inflight; then
        say 'ok late'
    else
        say 'FAILED late'
    fi
}

# After the end of job_load, whatever it was.
job_after() {
    must 'mount what was left' mount -t ext4 ${disk}3 /mnt/3
    say "found $(ls /mnt/3 | grep -c file) files"
    must 'unmount' umount /mnt/3
}

# The host says what to do: a line is for queue/nomerges, a disk without /dev/,
# and what follows it on the command line of `bench` (bench.c).
job_bench() {
    local number=0 nomerges words
    stty -F /dev/ttyS1 -echo
    must 'find the last disk' [ -b /dev/vdc ]
    while say "ready $number" && read -r nomerges disk words; do
        number=$((number + 1))
        echo "$nomerges" >/sys/block/$disk/queue/nomerges
        bench /dev/$disk $words || say "FAILED bench $disk $words"
    done </dev/ttyS1
}

for word in $(cat /proc/cmdline); do
    case $word in
        job=*|files=*|rounds=*) eval "$word" ;;
    esac
done
say "booted after $(cut -d ' ' -f 1 /proc/uptime) s: Linux $(uname -r)"
[ $job != bench ] || modules='virtio_pci virtio_blk'
must 'find the disk' load_modules
say "sectors of $(cat /sys/block/vda/queue/logical_block_size)"
job_$job
say "done $job"
leave
