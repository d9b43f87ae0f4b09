# A real arm64 system to boot: QEMU, Debian's kernels for arm64 with pages of
# 4 KiB and of 16 KiB, a root of Debian's packages. Sourced, after root.sh and
# machine arm64. All of it comes by the apt of build/machines/root; what is for
# arm64 is unpacked, not installed.
#
#     bring_system PAGES      4k or 16k; $why says what can't be had
#
# Leaves in build/machines/: system-arm64.img, and in arm64-PAGES/ vmlinuz,
# modules.img, initramfs, release.
#
# Not to be had: a kernel with pages of 64 KiB. Debian builds none.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

# What the tests in C use of a system, beside what that depends on
system_packages='bash dash coreutils util-linux mount e2fsprogs xfsprogs
    btrfs-progs kmod sed grep mawk procps libc-bin busybox-static'

# foreign DIRECTORY ARGUMENT...: apt-get there, as a system of that machine has
# it on which nothing is installed
foreign() {
    local directory=$1
    shift
    # shellcheck disable=SC2016
    in_root sh -c 'cd "$0" && exec apt-get "$@"' "$directory" \
        -o APT::Architecture="$name" -o APT::Architectures="$name" \
        -o Dir::State::status=/dev/null -o APT::Sandbox::User=root -qq "$@"
}

# unpack WHERE PACKAGE...
unpack() {
    local where=$1 file debs=$machines/debs
    shift
    rm -rf "$debs" && mkdir -p "$debs" "$where"
    foreign "$debs" download "$@" || return 1
    for file in "$debs"/*.deb; do
        dpkg-deb --fsys-tarfile "$file" | tar -x -C "$where" \
            --keep-directory-symlink --no-same-owner || return 1
    done
    rm -rf "$debs"
}

# image FILE DIRECTORY SPARE_MB: as ext4
image() {
    local megabytes
    megabytes=$(du -sm --apparent-size "$2" | cut -f 1)
    rm -f "$1.new"
    mke2fs -q -t ext4 -O ^has_journal -d "$2" "$1.new" \
        $((megabytes * 5 / 4 + $3))M && mv "$1.new" "$1"
}

empty_image() { truncate -s "$2" "$1" && mke2fs -q -t ext4 -b 4096 "$1"; }

# ---- the root -------------------------------------------------------------

make_system() {
    local tree=$machines/system-tree packages
    # shellcheck disable=SC2086
    mapfile -t packages < <(foreign / install -s --no-install-recommends \
        $system_packages | sed -n 's/^Inst \([^ :]*\).*/\1/p')
    [ ${#packages[@]} -gt 0 ] || return 1
    rm -rf "$tree" && mkdir -p "$tree"/usr/{bin,sbin,lib}
    ln -s usr/bin usr/sbin usr/lib "$tree/"
    unpack "$tree" "${packages[@]}" || return 1
    mkdir -p "$tree"/{proc,sys,dev,run,tmp,mnt,opt/bed,etc,lib/modules} \
        "$tree"/var/{tmp,lib,log}
    [ -e "$tree/bin/sh" ] || ln -s dash "$tree/bin/sh"
    [ -e "$tree/bin/awk" ] || ln -s mawk "$tree/bin/awk"
    printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:\n' \
        >"$tree/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$tree/etc/group"
    rm -rf "$tree"/usr/share/{doc,man,locale,info}
    cp "$tree/usr/bin/busybox" "$machines/busybox-$name" &&
        image "$machines/system-$name.img" "$tree" 600 && rm -rf "$tree"
}

# ---- a kernel -------------------------------------------------------------

# What a guest may need of the drivers
drop_modules() {
    local keep=' block md virtio nvdimm char base dax crypto nvme ' directory
    for directory in "$1"/drivers/*; do
        [[ $keep = *[[:space:]]$(basename "$directory")[[:space:]]* ]] ||
            rm -rf "$directory"
    done
    rm -rf "$1"/sound "$1"/net
}

# unpacked by busybox: the memory disk has no other programs
make_initramfs() {
    local modules=$1 first=$own/first module file
    rm -rf "$first" && mkdir -p "$first/bin" "$first/lib/modules/$release"
    cp "$machines/busybox-$name" "$first/bin/busybox"
    cp proof/storage/init.sh "$first/init"
    for module in virtio_pci virtio_blk ext4; do
        for file in $(grep -E "/$module\.ko:" "$modules/modules.dep" |
                      tr -d ':'); do
            mkdir -p "$first/lib/modules/$release/$(dirname "$file")"
            cp "$modules/$file" "$first/lib/modules/$release/$file"
        done
    done
    cp "$modules"/modules.dep "$modules"/modules.builtin* \
        "$first/lib/modules/$release/"
    in_root sh -c "cd '$first' && find . | cpio -o -H newc 2>/dev/null |
        gzip -1 >'$own/initramfs'" && rm -rf "$first"
}

# Of the newest that there is: 4k has no word of its own in the name
make_kernel() {
    local packages modules flavour=$name tree=$own/tree
    [ "$1" = 4k ] || flavour=$name-$1
    mapfile -t packages < <(in_root apt-cache depends --recurse \
        --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces --no-enhances "linux-image-$flavour:$name" |
        sed -n 's/^\(linux-\(image\|binary\|modules\)-[0-9][^:]*\).*/\1/p' |
        grep -E "[-]$flavour\$" | sort -u)
    [ ${#packages[@]} -gt 0 ] || return 1
    rm -rf "$own" && mkdir -p "$tree/usr/lib" && ln -s usr/lib "$tree/lib"
    unpack "$tree" "${packages[@]}" || return 1
    modules=$(ls -d "$tree"/lib/modules/*)
    release=$(basename "$modules")
    drop_modules "$modules/kernel"
    find "$modules" -name '*.ko.xz' -exec xz -d {} +
    mkdir -p "$own/m/lib/modules" && mv "$modules" "$own/m/lib/modules/"
    in_root depmod -b "$own/m" "$release" &&
        make_initramfs "$own/m/lib/modules/$release" &&
        image "$own/modules.img" "$own/m/lib/modules" 4 || return 1
    find "$tree" "$own/m" -name 'vmlinuz*' -type f \
        -exec cp {} "$own/vmlinuz.new" \;
    rm -rf "$tree" "$own/m"
    echo "$release" >"$own/release"
    mv "$own/vmlinuz.new" "$own/vmlinuz"
}

# ---- all of it ------------------------------------------------------------

bring_system() {
    local need
    own=$machines/$name-$1
    for need in dpkg-deb mke2fs; do
        command -v $need >/dev/null || { why="no $need here" && return 1; }
    done
    exec {lock}>"$machines/lock" && flock "$lock"
    why="QEMU for $name cannot be had: see $root.log"
    [ -e "$root/usr/bin/qemu-system-aarch64" ] ||
        in_root apt-get install -y -qq --no-install-recommends \
            qemu-system-arm >>"$root.log" 2>&1 || return 1
    why="no Debian for $name: see $machines/system.log"
    [ -e "$machines/system-$name.img" ] ||
        make_system >"$machines/system.log" 2>&1 || return 1
    why="no kernel for $name with pages of $1: see $own.log"
    [ -e "$own/vmlinuz" ] || make_kernel "$1" >"$own.log" 2>&1 || return 1
    flock -u "$lock"
    why=
}
