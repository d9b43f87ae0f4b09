#!/bin/bash
# Speed of blkalign-vhost-user-blk beside qemu-storage-daemon, with the same
# client, which works like a guest's driver. As root, for loop devices and zram.
#
#   bench.sh [ROUNDS [SECONDS]]      default: 5 rounds of 1 second each
#
# Rounds are interleaved (ours, theirs, ours, ...). Prints medians of requests
# a second and their ratio, then microseconds of processor time that a request
# costs the daemon, which a busy machine disturbs less.
#
# BLKALIGN_ARGS: more options for ours; QSD_AIO: io_uring (default) or native;
# BACKING: the folder for the loop disk's file; DISKS: "loop zram"; CASES: what
# to measure, as OPERATION:BYTES:DEPTH:ORDER.
set -u
cd "$(dirname "$0")/../.." || exit 1
PATH=$PATH:/usr/sbin:/sbin
rounds=${1:-5}
seconds=${2:-1}
target=${CARGO_TARGET_DIR:-target}/release
daemon=$target/blkalign-vhost-user-blk
client=$target/examples/blkalign-vhost-user-bench
cases=${CASES:-"read:512:32:random write:512:32:random write:512:32:sequential
    write:512:32:same write:512:1:random read:512:1:random read:4096:32:random
    write:4096:32:random write:4096:1:random"}

for tool in qemu-storage-daemon losetup; do
    command -v $tool >/dev/null || { echo "bench.sh: no $tool here"; exit 0; }
done
cargo build --locked --quiet --release -p blkalign-vhost-user-blk --bins \
    --example blkalign-vhost-user-bench || exit 1

declare -A pid ticks
dir=$(mktemp -d "${BACKING:-/var/tmp}/vhost-bench.XXXXXX")
loop='' zram='' pids=()
cleanup() {
    [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null
    wait
    [ -z "$loop" ] || losetup -d "$loop"
    if [ -n "$zram" ]; then
        for _ in 1 2 3 4 5; do
            echo "$zram" >/sys/class/zram-control/hot_remove && break
            sleep 0.2
        done 2>/dev/null
    fi
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

truncate -s 256M "$dir/file"
loop=$(losetup --show -f --sector-size 4096 --direct-io=on "$dir/file") || exit 1
if [ -r /sys/class/zram-control/hot_add ]; then
    zram=$(cat /sys/class/zram-control/hot_add) &&
        echo 256M >"/sys/block/zram$zram/disksize"
fi

# start NAME DEVICE: ours.NAME and theirs.NAME are sockets then.
start() {
    # What was never written is no disk.
    dd if=/dev/urandom of="$2" bs=1M count=256 oflag=direct status=none
    # Both serve the same device: no locks.
    # shellcheck disable=SC2086
    $daemon --socket "$dir/ours.$1" --file "$2" --lock off \
        ${BLKALIGN_ARGS:-} &
    pids+=($!)
    pid[ours.$1]=$!
    qemu-storage-daemon --blockdev "driver=host_device,node-name=d,filename=$2,\
cache.direct=on,aio=${QSD_AIO:-io_uring},locking=off" --export "type=vhost-user-blk,\
id=e,node-name=d,addr.type=unix,addr.path=$dir/theirs.$1,writable=on,\
logical-block-size=512${QSD_EXPORT:-}" ${QSD_ARGS:-} &
    pids+=($!)
    pid[theirs.$1]=$!
    for _ in $(seq 100); do
        [ -S "$dir/ours.$1" ] && [ -S "$dir/theirs.$1" ] && return
        sleep 0.1
    done
    echo 'bench.sh: the daemons do not start' >&2
    exit 1
}

# Processor time of a daemon, its io_uring workers included.
time_of() { awk '{ print $14 + $15 }' "/proc/${pid[$1]}/stat"; }

median() { sort -n | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }

cost() {
    awk -v t="${ticks[$1]}" -v hz="$(getconf CLK_TCK)" -v s="$seconds" \
        '{ n += $1 * s } END { print t / hz * 1e6 / n }' "$dir/figures.$1"
}

# compare DISK OPERATION:BYTES:DEPTH:ORDER
compare() {
    local disk=$1 operation bytes depth order i who flags=''
    IFS=: read -r operation bytes depth order <<<"$2"
    [ "$operation" = write ] && flags=--write
    rm -f "$dir"/figures.*
    ticks=([ours]=0 [theirs]=0)
    for ((i = 0; i < rounds; i++)); do
        for who in ours theirs; do
            ticks[$who]=$((ticks[$who] - $(time_of "$who.$disk")))
            $client "$dir/$who.$disk" $flags --size "$bytes" --depth "$depth" \
                --order "$order" --seconds "$seconds" \
                >>"$dir/figures.$who" || exit 1
            ticks[$who]=$((ticks[$who] + $(time_of "$who.$disk")))
        done
    done
    local ours theirs
    ours=$(median <"$dir/figures.ours")
    theirs=$(median <"$dir/figures.theirs")
    awk -v o="$ours" -v t="$theirs" -v d="$disk" -v p="$operation" \
        -v b="$bytes" -v q="$depth" -v r="$order" \
        -v oc="$(cost ours)" -v tc="$(cost theirs)" 'BEGIN {
        printf "%-5s %-5s %5d  depth %2d  %-10s %8d %8d  %5.2f  %6.1f %6.1f\n",
            d, p, b, q, r, o, t, o / t, oc, tc }'
}

[[ ${DISKS:-loop} = *loop* ]] && start loop "$loop"
[[ ${DISKS:-zram} = *zram* && -n $zram ]] && start zram "/dev/zram$zram"
printf '%-39s %8s %8s  %5s  %6s %6s\n' '' ours qemu ratio 'ours us' qemu
for disk in ${DISKS:-loop zram}; do
    [ -S "$dir/ours.$disk" ] || continue
    for case in $cases; do
        compare "$disk" "$case"
    done
done
