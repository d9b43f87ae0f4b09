#!/bin/bash
# Speed over NBD: our server and our plugin for nbdkit beside qemu-nbd and
# nbdkit's own file plugin, with one client for all (fio's nbd engine, one connection on a unix socket), on a
# loop disk with blocks of 4096 bytes and on zram. Each tool in turn, round
# after round; medians, and what the rounds' ratios ranged over.
#
#     integrations/nbdkit/bench.sh        as root; prints a table in markdown
#
# From the environment, with what is taken otherwise:
#     ROUNDS=5  CELL_SECONDS=1  DEPTH=16  DISK_MB=256
#     BENCH_DIR=/var/tmp   where the file of the loop disk lies
#     BLKALIGN_BUILD=build
#     DISKS='loop zram'  SIZES='512 4096'  ROWS='randread read randwrite write'
#     SERVERS='blkalign-nbd plugin qemu-nbd nbdkit-file'   ratios are of the
#         first; others are plugin-tN (with N threads of nbdkit, not 16),
#         qemu-nbd-threads, and bare: a plugin that only calls pread and
#         pwrite, no 512 bytes
#
# qemu-nbd: --cache=none --aio=io_uring, that is O_DIRECT as ours. nbdkit's
# file plugin has no O_DIRECT (1.32): cache=none is what comes next, page cache
# that is given up after each request; with the blocksize filter in front, as
# somebody needs it who has a disk of 4096-byte blocks and such a plugin.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u
here=$(cd "$(dirname "$0")" && pwd)
build=${BLKALIGN_BUILD:-$here/../../build}
plugin=$build/nbdkit-blkalign-plugin.so
rounds=${ROUNDS:-5} seconds=${CELL_SECONDS:-1} depth=${DEPTH:-16}
disk_mb=${DISK_MB:-256}
PATH=$PATH:/usr/sbin:/sbin
servers=${SERVERS:-blkalign-nbd plugin qemu-nbd nbdkit-file}
rows=${ROWS:-randread read randwrite write}
disks=${DISKS:-loop zram} sizes=${SIZES:-512 4096}
loop='' zram='' server=''

refuse() {
    echo "bench-nbd: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || refuse 'a loop disk needs root'
for need in nbdkit qemu-nbd fio losetup; do
    command -v $need >/dev/null || refuse "$need is not installed"
done
fio --enghelp | grep -qw nbd || refuse 'fio has no nbd engine'
[ -e "$build/tools/blkalign-nbd" ] && [ -e "$plugin" ] || refuse 'they are not built: make integrations'

work=$(mktemp -d "${BENCH_DIR:-/var/tmp}/blkalign-nbd.XXXXXX") || exit 1
cleanup() {
    [ -z "$server" ] || { kill -9 "$server" && wait "$server"; } 2>/dev/null
    [ -z "$loop" ] || losetup -d "$loop"
    if [ -n "$zram" ]; then
        echo 1 >"/sys/block/zram$zram/reset"
        echo "$zram" >/sys/class/zram-control/hot_remove
    fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
socket=$work/socket
case " $servers " in *' bare '*)
    # shellcheck disable=SC2046
    ${CC:-cc} -O2 -fPIC -shared "$here/bare-plugin.c" -o "$work/bare.so" \
        $(pkg-config --cflags nbdkit) || refuse 'no plugin can be built here' ;;
esac

# The same byte everywhere, and the one that fio writes: no holes, and blocks
# that are alike for zram, which compresses.
fill() {
    head -c "${disk_mb}M" /dev/zero | tr '\0' 'Z' |
        dd of="$1" bs=1M iflag=fullblock conv=notrunc status=none
}

make_loop() {
    fill "$work/disk"
    loop=$(losetup --show -f --sector-size 4096 --direct-io=on "$work/disk")
}

make_zram() {
    zram=$(cat /sys/class/zram-control/hot_add 2>/dev/null) || return 1
    echo "${disk_mb}M" >"/sys/block/zram$zram/disksize"
    for _ in $(seq 20); do
        [ ! -b "/dev/zram$zram" ] || break
        sleep 0.1
    done
    fill "/dev/zram$zram"
}

# start NAME DISK
start() {
    local command
    rm -f "$socket"
    case $1 in
        blkalign-nbd) command=("$build/tools/blkalign-nbd" --socket "$socket"
                               --file "$2") ;;
        plugin) command=(nbdkit -f -U "$socket" "$plugin" "file=$2") ;;
        plugin-t*) command=(nbdkit -f -t "${1#plugin-t}" -U "$socket"
                            "$plugin" "file=$2") ;;
        bare) command=(nbdkit -f -U "$socket" "$work/bare.so" "file=$2") ;;
        qemu-nbd-threads) command=(qemu-nbd -t -k "$socket" -f raw -e 16
                                   --cache=none --aio=threads "$2") ;;
        qemu-nbd) command=(qemu-nbd -t -k "$socket" -f raw -e 16 --cache=none
                           --aio=io_uring "$2") ;;
        nbdkit-file) command=(nbdkit -f -U "$socket" --filter=blocksize file
                              "$2" cache=none minblock=4096) ;;
    esac
    "${command[@]}" 2>>"$work/log" &
    server=$!
    for _ in $(seq 100); do
        [ ! -S "$socket" ] || return 0
        sleep 0.05
    done
    cat "$work/log" >&2
    return 1
}

