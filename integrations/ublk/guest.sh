#!/bin/bash
# In the guest: tests blkalign-ublk on an NVMe disk with blocks of 4096 bytes,
# and says what it saw in TAP on the second serial line. With bench=1 on the
# kernel's command line it measures, too. check.sh starts the guest.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u
export PATH=/opt/bed/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=linux
export LD_LIBRARY_PATH=/opt/bed/lib
here=/opt/bed
disk=/dev/nvme0n1
device=/dev/ublkb0
number=0
server=''

cmp() { busybox cmp "$@"; }
tell() { echo "$*" >&3; }
note() { sed 's/^/# /' "$@" | tail -n 8 >&3; }

# ok NAME: by the exit status of the command before
ok() {
    local status=$?
    number=$((number + 1))
    if [ $status = 0 ]; then tell "ok $number - $1"; else
        tell "not ok $number - $1"
        note /tmp/said
    fi
    : >/tmp/said
}

prepare() {
    mount -t tmpfs -o mode=755 none /run
    mount -t tmpfs -o size=90% none /tmp
    ln -s /proc/self/fd /dev/fd
    mkdir -p /dev/shm /mnt/disk
    mount -t tmpfs none /dev/shm
    ip link set lo up
    busybox stty -F /dev/ttyS1 -echo -opost
    exec 3>/dev/ttyS1
    : >/tmp/said
    modprobe nvme && modprobe ublk_drv && modprobe loop && modprobe nbd
    for _ in $(seq 100); do [ ! -b $disk ] || break; sleep 0.1; done
    [ -b $disk ] || tell "Bail out! no $disk"
}

