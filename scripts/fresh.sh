# A fresh Debian 12 in a directory, for the scripts that try things in one.
# Sourced, by bash with -euo pipefail, from the top of the tree, as root;
# `me` is the name of the script.
#
#     fresh_debian        makes $root, which goes away when the script ends
#     in_fresh SCRIPT...  runs sh SCRIPT there
#
# The system is made once and kept in build/, for the next time. It gets its
# packages from $DEBIAN_MIRROR and $DEBIAN_SECURITY_MIRROR, through the proxy
# that this machine uses, if any.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
PATH=$PATH:/usr/sbin:/sbin

fail() { echo "$me: $*" >&2 && exit 1; }

# need_program PROGRAM PACKAGE: installs it, and says so before.
need_program() {
    command -v "$1" >/dev/null && return
    echo "$me: installing $2"
    { apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends "$2" </dev/null >/dev/null; } ||
        fail "$1 is missing here; as root run:
    apt-get install $2"
}

# How this machine reaches its mirrors is how the fresh system does.
reach_mirrors() {
    local mirror=$1
    local security=${DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
    {
        echo "deb $mirror bookworm main"
        echo "deb $mirror bookworm-updates main"
        echo "deb $security bookworm-security main"
    } >"$root/etc/apt/sources.list"
    apt-config dump | grep -E '^Acquire::(https?::|Check-)' \
        >"$root/etc/apt/apt.conf.d/90as-outside" || :
    cp /etc/resolv.conf "$root/etc/resolv.conf"
}

# Never across a mount, should there be one against all expectation.
fresh_remove() {
    local device
    for device in $(losetup -n -O NAME,BACK-FILE | grep -F "$root/" |
        cut -d' ' -f1); do
        losetup -d "$device" || :
    done
    rm -rf --one-file-system "$root"
}

fresh_debian() {
    local mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
    local fresh=build/bookworm-minbase.tar

    [ "$(id -u)" -eq 0 ] || fail "must be root, for chroot"
    mkdir -p build
    root=$(mktemp -d "$PWD/build/chroot-XXXXXX")
    trap fresh_remove EXIT
    trap 'exit 1' HUP INT TERM
    if [ ! -e "$fresh" ]; then
        need_program debootstrap debootstrap
        echo "$me: making a fresh Debian 12, once"
        unshare --mount debootstrap --variant=minbase bookworm "$root" \
            "$mirror" >"$root.log" 2>&1 ||
            { tail -n 20 "$root.log" >&2 && rm -f "$root.log" &&
                fail "debootstrap failed"; }
        rm -f "$root.log"
        tar -c -C "$root" --numeric-owner . >"$fresh.part"
        mv "$fresh.part" "$fresh"
    else
        tar -x -C "$root" --numeric-owner -f "$fresh"
    fi
    chmod 755 "$root"
    reach_mirrors "$mirror"
}

# The mounts are made in a namespace, and the processes are of one: both go with
# the script, however it ends. FRESH_DEVICES=yes: this machine's devices are
# there, too. FRESH_RUST: a directory that is seen as /opt/rust.
in_fresh() {
    # shellcheck disable=SC2016
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root \
        ${http_proxy+"http_proxy=$http_proxy"} \
        ${https_proxy+"https_proxy=$https_proxy"} \
        ${no_proxy+"no_proxy=$no_proxy"} \
        unshare --mount --pid --fork --kill-child bash -euc '
            root=$1 devices=$2 rust=$3
            shift 3
            mount -t proc proc "$root/proc"
            if [ -n "$devices" ]; then
                mount --rbind /dev "$root/dev"
                mount --rbind /sys "$root/sys"
            fi
            if [ -n "$rust" ]; then
                mkdir -p "$root/opt/rust"
                mount --bind "$rust" "$root/opt/rust"
                mount -o remount,bind,ro "$root/opt/rust"
            fi
            exec chroot "$root" sh "$@"' bash \
        "$root" "${FRESH_DEVICES:-}" "${FRESH_RUST:-}" "$@" </dev/null
}
