#!/bin/bash
# Brings what the guests need to a directory: kernels with their modules and
# one Debian root, as images of ext4. All of it comes from Debian packages that
# are unpacked there; nothing is installed and none of their scripts runs, so
# that this needs no chroot and changes nothing here. What is there already is
# used: the network is needed once.
#
#     fetch.sh DIRECTORY KERNEL...     KERNEL: see suite_of
#
# Leaves there: KERNEL/vmlinuz, KERNEL/release, KERNEL/modules.img,
# KERNEL/initramfs, root.img. Exit status 1, and the reason, if it can't be.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
target=$1
shift

refuse() {
    echo "$*"
    exit 1
}

# Where a kernel is to be had; for the newest one the first suite that is there.
suite_of() {
    case $1 in
        5.10) echo bullseye ;;
        6.1) echo bookworm ;;
        6.12) echo trixie ;;
        newest) echo trixie-backports ;;
        *)
            echo "no kernel $1: there are 5.10, 6.1, 6.12 and newest"
            return 1
            ;;
    esac
}

# ---- packages of any suite ------------------------------------------------

# The mirror that this machine uses, and its like for security updates.
mirrors() {
    apt-get indextargets --format '$(REPO_URI)' | grep -E '/debian/?$' |
        head -n 1
}

# apt SUITE COMMAND...: with lists of its own, as on a machine without packages
apt() {
    local own=$target/apt/$1 command=$2
    shift 2
    "$command" -o Dir::Etc::sourcelist="$own/sources" \
        -o Dir::Etc::sourceparts=- -o Dir::Etc::preferencesparts=- \
        -o Dir::State="$own/state" -o Dir::State::status="$own/status" \
        -o Dir::Cache="$own/cache" -o Acquire::Languages=none \
        -o APT::Sandbox::User=root "$@"
}

# lists SUITE: brought once a run; the suites of updates may be missing
lists() {
    local suite=$1 own=$target/apt/$1 mirror
    local signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
    [ ! -e "$own/fresh" ] || return 0
    mirror=$(mirrors)
    [ -n "$mirror" ] || return 1
    mirror=${mirror%/}
    mkdir -p "$own/state/lists/partial" "$own/cache/archives/partial"
    : >"$own/status"
    echo "deb $signed $mirror $suite main" >"$own/sources"
    case $suite in
        *-*) ;;
        *) echo "deb $signed $mirror-security $suite-security main" \
            >>"$own/sources" ;;
    esac
    apt "$suite" apt-get -qq update >"$own/log" 2>&1 ||
        apt "$suite" apt-get -qq update >>"$own/log" 2>&1 ||
        { cat "$own/log" >&2; return 1; }
    touch "$own/fresh"
}

# unpack SUITE WHERE PACKAGE...
unpack() {
    local suite=$1 where=$2 file
    shift 2
    rm -rf "$target/packages" && mkdir -p "$target/packages" "$where" &&
        cd "$target/packages" || return 1
    apt "$suite" apt-get download -qq "$@" >log 2>&1 ||
        { sleep 5; apt "$suite" apt-get download -qq "$@" >log 2>&1; } ||
        { cat log >&2; return 1; }
    for file in *.deb; do
        dpkg-deb --fsys-tarfile "$file" | tar -x -C "$where" \
            --keep-directory-symlink --no-same-owner || return 1
    done
    cd "$target" && rm -rf packages
}

# image FILE DIRECTORY SPARE_MB: a file system with what the directory has
image() {
    local megabytes
    megabytes=$(du -sm --apparent-size "$2" | cut -f 1)
    rm -f "$1.new"
    mke2fs -q -t ext4 -O ^has_journal -L "$(basename "$1" .img)" -d "$2" \
        "$1.new" $((megabytes * 5 / 4 + $3))M >"$1.log" 2>&1 ||
        { cat "$1.log" >&2; return 1; }
    mv "$1.new" "$1" && rm "$1.log"
}

# ---- a kernel -------------------------------------------------------------

# Of the drivers a guest needs those of storage; the others are most of it.
drop_modules() {
    local keep=' block md scsi nvme virtio target char base dax nvdimm
        ata cdrom crypto '
    local directory
    for directory in "$1"/drivers/*; do
        [[ $keep = *[[:space:]]$(basename "$directory")[[:space:]]* ]] ||
            rm -rf "$directory"
    done
    rm -rf "$1"/sound "$1"/drivers/crypto/*/qat*
}

# The kernel may be one package, or several: its binary, its modules.
kernel_packages() {
    apt "$1" apt-cache depends --recurse --no-recommends --no-suggests \
        --no-conflicts --no-breaks --no-replaces --no-enhances \
        linux-image-amd64 2>/dev/null |
        grep -E '^linux-(image|base|binary|modules)-[0-9].*-amd64$' | sort -u
}

# unpacked by busybox: the memory disk has no other programs
make_initramfs() {
    local modules=$1 root=$2/first name file
    rm -rf "$root" && mkdir -p "$root/bin" "$root/lib/modules/$release"
    cp "$target/guest/busybox" "$root/bin/" && cp "$here/init.sh" "$root/init"
    for name in virtio_pci virtio_blk ext4 crc32c_generic crc32c-cryptoapi; do
        for file in $(grep -E "/$name\.ko(\.xz)?:" "$modules/modules.dep" |
                      tr -d ':'); do
            mkdir -p "$root/lib/modules/$release/$(dirname "$file")"
            cp "$modules/$file" "$root/lib/modules/$release/$file"
        done
    done
    cp "$modules/modules.dep" "$modules"/modules.builtin* \
        "$root/lib/modules/$release/"
    (cd "$root" && find . | "$target/guest/busybox" cpio -o -H newc \
        2>/dev/null | gzip -1 >"$2/initramfs") && rm -rf "$root"
}