# What the page cache still has of it must not burden who comes next.
stop() {
    { kill $server && wait $server; } 2>/dev/null
    server=
    blockdev --flushbufs "$1"
}

# measure SERVER DISK ROW BYTES: requests a second
measure() {
    local field=8
    case $3 in *write) field=49 ;; esac
    start "$1" "$2" || return 1
    fio --name=x --ioengine=nbd "--uri=nbd+unix:///?socket=$socket" \
        --rw="$3" --bs="$4" --iodepth="$depth" --size="${disk_mb}m" \
        --time_based --runtime="$seconds" --buffer_pattern=0x5a \
        --randrepeat=0 --norandommap --minimal 2>>"$work/log" |
        sed -n 's/^3;fio/&/p' | cut -d ';' -f $field
    stop "$2"
}

median() { sort -n "$@" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# ratios NAME: of the first to it, round by round: median, least, most
ratios() {
    paste "$work/${servers%% *}" "$work/$1" | awk '{ printf "%.2f\n", $1 / $2 }' |
        sort -n | awk '{ v[NR] = $1 } END {
            printf "%.2fx (%.2f .. %.2f)", v[int((NR + 1) / 2)], v[1], v[NR] }'
}

# cell DISK LABEL ROW BYTES: a line of the table
cell() {
    local name words=$3
    case $3 in
        read | write) words="sequential $3" ;;
        rand*) words="random ${3#rand}" ;;
    esac
    for name in $servers; do : >"$work/$name"; done
    for _ in $(seq "$rounds"); do
        for name in $servers; do
            measure "$name" "$1" "$3" "$4" >>"$work/$name" ||
                refuse "$name does not start"
        done
    done
    printf '| %s | %s %s |' "$2" "$4" "$words"
    for name in $servers; do
        printf ' %.1f |' "$(median "$work/$name" |
                            awk '{ print $1 / 1000 }')"
    done
    for name in ${servers#* }; do printf ' %s |' "$(ratios "$name")"; done
    echo
}

table() {
    local row bytes
    for bytes in $sizes; do
        for row in $rows; do
            cell "$1" "$2" "$row" "$bytes"
        done
    done
}

echo "$(date -I), $(nproc) CPUs," \
    "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)," \
    "Linux $(uname -r), $(qemu-nbd --version | head -n 1), $(nbdkit --version)," \
    "$(fio --version); depth $depth, $rounds rounds of $seconds s;" \
    "load before: $(cut -d ' ' -f 1-3 /proc/loadavg)"
echo
printf '| disk | work |'
for name in $servers; do printf ' %s |' "$name"; done
for name in ${servers#* }; do printf ' %s |' "${servers%% *} / $name"; done
printf '\n|---|---|'
for name in $servers ${servers#* }; do printf -- '---|'; done
echo
case $disks in *loop*)
    make_loop || refuse 'no loop disk with blocks of 4096 bytes here'
    table "$loop" loop ;;
esac
case $disks in *zram*)
    if make_zram; then
        table "/dev/zram$zram" zram
    else
        echo 'bench-nbd: no zram here' >&2
    fi ;;
esac
echo
echo "load after: $(cut -d ' ' -f 1-3 /proc/loadavg)"
