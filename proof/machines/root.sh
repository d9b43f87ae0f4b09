# A Debian in build/machines/root with what builds for other machines and runs
# there: Rust and its standard libraries, cross compilers, QEMU. Sourced, by
# bash with -euo pipefail, from the top of the tree, as root.
#
#     machine NAME    arm64, s390x or ppc64el: sets $name, $triple, $qemu,
#                     $sysroot
#     bring_root      makes it if it is not there; $why says what can't be had
#     in_root COMMAND...
#     with_cargo ARGUMENT...  cargo for the machine
#
# Not to be had: Rust's standard library for musl (Debian has none; rust-src of
# this Debian could build one), a kernel for arm64 with pages of 64 KiB (Debian
# has those of 4 KiB and 16 KiB: see system.sh).
#
# It is forky: Debian 12 has a Rust that is new enough (rustc-web) only for
# x86 and arm. It is made once, in some minutes and 2 GB, and needs a network
# for that; packages come from $DEBIAN_MIRROR.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
PATH=$PATH:/usr/sbin:/sbin
machines=$PWD/build/machines
root=$machines/root
why= lock=

machine() {
    name=$1
    case $1 in
        arm64) triple=aarch64-unknown-linux-gnu qemu=qemu-aarch64 ;;
        s390x) triple=s390x-unknown-linux-gnu qemu=qemu-s390x ;;
        ppc64el) triple=powerpc64le-unknown-linux-gnu qemu=qemu-ppc64le ;;
        *) echo "$0: no machine $1: arm64, s390x or ppc64el" >&2 && exit 2 ;;
    esac
    gcc=${triple/-unknown/}-gcc
    sysroot=/usr/${triple/-unknown/}
}

# With the network's proxy, if there is one, and nothing else of this system;
# $also: a directory that is seen there, too.
in_root() {
    # shellcheck disable=SC2016
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root \
        DEBIAN_FRONTEND=noninteractive PERL_BADLANG=0 \
        ${http_proxy+"http_proxy=$http_proxy"} \
        ${https_proxy+"https_proxy=$https_proxy"} \
        unshare --mount --pid --fork --kill-child bash -euc '
            root=$1 here=$PWD also=$2
            shift 2
            mount -t proc proc "$root/proc"
            mount --rbind /dev "$root/dev"
            mount --rbind /sys "$root/sys"
            mkdir -p "$root$here"
            mount --rbind "$here" "$root$here"
            if [ -n "$also" ]; then
                mkdir -p "$root$also"
                mount --rbind -o ro "$also" "$root$also"
            fi
            # Not by exec: the first process of all is not like others.
            chroot "$root" sh -c "cd \"\$0\" && exec \"\$@\"" "$here" "$@"
            exit' bash "$root" "${also:-}" "$@" </dev/null
}

make_root() {
    local mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
    local packages="rustc cargo gcc libc6-dev make perl mount kmod cpio
        e2fsprogs qemu-user"

    command -v debootstrap >/dev/null ||
        { why='debootstrap is not installed' && return 1; }
    why="a Debian cannot be made: see $root.log"
    rm -rf --one-file-system "$root"
    # What makes forky is what makes sid; older debootstraps know only that.
    unshare --mount debootstrap --variant=minbase forky "$root" "$mirror" \
        sid || return 1
    echo "deb $mirror forky main" >"$root/etc/apt/sources.list"
    apt-config dump | grep -E '^Acquire::(https?::|Check-)' \
        >"$root/etc/apt/apt.conf.d/90as-outside" || :
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    # shellcheck disable=SC2086
    in_root apt-get update -qq &&
        in_root apt-get install -y -qq --no-install-recommends $packages &&
        in_root apt-get clean && touch "$root/made"
}

# What builds for the machine of that name
add_machine() {
    local cross=${triple/-unknown/}
    why="no compilers for $name can be had: see $root.log"
    in_root dpkg --add-architecture "$name" && in_root apt-get update -qq &&
        in_root apt-get install -y -qq --no-install-recommends \
            "gcc-$cross" "libc6-dev-$name-cross" || return 1
    # Not installed: its dependencies are another system's.
    in_root sh -c "cd /root && apt-get download -qq libstd-rust-dev:$name &&
        dpkg -x libstd-rust-dev_*_$name.deb / && rm -f *.deb" || return 1
    in_root apt-get clean && touch "$root/made-$name"
}

# The crates, as Cargo.lock has them.
bring_crates() {
    [ "$machines/vendor.toml" -nt Cargo.lock ] ||
        { cargo vendor --locked "$machines/vendor" >"$machines/vendor.new" &&
            mv "$machines/vendor.new" "$machines/vendor.toml"; }
}

bring_root() {
    [ "$(id -u)" -eq 0 ] || { why='it takes root, for chroot' && return 1; }
    mkdir -p "$machines"
    exec {lock}>"$machines/lock" && flock "$lock"
    [ -e "$root/made" ] || make_root >"$root.log" 2>&1 || return 1
    [ -e "$root/made-$name" ] || add_machine >>"$root.log" 2>&1 || return 1
    why="no crates: see $machines/vendor.log"
    bring_crates 2>"$machines/vendor.log" || return 1
    flock -u "$lock"
    why=
}

# with_cargo ARGUMENT...: cargo for the machine, with its programs run by QEMU
with_cargo() {
    local upper=${triple^^}
    upper=${upper//-/_}
    in_root env CARGO_HOME="$machines/cargo-home" CARGO_NET_OFFLINE=true \
        "CARGO_TARGET_${upper}_LINKER=$gcc" \
        "CARGO_TARGET_${upper}_RUNNER=$qemu -L $sysroot" \
        BLKALIGN_TEST_SLOW=1 CARGO_INCREMENTAL=0 \
        CARGO_BUILD_TARGET="$triple" CARGO_TARGET_DIR="$machines/target" \
        cargo --config "$machines/vendor.toml" --locked "$@"
}
