# A Linux guest under QEMU, without KVM: what is in its memory disk, its start,
# what it says. For common.sh, whose guests are tests, and bench.sh.
#
# Sourced. Works in the current directory, which is the caller's own.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${BLKALIGN_BUILD:-$here/../../build}
guest=$build/guest
daemon=${BLKALIGN_VHOST_DAEMON:-$build/tools/blkalign-vhost-user-blk}
# Seconds that anything a guest does may take; it boots in 5 of a quiet machine.
patience=${BLKALIGN_GUEST_SECONDS:-300}
qemu=''
processors=2
memory_mb=320
# What starts: those of fetch.sh and pack_root, unless a caller has others.
kernel=$guest/vmlinuz
memory_disk=initramfs
# Memory that a vhost-user daemon can have, too
shared_memory=(-object memory-backend-memfd,id=memory,size=320M,share=on
               -numa node,memdev=memory)

# Ends what was started here: by its number, surely, and waits for it.
end() {
    [ -z "$1" ] || { kill -9 "$1" && wait "$1"; } 2>/dev/null
}

# Until COMMAND holds; false if the process does not live on, or for too long
wait_until() {
    local process=$1 end=$((SECONDS + patience))
    shift
    until "$@"; do
        kill -0 "$process" 2>/dev/null || return 1
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

# ---- the guest's memory disk ----------------------------------------------

# compile NAME LIBRARY...: ours, for the guest and to be used here
compile() {
    local name=$1
    shift
    ${CC:-cc} -std=c99 -Wall -Wextra -Werror -pedantic -D_GNU_SOURCE -O2 \
        -I"$here/../../include" -static -pthread "$here/$name.c" "$@" \
        -o "$name" 2>compile.log && cp "$name" root/sbin/ && return
    sed 's/^/# /' compile.log
    return 1
}

# A module, and those it depends on, as modules.dep has them.
add_modules() {
    local to=root/lib/modules/$release name file
    mkdir -p "$to"
    for name in "$@"; do
        for file in $(grep -E "/$name\.ko:" "$guest/modules/modules.dep" |
                      tr -d ':'); do
            mkdir -p "$to/$(dirname "$file")"
            cp "$guest/modules/$file" "$to/$file"
        done
    done
    cp "$guest/modules/modules.dep" "$to/"
}

# What every guest has: init.sh with the programs of busybox, and modules.
begin_root() {
    release=$(cat "$guest/release")
    mkdir -p root/bin root/sbin
    cp "$guest/busybox" root/bin/
    cp "$here/init.sh" root/init
    add_modules virtio_ring virtio virtio_pci_modern_dev \
        virtio_pci_legacy_dev virtio_pci virtio_blk
}

pack_root() {
    (cd root && find . | "$guest/busybox" cpio -o -H newc >../initramfs) &&
        rm -rf root
}

# ---- its life -------------------------------------------------------------

# start_qemu WORDS OPTION...: words for the guest's command line, its disks
start_qemu() {
    local words=$1
    shift
    : >console
    "$guest/qemu" -nodefaults -display none -no-reboot -machine pc \
        -accel tcg,thread=multi -cpu max -smp $processors \
        -m ${memory_mb}M -serial "file:console" -kernel "$kernel" \
        -initrd "$memory_disk" \
        -append "console=ttyS0 quiet panic=-1 mitigations=off $words" \
        "$@" 2>qemu.log &
    qemu=$!
}

# said TEXT: by the guest, on its console
said() { grep -q "^guest: $1" console; }
