# In the guest: the words that beds/ are made with. Sourced by guest.sh. A word
# that fails has told why the bed is absent.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

# ---- words for beds -------------------------------------------------------

# absent WHY: makes no bed of this one here
absent() {
    tell absent "$*"
    return 1
}

# need MODULE...: of this kernel, or built into it
need() {
    local name
    for name in "$@"; do
        modprobe "$name" 2>/dev/null || absent "this kernel has no $name" ||
            return
    done
}

# quietly COMMAND...: what it says is told if it fails
quietly() {
    "$@" >/tmp/said 2>&1 && return
    absent "$1 ${2:-} failed: $(grep -v dmesg /tmp/said | tail -n 1 |
        cut -c 1-160)"
}

# Until COMMAND holds, for 20 s
await() {
    local tries=0
    until "$@"; do
        [ $((tries += 1)) -lt 200 ] || return 1
        sleep 0.1
    done
}

# disk SERIAL: the path of the disk that the host gave this number
disk() {
    local file
    for file in /sys/block/*/serial /sys/block/*/device/{serial,model,vendor} \
        /sys/block/*/device/vpd_pg80; do
        tr -d '\0 ' <"$file" 2>/dev/null | grep -qaE "(^|[^a-z0-9])$1\$" ||
            continue
        file=${file#/sys/block/}
        echo "/dev/${file%%/*}"
        return
    done
    false
} 2>/dev/null

# await_disk SERIAL: the same, of a bus that takes a moment
await_disk() {
    local tries=0
    until disk "$1"; do
        [ $((tries += 1)) -lt 100 ] ||
            { absent "no disk $1 has come" >&3; return 1; }
        sleep 0.1
    done
}

# map NAME TABLE: a mapped disk; the target becomes the bed's path
map() {
    quietly dmsetup create "$1" --table "$2" || return
    path=/dev/mapper/$1
}

# written: all of the bed, once. Of what was never written to a disk with
# protection information its tags are wrong, and reads fail.
written() {
    dd if=/dev/zero of="$path" bs=1M oflag=direct 2>/tmp/said ||
        grep -q 'No space left' /tmp/said
}

# file_in DIRECTORY: the bed is a file there, all of it data, and tests that
# want files may make theirs beside it
file_in() {
    path=$1/disk
    directory=$1/tests
    mkdir -p "$directory" || return
    quietly dd if=/dev/urandom of="$path" bs=1M count=${megabytes:-16} \
        conv=fsync
}

# file_on DISK TYPE [MOUNT_OPTIONS [MKFS_WORD...]]
file_on() {
    local on=$1 type=$2 options=${3:-defaults} force=-F
    shift 2
    [ $# -eq 0 ] || shift
    need "$type" || return
    command -v mkfs.$type >/dev/null || absent "no mkfs.$type in the root" ||
        return
    case $type in
        xfs|btrfs|f2fs) force=-f ;;
        vfat|exfat) force='' ;;
    esac
    quietly mkfs.$type $force "$@" "$on" &&
        quietly mount -t $type -o "$options" "$on" /mnt/bed &&
        file_in /mnt/bed
}

# ---- larger words for beds: stacks and servers ----------------------------

# null_block ATTRIBUTE=VALUE...: null_blk with memory of its own
null_block() {
    local at=/sys/kernel/config/nullb/bed setting
    need configfs || return
    mountpoint -q /sys/kernel/config ||
        mount -t configfs none /sys/kernel/config
    modprobe null_blk nr_devices=0 ||
        absent 'this kernel has no null_blk' || return
    mkdir -p $at && echo 128 >$at/size && echo 1 >$at/memory_backed || return
    for setting in "$@"; do
        echo "${setting#*=}" >"$at/${setting%%=*}" ||
            absent "null_blk takes no $setting" || return
    done
    echo 1 >$at/power && await null_block_is_there
}

null_block_is_there() {
    for path in /dev/nullb0 /dev/bed /dev/nullb1; do
        [ ! -b $path ] || return 0
    done
    false
}

# loop_on DISK TYPE OPTION...: over a sparse file of that file system
loop_on() {
    local on type=$2
    on=$(disk "$1")
    shift 2
    need loop && quietly mkfs.$type -q "$on" "$([ $type = xfs ] && echo -f ||
        echo -F)" && quietly mount "$on" /mnt/bed &&
        truncate -s 64M /mnt/bed/image &&
        path=$(losetup -f) && quietly losetup "$@" $path /mnt/bed/image
}

loop_off() {
    losetup -d $path
    umount /mnt/bed
}

# pieces DISK COUNT SECTORS: mapped disks piece1... of it
pieces() {
    local number
    need dm_mod || return
    for number in $(seq $2); do
        quietly dmsetup create piece$number --table \
            "0 $3 linear $1 $(((number - 1) * $3))" || return
    done
}

pieces_off() { dmsetup remove piece1 piece2 piece3 piece4; }

lvm_group() {
    printf 'activation { udev_sync=0 udev_rules=0 monitoring=0 }\n%s\n' \
        'devices { scan_lvs=0 allow_mixed_block_sizes=1 }' \
        >/etc/lvm/lvm.conf
    quietly lvm vgcreate -qq -y group "$(disk k1)"
}

lvm_off() {
    lvm vgremove -qq -y -f group
    lvm pvremove -qq -y "$(disk k1)"
}

# array LEVEL COUNT: of pieces of 64 MiB
array() {
    local module=raid$1
    case $1 in
        5|6) module=raid456 ;;
    esac
    need $module || return
    pieces "$(disk k1)" $2 131072 &&
        quietly mdadm --create /dev/md7 --run --assume-clean --level=$1 \
            --raid-devices=$2 $(seq -f /dev/mapper/piece%.0f $2) &&
        path=/dev/md7
}

array_off() {
    mdadm --stop /dev/md7
    mdadm --zero-superblock /dev/mapper/piece*
    pieces_off
}

# The disk below a server, at /mnt/under
server_disk() {
    mkdir -p /mnt/under && need xfs && quietly mkfs.xfs -q -f "$(disk k1)" &&
        quietly mount "$(disk k1)" /mnt/under && chmod 777 /mnt/under
}

nfs_export() {
    need nfs nfsd && server_disk || return
    mkdir -p /proc/fs/nfsd /run/rpcbind
    mount -t nfsd nfsd /proc/fs/nfsd 2>/dev/null
    pgrep rpcbind >/dev/null || quietly rpcbind -w || return
    echo '/mnt/under *(rw,no_root_squash,insecure,fsid=1,no_subtree_check)' \
        >/etc/exports
    echo 10 >/proc/fs/nfsd/nfsv4gracetime
    quietly exportfs -ra && quietly rpc.nfsd 4 && quietly rpc.mountd
}

nfs_off() {
    exportfs -ua
    rpc.nfsd 0
    pkill rpc.mountd
    umount /mnt/under
}

smb_server() {
    mkdir -p /etc/samba /var/lib/samba/private /var/cache/samba \
        /var/log/samba /run/samba
    printf '%s\n' '[global]' 'map to guest = bad user' \
        'guest account = root' 'disable spoolss = yes' \
        'bind interfaces only = yes' 'interfaces = lo' '[bed]' \
        'path = /mnt/under' 'read only = no' 'guest ok = yes' \
        'strict allocate = no' >/etc/samba/smb.conf
    quietly smbd -D && sleep 3
}

# edge_error PATH OFFSET: the storage can't read the block there. A write of a
# part of it fails, and the blocks beside it stay.
edge_error() {
    local before answer
    before=$(neighbours "$1" "$2")
    answer=$(poke "$1" $(($2 + 512)) 512)
    if [ "$answer" = 0 ]; then
        tell bad 'a part of a block that cannot be read was written'
    elif [ "$before" != "$(neighbours "$1" "$2")" ]; then
        tell bad 'the neighbours of the bad block changed'
    else
        tell ok "a write of a part of a bad block: $answer"
    fi
}

neighbours() {
    dd if="$1" bs=4096 skip=$(($2 / 4096 - 1)) count=1 iflag=direct 2>/dev/null |
        sha256sum
    dd if="$1" bs=4096 skip=$(($2 / 4096 + 1)) count=1 iflag=direct 2>/dev/null |
        sha256sum
}

# bare_zeroes: whether the disk can read what it was told to zero or to
# discard, many blocks and one, without a line of our code. Told as "bare".
bare_zeroes() {
    local how block bytes
    block=$(blockdev --getss "$path")
    for bytes in 65536 "$block"; do
        for how in 'blkdiscard -f -z' 'blkdiscard -f' 'fallocate -z' \
            'fallocate -p'; do
            dd if=/dev/urandom of="$path" bs=64k seek=16 count=2 \
                conv=notrunc oflag=direct 2>/dev/null ||
                tell bare 'it cannot even be written'
            if ! $how -o 1M -l $bytes "$path" >/tmp/said 2>&1; then
                tell bare "$how of $bytes: $(tail -n 1 /tmp/said |
                    cut -c 1-100)"
            elif dd if="$path" of=/dev/null bs=64k skip=16 count=1 \
                iflag=direct 2>/tmp/said; then
                tell bare "after $how of $bytes: can be read"
            else
                tell bare "after $how of $bytes: $(head -n 1 /tmp/said |
                    cut -c 1-120)"
            fi
        done
    done
}
