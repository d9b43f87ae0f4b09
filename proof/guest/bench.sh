#!/bin/bash
# Speed of blkalign-vhost-user-blk beside qemu-storage-daemon inside of one
# guest, which has a disk of each at the same time; a program there (bench.c)
# works on one of them at a time. Linux under QEMU without KVM; as root.
#
#     proof/guest/bench.sh        prints a table in markdown
#
# Each daemon has a disk of its own, of the same kind and size: a loop disk
# with blocks of 4096 bytes, then zram. Rounds are interleaved: ours, theirs,
# then a third disk, which does nothing (QEMU's null-co, a thread of its own).
# What this guest can do at most is in that column: a guest without KVM is
# slow, and daemons that are near it would differ more with a faster one.
#
# A request of the program is one to the disk, but where "joined" is said: there
# the guest's kernel makes one of those that lie side by side, as it is used to.
#
# Medians of thousand requests a second; of the ratio ours to theirs, round by
# round, the median, the least and the most; microseconds of processor time
# that a request costs the daemon, over all rounds. The host asks the guest for
# each round by a serial line, and looks at the daemon before and after.
#
# From the environment, with what is taken otherwise:
#     ROUNDS=5  CELL_SECONDS=1  DISKS="loop zram"  DISK_MB=256
#     CASES="write:512:32:random ..."   OPERATION:BYTES:DEPTH:ORDER[:joined]
#     BENCH_DIR=/var/tmp   where the files of the loop disks lie
#     BLKALIGN_ARGS=       more options for ours
#     BLKALIGN_BUILD=build
#
# SPDX-License-Identifier: MIT OR Apache-2.0
. "$(dirname "$0")/vm.sh"
rounds=${ROUNDS:-5} seconds=${CELL_SECONDS:-1} disk_mb=${DISK_MB:-256}
cases=${CASES:-"write:512:32:random write:512:32:sequential
    write:512:32:sequential:joined write:512:32:same write:512:1:random
    read:512:32:random read:512:1:random read:4096:32:random
    write:4096:32:random write:4096:1:random"}
declare -A guest_name=([ours]=vda [theirs]=vdb [nothing]=vdc) pid=()
loops=() zrams=() asked=0
# Of the guest. On a host of two, a second one takes the daemon's: all is slower.
processors=1

skip() {
    echo "bench-guest: skipped: $*"
    exit 0
}

fail() {
    echo "bench-guest: $*" >&2
    tail -n 20 log qemu.log console >&2
    exit 1
}

stop_all() {
    local process
    end "$qemu"
    for process in "${pid[@]}"; do
        end "$process"
    done
    qemu='' pid=()
}

remove_zram() {
    for _ in 1 2 3 4 5; do
        echo "$1" >/sys/class/zram-control/hot_remove && return
        sleep 0.2
    done 2>/dev/null
}

cleanup() {
    local disk
    stop_all
    for disk in "${loops[@]}"; do
        losetup -d "$disk"
    done
    for disk in "${zrams[@]}"; do
        remove_zram "$disk"
    done
    cd / && rm -rf "$directory"
}

# ---- disks and who serves them --------------------------------------------

# new_disk KIND NAME: into $disk. What was never written is no disk.
new_disk() {
    local number
    case $1 in
        loop)
            truncate -s "${disk_mb}M" "file.$2"
            disk=$(losetup --show -f --sector-size 4096 --direct-io=on \
                "file.$2" 2>>log) || return 1
            loops+=("$disk") ;;
        zram)
            number=$(cat /sys/class/zram-control/hot_add 2>/dev/null) ||
                return 1
            zrams+=("$number")
            disk=/dev/zram$number
            echo "${disk_mb}M" >"/sys/block/zram$number/disksize" || return 1
            for _ in $(seq 20); do
                [ ! -b "$disk" ] || break
                sleep 0.1
            done ;;
        *) return 1 ;;
    esac
    dd if=/dev/urandom of="$disk" bs=1M count="$disk_mb" oflag=direct \
        status=none
}

# serve ours|theirs DISK: at ./ours or ./theirs. Nobody else opens a disk: no
# locks, whose support differs.
serve() {
    rm -f "$1"
    case $1 in
        ours)
            # shellcheck disable=SC2086
            "$daemon" --socket "$directory/ours" --file "$2" --lock off \
                ${BLKALIGN_ARGS:-} 2>>log & ;;
        theirs)
            qemu-storage-daemon --blockdev "driver=host_device,node-name=d,$(
                )filename=$2,cache.direct=on,aio=io_uring,locking=off" \
                --export "type=vhost-user-blk,id=e,node-name=d,$(
                )addr.type=unix,addr.path=$directory/theirs,writable=on,$(
                )logical-block-size=512" 2>>log & ;;
    esac
    pid[$1]=$!
    wait_until $! test -S "$1"
}

# ---- the guest ------------------------------------------------------------

make_initramfs() {
    begin_root && compile bench && pack_root
}