# start OPTION... STORAGE: until the device is there; fails with the server
start() {
    : >/tmp/ready
    blkalign-ublk add "$@" >/tmp/ready 2>/tmp/said &
    server=$!
    for _ in $(seq 600); do
        [ ! -s /tmp/ready ] || return 0
        kill -0 $server 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

stop() { timeout 60 blkalign-ublk del 0 >>/tmp/said 2>&1 && ended; }

# The server ends by itself, and well.
ended() {
    for _ in $(seq 300); do
        kill -0 $server 2>/dev/null || { wait $server; return; }
        sleep 0.1
    done
    echo 'the server does not end' >>/tmp/said
    return 1
}

clear_disk() { blkdiscard -z -f -l 268435456 $disk; }

# ---- tests ----------------------------------------------------------------

sizes() {
    local queue=/sys/block/ublkb0/queue
    start --id 0 --queues 2 $disk; ok 'a device'
    [ "$(blockdev --getss $device) $(blockdev --getpbsz $device)" = \
        '512 4096' ]; ok 'with blocks of 512 bytes, physical ones of 4096'
    [ "$(blockdev --getsize64 $device)" = "$(blockdev --getsize64 $disk)" ]
    ok 'as long as the disk'
    [ "$(ls /sys/block/ublkb0/mq | wc -l)" = 2 ]; ok 'with two queues'
    [ "$(cat $queue/write_cache) $(cat $queue/fua)" = 'write back 1' ]
    ok 'with a write cache, and FUA'
    blkalign-ublk list >/tmp/said
    grep -q "^$device: .* blocks of 512, 2 queues of 128, served by .*$disk" \
        /tmp/said; ok 'list shows it'
    ! blkalign-ublk add --id 0 $disk >/tmp/said 2>&1 &&
        grep -q 'is there already' /tmp/said; ok 'a number is given once'
    ! blkalign-ublk add --id 0 --recover $disk >/tmp/said 2>&1 &&
        grep -q 'is served by' /tmp/said; ok 'nor is it taken over'
    stop && [ ! -e $device ]; ok 'del: gone, and its server ended well'
    ! blkalign-ublk del 0 >/tmp/said 2>&1; ok 'what is not there is not ended'
    start $disk && kill -TERM $server && ended && [ ! -e $device ]
    ok 'SIGTERM ends a device that nobody holds'
    ! blkalign-ublk add --id 0 /nonexistent >/tmp/said 2>&1 &&
        grep -q 'No such file' /tmp/said && [ ! -e /dev/ublkc0 ]
    ok 'no storage, no device'
    start --id 0 --block-size 2048 $disk &&
        [ "$(blockdev --getss $device)" = 2048 ] && stop
    ok 'blocks of 2048 bytes'
}

# file_system NAME MKFS FSCK: with files that were there before and are after
file_system() {
    local name=$1 mkfs=$2 fsck=$3
    $mkfs $device >/tmp/said 2>&1 && mount $device /mnt/disk \
        >>/tmp/said 2>&1 && cp -r /bin/bash /usr/bin/[a-d]* /lib/udev \
        /mnt/disk/ 2>>/tmp/said
    sync
    umount /mnt/disk && $fsck $device >>/tmp/said 2>&1
    ok "$name: made, filled, checked"
    mount $device /mnt/disk 2>>/tmp/said && cmp /bin/bash \
        /mnt/disk/bash >>/tmp/said 2>&1
    ok "$name: has its files"
    umount /mnt/disk
}

file_systems() {
    ! mkfs.xfs -q -f -s size=512 $disk >/tmp/said 2>&1
    ok 'a file system with sectors of 512 bytes does not go on the disk itself'
    start --id 0 $disk; ok 'a device for it'
    file_system xfs 'mkfs.xfs -q -f -s size=512 -b size=1024' 'xfs_repair -n'
    file_system vfat 'mkfs.vfat -S 512 -I' 'fsck.vfat -n'
    file_system ext4 'mke2fs -q -F -t ext4 -b 1024' 'e2fsck -f -n'
    mount $device /mnt/disk
    ! blkalign-ublk del 0 >/tmp/said 2>&1 && grep -q 'in use' /tmp/said
    ok 'del leaves a device that is mounted'
    kill -TERM $server; sleep 1; kill -0 $server && ls /mnt/disk/bash \
        >/tmp/said 2>&1
    ok 'so does SIGTERM'
    umount /mnt/disk
    stop
}

partitions() {
    clear_disk
    start --id 0 $disk
    printf 'label: dos\n63,200000,83\n200063,200000,83\n' |
        sfdisk -q --no-reread $device >/tmp/said 2>&1
    blockdev --rereadpt $device 2>>/tmp/said; sleep 1
    [ "$(cat /sys/block/ublkb0/ublkb0p1/start)" = 63 ]
    ok 'a partition from sector 63 on'
    # Neighbours in one block of the disk: the sector before it is ours.
    printf 'N%.0s' $(seq 512) | dd of=$device bs=512 seek=62 oflag=direct \
        conv=notrunc 2>>/tmp/said
    mke2fs -q -F -t ext4 -b 1024 ${device}p1 >>/tmp/said 2>&1 &&
        mkfs.vfat -S 512 ${device}p2 >>/tmp/said 2>&1 &&
        mount ${device}p1 /mnt/disk && cp /usr/bin/[a-d]* /mnt/disk/ &&
        umount /mnt/disk && e2fsck -f -n ${device}p1 >>/tmp/said 2>&1 &&
        fsck.vfat -n ${device}p2 >>/tmp/said 2>&1
    ok 'two file systems that share a block of the disk'
    [ "$(dd if=$device bs=512 skip=62 count=1 iflag=direct 2>/dev/null |
        tr -d N | wc -c)" = 0 ]; ok 'their neighbour keeps its bytes'
    stop
}

# verify NAME OPTION...
verify() {
    local name=$1
    shift
    fio --name="$name" --filename=$device --ioengine=io_uring --direct=1 \
        --bsrange=512-16k --blockalign=512 --rw=randwrite --size=24m \
        --iodepth=16 --verify=crc32c --verify_fatal=1 --randrepeat=0 \
        --norandommap=0 --output=/tmp/said "$@" >/tmp/fio.err 2>&1 && return
    cat /tmp/fio.err >>/tmp/said
    return 1
}

content() {
    clear_disk
    start --id 0 --queues 2 $disk
    verify mixed; ok 'fio verifies writes of 512 bytes and more'
    verify fsync --fsync=8 --size=4m --end_fsync=1; ok 'with flushes'
    verify fua --sync=1 --size=2m; ok 'with FUA'
    dd if=/dev/urandom of=/tmp/random bs=1M count=4 2>/dev/null
    dd if=/tmp/random of=$device bs=1M oflag=direct 2>/dev/null
    blkdiscard -z -o 1536 -l 1024000 $device 2>/tmp/said
    { head -c 1536 /tmp/random; head -c 1024000 /dev/zero
      tail -c +1025537 /tmp/random; } >/tmp/expected
    dd if=$device bs=1M count=4 iflag=direct 2>/dev/null |
        cmp - /tmp/expected >>/tmp/said 2>&1; ok 'zeroes, to the sector'
    blkdiscard -f -o 1048576 -l 1048576 $device 2>/tmp/said
    ok 'a discard is taken'
    { cmp -n 1048576 /tmp/expected $device && cmp -n 2097152 \
        /tmp/expected $device 2097152 2097152; } >>/tmp/said 2>&1
    ok 'and changes nothing else'
    stop
    start --id 0 --read-only $disk
    [ "$(blockdev --getro $device)" = 1 ] && ! dd if=/dev/zero of=$device \
        bs=512 count=1 oflag=direct >/tmp/said 2>&1; ok 'read-only'
    stop
    start --id 0 --requests-per-second 100 $disk
    begin=$(date +%s)
    dd if=$device of=/dev/null bs=512 count=400 iflag=direct 2>/tmp/said
    [ $(($(date +%s) - begin)) -ge 3 ]; ok 'a throttle holds back'
    stop
}

# The server is killed while its users write, and goes on.
recovery() {
    local round writer good=0
    clear_disk
    start --id 0 --queues 2 $disk
    verify killed --size=40m &
    writer=$!
    for round in 1 2 3; do
        sleep 3
        kill -9 $server; wait $server 2>/dev/null
        [ "$round" != 1 ] || {
            sleep 1
            blkalign-ublk list >/tmp/list
            grep -q 'waits for a server' /tmp/list
            ok 'its server is killed: a device waits'
        }
        start --id 0 --recover --queues 1 $disk || good=1
    done
    [ $good = 0 ]; ok 'three times its server is killed, another goes on'
    wait $writer; ok 'and the writer has not noticed: fio verifies all'
    stop; ok 'such a device is deleted'
    start --id 0 $disk; kill -9 $server; wait $server 2>/dev/null
    ! blkalign-ublk add --id 0 --recover --block-size 4096 $disk \
        >/tmp/said 2>&1 && grep -q 'its users know' /tmp/said
    ok 'nobody goes on with other blocks'
    blkalign-ublk del 0 >/tmp/said 2>&1 && [ ! -e $device ]
    ok 'one without a server is deleted, too'
}

exports() {
    local kit
    command -v nbdkit >/dev/null || return 0
    nbdkit -f -U /tmp/socket --filter=blocksize-policy memory 64M \
        blocksize-minimum=4096 blocksize-error-policy=error 2>/tmp/kit &
    kit=$!
    for _ in $(seq 100); do [ ! -S /tmp/socket ] || break; sleep 0.1; done
    start --id 0 'nbd+unix:///?socket=/tmp/socket'
    ok 'an NBD export that takes whole blocks of 4096 bytes only'
    verify export --size=4m; ok 'fio verifies writes of 512 bytes there'
    stop
    kill $kit; wait $kit 2>/dev/null
}

# ---- measurements ---------------------------------------------------------

# measure NAME DEVICE: thousands a second
measure() {
    local rw size line="bench $1:"
    for size in 512 4096; do
        for rw in randread randwrite; do
            line+=" $rw-$size $(fio --name=m --filename="$2" --direct=1 \
                --ioengine=io_uring --rw=$rw --bs=$size --size=200m \
                --iodepth=32 --iodepth_batch_submit=16 \
                --iodepth_batch_complete_min=1 \
                --iodepth_batch_complete_max=32 --runtime=4 --time_based \
                --output-format=terse --terse-version=3 2>/dev/null |
                awk -F ';' '{ printf "%.2f", ($8 + $49) / 1000 }')"
        done
    done
    tell "$line"
}