# Modules are unpacked once here: busybox does it slowly, in each guest.
fetch_kernel() {
    local kernel=$1 own=$target/$1 suite tree packages modules
    suite=$(suite_of "$kernel") && lists "$suite" || return 1
    mapfile -t packages < <(kernel_packages "$suite")
    [ ${#packages[@]} -gt 0 ] || return 1
    tree=$own/tree
    rm -rf "$own"
    unpack "$suite" "$tree" "${packages[@]}" || return 1
    modules=$(echo "$tree"{,/usr}/lib/modules/*-amd64/kernel)
    modules=$(ls -d $modules 2>/dev/null | head -n 1)
    modules=${modules%/kernel}
    release=$(basename "$modules")
    drop_modules "$modules/kernel"
    find "$modules" -name '*.ko.xz' -exec xz -d {} +
    mkdir -p "$tree/lib/modules"
    [ "$modules" -ef "$tree/lib/modules/$release" ] ||
        mv "$modules" "$tree/lib/modules/$release"
    modules=$tree/lib/modules/$release
    "$target/depmod" -b "$tree" "$release" 2>"$own/depmod.log" || return 1
    make_initramfs "$modules" "$own" || return 1
    image "$own/modules.img" "$tree/lib/modules" 4 || return 1
    find "$tree" -name 'vmlinuz*' -type f -exec cp {} "$own/vmlinuz.new" \;
    [ -e "$own/vmlinuz.new" ] || return 1
    rm -rf "$tree"
    echo "$release" >"$own/release"
    mv "$own/vmlinuz.new" "$own/vmlinuz"
}

# ---- the root -------------------------------------------------------------

# What apt would install on a machine with nothing, for these programs
with_dependencies() {
    local suite=$1
    shift
    apt "$suite" apt-get install -s --no-install-recommends "$@" \
        2>"$target/root.log" | sed -n 's/^Inst \([^ ]*\) .*/\1/p'
}

# The programs that ours were linked for: this machine's own Debian, if it is.
root_suite() {
    local VERSION_CODENAME='' ID=''
    . /etc/os-release
    [ "$ID" = debian ] && echo "${VERSION_CODENAME:-bookworm}" || echo bookworm
}

# What the scripts of the packages would have made, as far as it is needed
finish_root() {
    local root=$1
    mkdir -p "$root"/{proc,sys,dev,run,tmp,mnt,opt/bed,etc,lib/modules,root} \
        "$root"/var/{lib,tmp,log,run} "$root"/var/lib/nfs/{sm,v4recovery}
    [ -e "$root/bin/sh" ] || ln -s bash "$root/bin/sh"
    [ -e "$root/usr/bin/awk" ] || ln -s mawk "$root/usr/bin/awk"
    printf '%s:/bin/false\n' root:x:0:0:root:/root nobody:x:65534:65534::/ \
        _rpc:x:101:65534::/ statd:x:102:65534::/ >"$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
    echo 'root:*:19000:0:99999:7:::' >"$root/etc/shadow"
    echo '127.0.0.1 localhost bed' >"$root/etc/hosts"
    [ -e "$root/etc/netconfig" ] || cp "$root/usr/share/libtirpc/netconfig" \
        "$root/etc/" 2>/dev/null || :
    cp -n "$root/usr/share/base-files/nsswitch.conf" "$root/etc/" 2>/dev/null
    cp "$target/guest/busybox" "$root/bin/busybox"
    touch "$root/var/lib/nfs/etab" "$root/var/lib/nfs/rmtab"
    rm -rf "$root"/usr/share/{doc,man,locale,info} "$root/boot"
}

fetch_root() {
    local suite root=$target/tree packages wanted
    suite=$(root_suite)
    lists "$suite" || return 1
    mapfile -t wanted < <(grep -v '^#' "$here/packages" | tr -s ' ' '\n' |
                          grep .)
    mapfile -t packages < <(with_dependencies "$suite" "${wanted[@]}")
    [ ${#packages[@]} -gt 0 ] || { cat "$target/root.log" >&2; return 1; }
    rm -rf "$root"
    unpack "$suite" "$root" "${packages[@]}" && finish_root "$root" &&
        cp "$root/bin/kmod" "$target/depmod" &&
        image "$target/root.img" "$root" 300 && rm -rf "$root"
}

# ---- all of it ------------------------------------------------------------

[ "$(uname -m)" = x86_64 ] || refuse 'the guests are for x86-64'
for need in apt-get dpkg-deb mke2fs xz; do
    command -v $need >/dev/null || refuse "no $need here"
done
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ||
    refuse 'no keys of Debian here (debian-archive-keyring)'
mkdir -p "$target" && target=$(cd "$target" && pwd) || exit 1
exec 9>"$target/lock" && flock 9
rm -f "$target"/apt/*/fresh
why=$("$here/../guest/fetch.sh" "$target/guest") || refuse "$why"
[ -e "$target/root.img" ] || {
    echo '# bringing a Debian root; nothing is installed here' >&2
    fetch_root || refuse 'no Debian root can be had'
}
for kernel in "$@"; do
    suite=$(suite_of "$kernel") || refuse "$suite"
    [ -e "$target/$kernel/vmlinuz" ] || {
        echo "# bringing Linux $kernel from $suite" >&2
        fetch_kernel "$kernel" || refuse "Linux $kernel cannot be had"
    }
done
exit 0
