#!/bin/bash
# Tests blkalign-ublk in a guest with Debian's Linux 6.12, whose ublk_drv is a
# module: QEMU without KVM, some minutes. TAP. Packages are unpacked, not
# installed, by proof/storage/fetch.sh; see there.
#
#     BENCH=1        measures, too
#     LOOP=PROGRAM   libublk's example `loop`, to measure beside
#     TESTS=a,b      of the parts in guest.sh
#
# SPDX-License-Identifier: MIT OR Apache-2.0
ublk=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$ublk/../../proof/guest/vm.sh"
storage=$ublk/../../proof/storage
cache=$build/storage
memory_mb=1024
silence=${BLKALIGN_STORAGE_SILENCE:-420}

cleanup() {
    end "$qemu"
    cd / && rm -rf "$directory"
}

# The programs, with their libraries but the C library, as a small disk
make_programs() {
    local root=$directory/programs file
    mkdir -p "$root/bin" "$root/lib"
    cp "$ublk/guest.sh" "$root/" &&
        cp "$build"/tools/blkalign-{ublk,nbd} "$root/bin/" &&
        cp "$(command -v fio)" "$root/bin/" || return 1
    [ -z "${LOOP:-}" ] || cp "$LOOP" "$root/bin/null-loop"
    for file in $(ldd "$root"/bin/* 2>/dev/null | grep -oE '/[^ :]*\.so[^ :]*' |
                  sort -u | grep -vE '/(ld-linux|libc\.|libm\.)[^/]*$')
    do
        cp -L "$file" "$root/lib/" || return 1
    done
    mke2fs -q -t ext4 -O ^has_journal -d "$root" programs.img \
        $(($(du -sm "$root" | cut -f 1) * 5 / 4 + 8))M >mke2fs.log 2>&1 &&
        rm -rf "$root"
}

devices() {
    local name file
    options=(-serial "file:$directory/told")
    for file in "$cache/root.img" "$cache/6.12/modules.img" programs.img; do
        name=$(basename "$file" .img)
        options+=(-drive "if=none,id=$name,format=raw,snapshot=on,file=$file"
                  -device "virtio-blk-pci,drive=$name,serial=$name")
    done
    truncate -s 1G disk
    options+=(-drive 'if=none,id=d,format=raw,file=disk,cache=unsafe,discard=unmap'
              -device 'nvme,id=n,serial=d' -device "nvme-ns,bus=n,drive=d,$(
              )logical_block_size=4096,physical_block_size=4096")
}

# Prints what it tells, and ends it when that is nothing for too long.
follow_guest() {
    local heard=$SECONDS lines=0 now
    while kill -0 "$qemu" 2>/dev/null; do
        now=$(wc -l <told)
        if [ "$now" != "$lines" ]; then
            sed -n "$((lines + 1)),${now}p" told | tr -d '\r'
            lines=$now heard=$SECONDS
        fi
        [ $((SECONDS - heard)) -lt "$silence" ] || { end "$qemu"; break; }
        sleep 0.5
    done
    wait "$qemu" 2>/dev/null
    qemu=''
    sed -n "$((lines + 1)),\$p" told | tr -d '\r'
}

main() {
    local why
    why=$("$storage/fetch.sh" "$cache" 6.12) ||
        { echo "1..0 # SKIP $why"; exit 0; }
    for need in mke2fs fio; do
        command -v $need >/dev/null || { echo "1..0 # SKIP no $need"; exit 0; }
    done
    directory=$(mktemp -d) || exit 1
    trap cleanup EXIT
    trap 'exit 1' INT TERM
    cd "$directory" || exit 1
    make_programs || { echo 'Bail out! no disk of programs'; exit 1; }
    kernel=$cache/6.12/vmlinuz
    memory_disk=$cache/6.12/initramfs
    devices
    : >told
    start_qemu "oops=panic bench=${BENCH:-} ${TESTS:+tests=$TESTS}" \
        "${options[@]}"
    follow_guest
    if ! grep -q '^over' told; then
        echo 'Bail out! the guest did not come to its end'
        tail -n 10 console qemu.log | sed 's/^/# /'
        exit 1
    fi
    ! grep -q '^not ok' told
}

main
