#!/bin/bash
# Runs blkalign-torture against many back ends on disks that it makes, as
# root: libblkalign, the kernel's page cache, QEMU's and nbdkit's servers.
# Prints the tables of docs/CONFORMANCE.md (`make conformance`).
#
# All servers listen on unix sockets. The script removes what it made, and ends
# what it started.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u

torture=$(realpath "${BLKALIGN_TORTURE:-build/tools/blkalign-torture}")
rounds=${ROUNDS:-300}
directory=$(mktemp -d "${TMPDIR:-/var/tmp}/blkalign-survey-XXXXXX") || exit 1
cd "$directory" || exit 1
loops=()
servers=()
count=0
names=()
unusables=()
unusable=
lines=()

stop_servers() {
    local pid

    # All at once: a server may wait until another one, its client, ends.
    for pid in "${servers[@]}"; do
        kill "$pid" 2>/dev/null
    done
    for pid in "${servers[@]}"; do
        wait "$pid" 2>/dev/null
    done
    servers=()
    rm -f socket below fail
}

clean_up() {
    local loop

    stop_servers
    mountpoint -q mounted && umount mounted
    for loop in "${loops[@]}"; do
        losetup -d "$loop"
    done
    cd /
    rm -rf "$directory"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

say() { echo "survey: $*" >&2; }

# disk BYTES: a loop disk of 4096-byte blocks, in $disk
disk() {
    truncate -s "$1" "disk${#loops[@]}"
    disk=$(losetup --show -f --sector-size 4096 --direct-io=on \
        "disk${#loops[@]}") || exit 1
    loops+=("$disk")
}

# serve COMMAND...: in the background, until its socket (the last one that
# the command names) is there; $line becomes the words for the table
serve() {
    local socket=$1 try

    shift
    "$@" 2>>server.log &
    servers+=($!)
    for try in {1..50}; do
        [ -S "$socket" ] && break
        sleep 0.1
    done
    # The socket may exist although the server failed to open the disk.
    sleep 0.3
    kill -0 "${servers[-1]}" 2>/dev/null ||
        unusable="did not start: $(tail -n 1 server.log)"
    line="$line${line:+ and }\`$*\`"
}

# try NAME ARGUMENT...: runs the suite, keeps its output
try() {
    names+=("$1")
    shift
    count=$((count + 1))
    lines+=("$line${line:+, then }\`blkalign-torture $*\`")
    unusables+=("$unusable")
    say "${names[-1]}${unusable:+ $unusable}"
    : >"out$count" >"err$count"
    [ -n "$unusable" ] || timeout 900 "$torture" --destroy-data --rounds "$rounds" --timeout 60 \
        "$@" >"out$count" 2>"err$count" || :
    [ ! -s "err$count" ] || sed 's/^/survey: /' "err$count" >&2
    stop_servers
    line=
    unusable=
}

have() { command -v "$1" >/dev/null || ! say "no $1 here"; }

line=
disk 64M
block_disk=$disk
disk 400M
file_disk=$disk
mkfs.xfs -q -f "$file_disk" && mkdir mounted &&
    mount "$file_disk" mounted || exit 1
odd=mounted/odd
# Written, so that trials of the alignment meet data and not a hole.
head -c $((8388608 + 612)) /dev/zero >"$odd"
uri="nbd+unix:///?socket=$directory/socket"
below="nbd+unix:///?socket=$directory/below"
fault=(--fault-on "touch $directory/fail" --fault-off "rm -f $directory/fail")

# ---- on a disk of 4096-byte blocks ----

try "libblkalign, io_uring" -a blkalign "$block_disk"
try "libblkalign, threads" -a blkalign -o engine=threads "$block_disk"
try "page cache, Linux" -a path "$block_disk"

if have qemu-nbd; then
    serve socket qemu-nbd -t -e 8 -k "$directory/socket" -f raw \
        --cache=none --aio=io_uring "$block_disk"
    try "qemu-nbd" "$uri"
fi
if have qemu-storage-daemon; then
    node=driver=host_device,filename=$block_disk,cache.direct=on,aio=io_uring
    export=type=nbd,writable=on
    serve socket qemu-storage-daemon \
        --blockdev "$node,node-name=a" --blockdev "$node,node-name=b" \
        --blockdev driver=raw,file=a,node-name=ra \
        --blockdev driver=raw,file=b,node-name=rb \
        --nbd-server "addr.type=unix,addr.path=$directory/socket" \
        --export "$export,id=a,name=a,node-name=ra" \
        --export "$export,id=b,name=b,node-name=rb"
    try "QEMU storage daemon, disk opened twice" --second \
        "nbd+unix:///b?socket=$directory/socket" \
        "nbd+unix:///a?socket=$directory/socket"
fi
if have nbdkit; then
    serve socket nbdkit -f -U "$directory/socket" --filter=blocksize \
        --filter=error file "$block_disk" minblock=4096 \
        error-pread-rate=100% "error-file=$directory/fail"
    try "nbdkit blocksize filter" "${fault[@]}" "$uri"
    serve socket nbdkit -f -U "$directory/socket" --filter=blocksize-policy \
        file "$block_disk" blocksize-minimum=4096 \
        blocksize-error-policy=error
    try "nbdkit, refuses small requests" "$uri"
fi
if have nbdkit && have qemu-nbd; then
    serve below nbdkit -f -U "$directory/below" --filter=log \
        --filter=error --filter=blocksize-policy file "$block_disk" \
        blocksize-minimum=4096 blocksize-error-policy=error \
        error-pread-rate=100% "error-file=$directory/fail" \
        "logfile=$directory/log"
    serve socket qemu-nbd -t -e 8 -k "$directory/socket" -f raw "$below"
    try "qemu-nbd on a remote 4096-byte store" "${fault[@]}" --flush-count \
        "grep -cE 'Flush|fua=1' $directory/log" "$uri"
fi

# ---- a file of odd length in an XFS on such a disk ----

try "libblkalign, odd file" -a blkalign --behind "$odd" "$odd"
try "page cache, odd file" -a path --behind "$odd" "$odd"
truncate -s $((8388608 + 612)) "$odd"
if have qemu-nbd; then
    serve socket qemu-nbd -t -e 8 -k "$directory/socket" -f raw \
        --cache=none --aio=io_uring "$odd"
    try "qemu-nbd, odd file" --behind "$odd" "$uri"
    truncate -s $((8388608 + 612)) "$odd"
fi
if have nbdkit; then
    serve socket nbdkit -f -U "$directory/socket" --filter=blocksize \
        file "$odd" minblock=4096
    try "nbdkit blocksize filter, odd file" --behind "$odd" "$uri"
fi

# ---- a remote store of 4096-byte blocks ----

if have nbdkit && "$torture" --help | grep -q "over its driver for NBD"; then
    serve socket nbdkit -f -U "$directory/socket" --filter=log \
        --filter=error --filter=blocksize-policy file "$block_disk" \
        blocksize-minimum=4096 blocksize-error-policy=error \
        error-pread-rate=100% "error-file=$directory/fail" \
        "logfile=$directory/log"
    try "libblkalign on a remote 4096-byte store" -a blkalign-nbd \
        "${fault[@]}" --flush-count \
        "grep -cE 'Flush|fua=1' $directory/log" "$uri"
fi

# ---- the tables ----

# cell CASE NUMBER: the result of the case in that run, in one word
cell() {
    if [ ! -s "out$2" ]; then
        echo " "
    elif grep -q "^not ok [0-9]* - $1:" "out$2"; then
        echo "**NO**"
    elif grep -q "^ok [0-9]* - $1 # SKIP" "out$2"; then
        echo "-"
    elif grep -q "^ok [0-9]* - $1:" "out$2"; then
        echo "yes"
    else
        echo "?"
    fi
}

versions() {
    echo "- $(date -u +%Y-%m-%d), Linux $(uname -r | cut -d- -f1), $(nproc) CPUs," \
        "$rounds rounds a case"
    "$torture" --version | sed 's/^/- /'
    ! command -v qemu-nbd >/dev/null ||
        qemu-nbd --version | sed -n '1s/^/- /p'
    ! command -v nbdkit >/dev/null || nbdkit --version | sed 's/^/- /'
    sed -n 's/^# \(libnbd [0-9.]*\),.*/- \1/p' out* | sort -u
}

tidy() { sed -e "s|$directory/||g" -e "s|$block_disk|DISK|g" \
    -e "s|mounted/odd|ODD|g"; }

tables() {
    local i case

    echo "### Versions"
    echo
    versions
    echo
    echo "### What was run"
    echo
    for ((i = 1; i <= count; i++)); do
        echo "$i. ${names[i - 1]}: ${lines[i - 1]}"
    done
    echo
    echo "### Results"
    echo
    echo "| case |$(for ((i = 1; i <= count; i++)); do
        echo -n " $i |"
    done)"
    echo "|---|$(for ((i = 1; i <= count; i++)); do echo -n "---|"; done)"
    "$torture" --list | sed -n '/^Cases/,/^$/s/^  \([^ ]*\) .*/\1/p' |
        grep -v torn-reads | while read -r case; do
        echo "| $case |$(for ((i = 1; i <= count; i++)); do
            echo -n " $(cell "$case" "$i") |"
        done)"
    done
    echo
    echo "### What does not hold, and other words"
    echo
    for ((i = 1; i <= count; i++)); do
        echo "$i. ${names[i - 1]}: $(sed -n '3s/^# //p' "out$i" |
            sed 's/, seed.*//')${unusables[i - 1]}"
        sed -n -e 's/^not ok [0-9]* - \(.*\)/   - **\1**/p' \
            -e 's/^Bail/   - **Bail/p' \
            -e 's/^ok [0-9]* - \(torn-reads: .*\)/   - \1/p' \
            -e 's/^ok [0-9]* - \(edge-read-error: .*\)/   - \1/p' \
            -e 's/^ok [0-9]* - \(past-end: .*\)/   - \1/p' \
            -e 's/^ok [0-9]* - \(flush: .*\)/   - \1/p' "out$i"
    done
}

[ -z "${KEEP:-}" ] || { mkdir -p "$KEEP" && cp out* err* server.log "$KEEP"; }
tables | tidy
