#!/bin/bash
# Brings what a guest needs to build/guest/: QEMU, a kernel with its modules,
# and busybox, all from Debian packages that are unpacked there. Nothing is
# installed: QEMU's packages may not fit the QEMU tools of the machine. What
# is there already is used, so that the network is needed once.
#
#     fetch.sh DIRECTORY       exit status 1, and the reason, if it can't be
#
# Leaves there: qemu (runs it), vmlinuz, modules/ (a /lib/modules tree with
# modules.dep), busybox.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u
PATH=$PATH:/usr/sbin:/sbin
target=$1

refuse() {
    echo "$*"
    exit 1
}

# Packages as files, each unless it is there. A mirror may be down for once.
download() {
    mkdir -p "$target/packages" && cd "$target/packages" || return 1
    apt-get download -qq "$@" >log 2>&1 && return
    sleep 5
    apt-get update -qq >>log 2>&1
    apt-get download -qq "$@" >>log 2>&1
}

# unpack WHERE NAME...: those files, all of them
unpack() {
    local where=$1 name file
    shift
    for name in "$@"; do
        for file in "$target/packages/${name}"_*.deb; do
            dpkg -x "$file" "$where" || return 1
        done
    done
}

# What apt would install, did it install PACKAGE; its removals don't matter.
with_dependencies() {
    apt-get install -s --no-install-recommends "$1" 2>/dev/null |
        sed -n 's/^Inst \([^ ]*\) .*/\1/p'
}

fetch_qemu() {
    local names
    if command -v qemu-system-x86_64 >/dev/null; then
        printf '#!/bin/sh\nexec qemu-system-x86_64 "$@"\n' >"$target/qemu"
        chmod +x "$target/qemu"
        return
    fi
    mapfile -t names < <(with_dependencies qemu-system-x86)
    [ ${#names[@]} -gt 0 ] && download "${names[@]}" || return 1
    rm -rf "$target/root"
    unpack "$target/root" "${names[@]}" || return 1
    cat >"$target/qemu" <<'END'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/root
libraries=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu
libraries=$libraries:$libraries/pulseaudio
export LD_LIBRARY_PATH="$libraries" QEMU_MODULE_DIR="$root/usr/lib/x86_64-linux-gnu/qemu"
exec "$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" \
    -L "$root/usr/share/seabios" -L "$root/usr/lib/ipxe/qemu" "$@"
END
    chmod +x "$target/qemu"
    "$target/qemu" -version >"$target/qemu.log" 2>&1
}

fetch_busybox() {
    download busybox-static && unpack "$target/bb" busybox-static &&
        cp "$target/bb/bin/busybox" "$target/busybox"
}

fetch_kernel() {
    local package release
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
              sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    [ -n "$package" ] && download "$package" || return 1
    rm -rf "$target/kernel"
    unpack "$target/kernel" "$package" || return 1
    release=${package#linux-image-}
    "$target/busybox" depmod -b "$target/kernel" "$release" || return 1
    rm -rf "$target/modules"
    mv "$target/kernel/lib/modules/$release" "$target/modules"
    echo "$release" >"$target/release"
    cp "$target/kernel/boot/vmlinuz-$release" "$target/vmlinuz"
}

[ "$(uname -m)" = x86_64 ] || refuse 'the guest is for x86-64'
mkdir -p "$target" && target=$(cd "$target" && pwd) || exit 1
exec 9>"$target/lock" && flock 9       # of several tests one does it
if ! { [ -x "$target/qemu" ] && [ -x "$target/busybox" ] &&
       [ -e "$target/vmlinuz" ]; }; then
    command -v apt-get >/dev/null || refuse 'no apt-get to bring a kernel'
    echo "# bringing QEMU, a kernel and busybox to $target by apt-get" \
        'download; nothing is installed' >&2
fi
[ -x "$target/busybox" ] || fetch_busybox || refuse 'no busybox-static'
[ -x "$target/qemu" ] || { fetch_qemu || { rm -f "$target/qemu"; false; }; } ||
    refuse 'no qemu-system-x86'
[ -e "$target/vmlinuz" ] || fetch_kernel || refuse 'no kernel for the guest'
rm -rf "$target/packages" "$target/bb" "$target/kernel"
