# A Linux guest under QEMU, without KVM, on a disk with blocks of 4096 bytes
# of which it sees sectors of 512; for the tests beside this file, in TAP.
#
# Sourced. Leaves a loop disk in $loop, a directory of its own as the current
# one, and in it payload/ with what the guest writes. Whatever happens, all
# that was started and made here is gone afterwards.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
. "$(dirname "${BASH_SOURCE[0]}")/vm.sh"
plugin=$build/nbdkit-blkalign-plugin.so
# A part of it all, for `make check`
quick=${BLKALIGN_GUEST_QUICK:-}
# What the guest makes of the disk: number, first and last sector.
partitions='1 63 2047
2 2048 616447
3 616455 759999
4 760001 1048575'
disk_sectors=1048576
number=0 failed=0
loop='' server='' mounted=''

skip_all() {
    echo "1..0 # SKIP $*"
    exit 0
}

cleanup() {
    end "$qemu"
    end "$server"
    [ -z "$mounted" ] || umount "$mounted"
    [ -z "$loop" ] || losetup -d "$loop"
    cd / && rm -rf "$directory"
}

# ok NAME COMMAND...: what it says is shown only when it fails
ok() {
    local name=$1
    number=$((number + 1))
    shift
    if "$@" >said 2>&1; then
        echo "ok $number - $name"
        return 0
    fi
    failed=$((failed + 1))
    echo "not ok $number - $name"
    echo "# failed: $*"
    sed 's/^/# /' said
    return 1
}

skip() {
    number=$((number + 1))
    echo "ok $number - $1 # SKIP $2"
}

done_testing() {
    echo "1..$number"
    [ $failed -eq 0 ]
}

# ---- the guest's memory disk ----------------------------------------------

# A program of this machine, and the libraries that it wants.
add_program() {
    local file
    mkdir -p root/sbin
    cp -L "$1" root/sbin/ || return 1
    for file in $(ldd "$1" | grep -o '/[^ ]*'); do
        mkdir -p "root$(dirname "$file")"
        cp -L "$file" "root$file"
    done
}

# Small files of odd sizes, and a large one; and what they become in the
# guest, for whose edit_file this is the model.
make_payload() {
    local i
    mkdir -p payload/small expected/small
    for i in $(seq 60); do
        head -c $((i * 149 + 1)) /dev/urandom >payload/small/file.$i
    done
    head -c 3333333 /dev/urandom >payload/big
    cp -r payload/small payload/big expected/
    dd if=payload/big of=expected/big bs=513 skip=9 seek=77 count=300 \
        conv=notrunc status=none
    dd if=payload/big of=expected/big bs=1 skip=5 seek=99999 count=7 \
        conv=notrunc status=none
    (cd expected && sha256sum small/* >../payload/sums.small &&
        cat ../payload/sums.small - < <(sha256sum big) >../payload/sums)
}

make_initramfs() {
    begin_root
    echo "$partitions" >root/partitions
    cp -r payload root/
    add_program "$(command -v mkfs.xfs)" && add_program "$(command -v mke2fs)" ||
        return 1
    compile load && compile late "$build/libblkalign.a" -lm -ldl || return 1
    add_modules crc32c_generic ext4 xfs null_blk
    pack_root
}

# ---- servers --------------------------------------------------------------

# serve nbdkit|vhost: what serves the disk at ./socket
serve() {
    local there=socket
    rm -f socket pid
    case $1 in
        nbdkit)
            nbdkit -f -P pid -U "$directory/socket" "$plugin" "file=$loop" \
                lock=on 2>>server.log &
            # It listens by then; the socket is there before.
            there=pid
            ;;
        vhost)
            "$daemon" --socket "$directory/socket" --file "$loop" --queues 2 \
                2>>server.log &
            ;;
    esac
    server=$!
    wait_until $server test -e $there || { cat server.log; return 1; }
}

stop_server() {
    kill $server
    wait $server
    server=
}

# ---- guests ---------------------------------------------------------------

# start_guest raw|nbdkit|vhost WORD...: words for the guest's command line
start_guest() {
    local disk=() nbd=driver=nbd,node-name=disk
    case $1 in
        raw)
            disk=(-blockdev "driver=host_device,node-name=disk,filename=$loop,$(
                )cache.direct=on,aio=io_uring") ;;
        nbdkit)
            nbd+=,server.type=unix,server.path=$directory/socket
            disk=(-blockdev "$nbd,reconnect-delay=60") ;;
        vhost)
            disk=("${shared_memory[@]}"
                  -chardev "socket,id=disk,path=$directory/socket,reconnect=1"
                  -device vhost-user-blk-pci,chardev=disk,num-queues=2) ;;
    esac
    [ "$1" = vhost ] || disk+=(-device "virtio-blk-pci,drive=disk,$(
        )logical_block_size=512,num-queues=2")
    shift
    start_qemu "$*" "${disk[@]}"
}

# Until the guest has switched itself off, having said that all went well.
guest_ends_well() {
    local end=$((SECONDS + patience))
    while kill -0 $qemu 2>/dev/null && [ $SECONDS -lt $end ]; do
        sleep 0.1
    done
    end $qemu
    qemu=
    said "done $1" && ! said FAILED && return
    cat qemu.log
    tail -n 30 console
    return 1
}

kill_guest() {
    kill -9 $qemu
    wait $qemu
    qemu=
} 2>/dev/null

# run_guest BACKEND JOB: from its first moment to its last
run_guest() {
    start_guest "$1" "job=$2"
    guest_ends_well "$2"
}

# ---- what is on the disk then ---------------------------------------------

# The disk as it is, past all caches, to partition.1 to partition.4 of
# 512-byte sectors, which no partition on a disk of 4096 can have.
dump_disk() {
    local at first last
    rm -f partition.*
    dd if="$loop" of=dump bs=1M iflag=direct conv=sparse status=none || return 1
    while read -r at first last; do
        dd if=dump of=partition.$at bs=512 skip=$first \
            count=$((last - first + 1)) conv=sparse status=none || return 1
        truncate -s $(((last - first + 1) * 512)) partition.$at
    done <<<"$partitions"
}

# Runs a command inside of a partition's copy.
inside() {
    local image=$1 ret
    shift
    mkdir -p mnt
    mount -o loop "$image" mnt || return 1
    mounted=$directory/mnt
    (cd mnt && "$@")
    ret=$?
    umount mnt && mounted=
    return $ret
}

# ---- all of that ----------------------------------------------------------

[ "$(id -u)" = 0 ] || skip_all 'a loop disk needs root'
for need in losetup mkfs.xfs mke2fs e2fsck xfs_repair sha256sum; do
    command -v $need >/dev/null || skip_all "$need is not installed"
done
why=$("$here/fetch.sh" "$guest") || skip_all "$why"
directory=$(mktemp -d) || exit 1
trap cleanup EXIT
trap 'exit 1' INT TERM
cd "$directory" || exit 1
truncate -s $((disk_sectors * 512)) image
loop=$(losetup --show -f --sector-size 4096 --direct-io=on image 2>/dev/null) ||
    skip_all 'no loop disk with blocks of 4096 bytes can be made here'
make_payload
make_initramfs || { echo 'Bail out! no memory disk for the guest'; exit 1; }