bench() {
    local round other loop
    for round in 1 2 3; do
        start --id 0 --queues 1 $disk && measure ublk $device
        stop
        [ ! -x $here/bin/null-loop ] || {
            null-loop add -n 0 -q 1 -f $disk --foreground --async \
                >/tmp/said 2>&1 &
            other=$!
            for _ in $(seq 100); do [ ! -b $device ] || break; sleep 0.1; done
            sleep 1
            measure 'libublk-loop' $device
            null-loop del -n 0 >/tmp/said 2>&1
            wait $other
        }
        blkalign-nbd --socket /tmp/nbd.sock --file $disk --direct >/tmp/said 2>&1 &
        other=$!
        for _ in $(seq 100); do [ ! -S /tmp/nbd.sock ] || break; sleep 0.1; done
        nbd-client -unix /tmp/nbd.sock /dev/nbd0 -b 512 >/tmp/said 2>&1 &&
            measure nbd /dev/nbd0
        nbd-client -d /dev/nbd0 >/dev/null 2>&1
        kill $other; wait $other 2>/dev/null; rm -f /tmp/nbd.sock*
        loop=$(losetup --show -f --direct-io=on --sector-size 512 $disk)
        measure "loop($(cat /sys/block/${loop##*/}/loop/dio))" $loop
        losetup -d $loop
        measure 'disk (512: fails)' $disk
    done
}

for word in $(cat /proc/cmdline); do
    case $word in bench=*|tests=*) declare "$word" ;; esac
done
prepare
tests=${tests:-sizes,file_systems,partitions,content,recovery,exports}
for part in ${tests//,/ }; do
    $part
done
[ "${bench:-}" != 1 ] || bench
dmesg | grep -E 'BUG:|Oops|WARNING:|INFO: task' | head -n 5 >/tmp/said
[ ! -s /tmp/said ]; ok 'the kernel has nothing to complain of'
tell "1..$number"
tell over
sync
busybox poweroff -f
sleep 60
