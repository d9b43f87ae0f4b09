#!/bin/bash
# The tests in C on a kernel of another kind of machine, with io_uring and
# threads, in a guest that QEMU emulates. TAP, for prove(1). As root; the first
# time with a network.
#
#     guest.sh MACHINE [KERNEL]
#
# KERNEL is the end of a kernel package's name in Debian: arm64 and arm64-16k
# (pages of 16 KiB), powerpc64le-64k (of 64 KiB), s390x. Debian has no kernel
# for arm64 with pages of 64 KiB. TESTS='a b' runs only those.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/../.."
. proof/machines/root.sh
name=${1:?arm64, s390x or ppc64el}
machine "$name"
skip_all() {
    echo "1..0 # SKIP $*"
    exit 0
}
bring_root || skip_all "$why"
. proof/machines/build.sh
case $name in
    arm64) kernel=arm64 package=qemu-system-arm system=qemu-system-aarch64
        options='-M virt -cpu max' console=ttyAMA0 ;;
    s390x) kernel=s390x package=qemu-system-s390x system=qemu-system-s390x
        options='-M s390-ccw-virtio -cpu max' console=ttysclp0 ;;
    ppc64el) kernel=powerpc64le-64k package=qemu-system-ppc
        system=qemu-system-ppc64 options='-M pseries -cpu power10'
        console=hvc0 ;;
esac
kernel=${2:-$kernel}
here=$machines/guest-$kernel

# The kernel as a file, not installed: its package would want to boot it.
bring_kernel() {
    local full
    [ ! -e "$here/vmlinux" ] || return 0
    mkdir -p "$here"
    full=$(in_root sh -c "apt-cache depends linux-image-$kernel:$name" |
        sed -n 's/^ *Depends: \(linux-image-[^:]*\).*/\1/p' | head -n 1)
    [ -n "$full" ] || return 1
    in_root sh -c "cd '$here' && apt-get download -qq $full:$name &&
        dpkg -x linux-image-*.deb unpacked && rm linux-image-*.deb" &&
        mv "$here"/unpacked/boot/vmlinu* "$here/vmlinux"
}
bring_qemu() {
    [ -e "$root/usr/bin/$system" ] ||
        in_root apt-get install -y -qq --no-install-recommends "$package"
}

# What init.sh loads, with what that needs.
pack_modules() {
    local module modules=$here/unpacked/lib/modules to=$here/initramfs
    local release
    [ -d "$modules" ] || modules=$here/unpacked/usr/lib/modules
    release=$(ls "$modules")
    in_root depmod -b "${modules%/lib/modules}" "$release"
    mkdir -p "$to/lib/modules/$release"
    for module in virtio_pci virtio_blk ext4 loop zram xfs; do
        grep -E "/$module\.ko[.a-z]*:" "$modules/$release/modules.dep" |
            tr -d : | tr ' ' '\n'
    done | sort -u | while read -r module; do
        mkdir -p "$to/lib/modules/$release/$(dirname "$module")"
        cp "$modules/$release/$module" "$to/lib/modules/$release/$module"
    done
    in_root depmod -b "$to" "$release"
}

pack() {
    local test
    rm -rf "$here/initramfs" "$here/disk"
    mkdir -p "$here/initramfs/bin" "$here/disk/c" "$here/disk/lib"
    cp "$root/root/busybox-$name/usr/bin/busybox" "$here/initramfs/bin/"
    cp proof/machines/init.sh "$here/initramfs/init"
    chmod 755 "$here/initramfs/init"
    pack_modules &&
        in_root sh -c "cd '$here/initramfs' && find . |
            cpio -o -H newc --quiet >../initrd"
    for test in $(c_tests) "$built"/unit/*; do
        case " ${TESTS:-${test##*/}} " in
            *" ${test##*/} "*) cp "$test" "$here/disk/c/" ;;
        esac
    done
    cp -a "$built/libblkalign.so.0" "$root$sysroot"/lib/*.so* \
        "$here/disk/lib/"
    # shellcheck disable=SC2016
    in_root sh -c 'printf "#include <stdio.h>\n#include <unistd.h>\n
        int main(void) { return printf(\"%%ld\", sysconf(_SC_PAGESIZE)) < 0; }
        " | "$1" -static -xc - -o "$2/disk/page-size" &&
        mke2fs -q -t ext4 -b 4096 -d "$2/disk" "$2/disk.img" 3G' sh "$gcc" \
        "$here"
}

# Passes on what the guest says, as TAP.
report() {
    local line number=0
    while read -r line; do
        line=${line%$'\r'}
        case $line in
            'guest: ok'*) echo "ok $((++number))${line#guest: ok}" ;;
            'guest: not ok'*) echo "not ok $((++number))${line#guest: not ok}" ;;
            'guest: over'*) echo "1..$number" ;;
            'guest: '*) echo "# ${line#guest: }" ;;
        esac
    done
}

boot() {
    # shellcheck disable=SC2086
    in_root "$system" $options -nographic -nodefaults -no-reboot -smp 2 \
        -m 2G -accel tcg -serial stdio -kernel "$here/vmlinux" \
        -initrd "$here/initrd" \
        -append "console=$console quiet panic=-1 rdinit=/init" \
        -drive "file=$here/disk.img,format=raw,if=none,id=disk,cache=unsafe" \
        -device "virtio-blk,drive=disk"
}

prepare() { build_all && bring_kernel && bring_qemu && pack; }
prepare >"$here.log" 2>&1 || {
    tail -n 20 "$here.log" | sed 's/^/# /'
    skip_all "linux-image-$kernel or QEMU for it can't be had: $here.log"
}
boot 2>&1 | tee "$here/console" | report
rm -f "$here/disk.img"
grep -q '^guest: over' "$here/console"