start_guest() {
    local name disks=("${shared_memory[@]}")
    for name in ours theirs; do
        disks+=(-chardev "socket,id=$name,path=$directory/$name"
                -device "vhost-user-blk-pci,chardev=$name,num-queues=1,$(
                )queue-size=128")
    done
    # shellcheck disable=SC2054
    disks+=(-object iothread,id=io
            -blockdev "driver=null-co,node-name=nothing,size=$((disk_mb << 20)),$(
            )read-zeroes=on"
            -device "virtio-blk-pci,drive=nothing,iothread=io,num-queues=1,$(
            )queue-size=128,logical_block_size=512")
    asked=0
    start_qemu job=bench "${disks[@]}" \
        -chardev "pipe,id=line,path=line" -serial chardev:line
    wait_until $qemu said 'ready 0'
}

# Processor time of a daemon, its io_uring workers included.
ticks() {
    [ -z "${pid[$1]:-}" ] || awk '{ print $14 + $15 }' "/proc/${pid[$1]}/stat"
}

# round_over NAME: or nobody is there any more to end it
round_over() {
    said "ready $asked" ||
        { [ -n "${pid[$1]:-}" ] && ! kill -0 "${pid[$1]}" 2>/dev/null; }
}

# measure NAME JOINED OPERATION BYTES DEPTH ORDER: a round; requests,
# microseconds and ticks to ./figures.NAME. In the kernel's words 2 is "join
# none".
measure() {
    local name=$1 nomerges=2 before
    [ -z "$2" ] || nomerges=0
    shift 2
    before=$(ticks "$name")
    asked=$((asked + 1))
    echo "$nomerges ${guest_name[$name]} $* $seconds" 1<>line.in
    if ! wait_until $qemu round_over "$name" || ! said "ready $asked" ||
        said FAILED; then
        fail "no answer from the guest about $name"
    fi
    sed -n 's/^bench: \([0-9]*\) requests in \([0-9]*\) us.*/\1 \2/p' console |
        tail -n 1 |
        sed "s/\$/ $(($(ticks "$name") - before))/" >>"figures.$name"
}

# ---- the table ------------------------------------------------------------

median() {
    sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

speeds() { awk '{ printf "%.3f\n", $1 * 1000 / $2 }' "figures.$1"; }

ratios() {
    paste <(speeds ours) <(speeds theirs) | awk '{ print $1 / $2 }' | sort -n |
        awk '{ v[NR] = $1 } END { printf "%.2fx (%.2f .. %.2f)",
                                  v[int((NR + 1) / 2)], v[1], v[NR] }'
}

cost() {
    awk -v hz="$(getconf CLK_TCK)" '{ n += $1; t += $3 }
        END { printf "%.1f", t / hz * 1e6 / n }' "figures.$1"
}

# row KIND OPERATION:BYTES:DEPTH:ORDER[:joined]
row() {
    local operation bytes depth order joined name
    IFS=: read -r operation bytes depth order joined <<<"$2"
    rm -f figures.*
    for _ in $(seq "$rounds"); do
        for name in ours theirs nothing; do
            measure $name "$joined" "$operation" "$bytes" "$depth" "$order"
        done
    done
    [ "$order" != same ] || order='the same sector'
    printf '| %s | %s %s %s, depth %s%s | %.1f | %.1f | %s | %.1f | %s | %s |\n' \
        "$1" "$bytes" "$order" "$operation" "$depth" "${joined:+, joined}" \
        "$(speeds ours | median)" "$(speeds theirs | median)" "$(ratios)" \
        "$(speeds nothing | median)" "$(cost ours)" "$(cost theirs)"
}

# table KIND: a guest of its own, with disks of that kind
table() {
    local name case
    for name in ours theirs; do
        new_disk "$1" $name ||
            { echo "bench-guest: no disk of kind $1 here" >&2; return; }
        serve $name "$disk" || fail 'a daemon does not start'
    done
    start_guest || fail 'the guest does not start'
    for case in $cases; do
        row "$1" "$case"
    done
    stop_all
}

[ "$(id -u)" = 0 ] || skip 'a loop disk needs root'
for need in losetup qemu-storage-daemon; do
    command -v $need >/dev/null || skip "$need is not installed"
done
[ -x "$daemon" ] || skip 'the daemon is not built: make vhost-user-blk'
why=$("$here/fetch.sh" "$guest") || skip "$why"
daemon=$(realpath "$daemon") guest=$(realpath "$guest")
directory=$(mktemp -d "${BENCH_DIR:-/var/tmp}/blkalign-guest.XXXXXX") || exit 1
trap cleanup EXIT
trap 'exit 1' INT TERM
cd "$directory" || exit 1
make_initramfs || fail 'no memory disk for the guest'
mkfifo line.in line.out
echo "$(date -I), $(nproc) CPUs," \
    "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)," \
    "Linux $(uname -r); guest: Linux $(cat "$guest/release") under" \
    "$("$guest/qemu" --version | head -n 1);" \
    "$(qemu-storage-daemon --version | head -n 1); $rounds rounds of" \
    "$seconds s; load before: $(cut -d ' ' -f 1-3 /proc/loadavg)"
echo
echo '| disk | work | ours | qemu-storage-daemon | ratio |' \
    'a disk that does nothing | CPU, ours | CPU, theirs |'
echo '|---|---|---|---|---|---|---|---|'
for kind in ${DISKS:-loop zram}; do
    table "$kind"
done
echo
echo "load after: $(cut -d ' ' -f 1-3 /proc/loadavg)"
