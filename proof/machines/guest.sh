#!/bin/bash
# The library on a real kernel of arm64, with io_uring: guests of QEMU (without
# KVM) with Debian's kernels, of pages of 4 KiB and of 16 KiB, run the tests in
# C with threads and with io_uring, and the unit tests of rings. TAP, for
# prove(1). As root; the first time with a network.
#
#     guest.sh arm64 [PAGES...]     4k and 16k
#     ONLY=test-vectors             this one test
#     BUILT=1                       the tests that are built, as they are
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/../.."
. proof/machines/root.sh
machine "${1:?arm64}"
shift
. proof/machines/build.sh
. proof/machines/system.sh
# A test that says nothing for so long has hung.
silence=1200
number=0 failed=0 guest=

# The guest is a child of the shell that runs in_root; it ends with its parent.
end_guest() {
    local child=
    [ -n "$guest" ] || return 0
    read -r child <"/proc/$guest/task/$guest/children" 2>/dev/null || :
    # shellcheck disable=SC2086
    kill -9 $child "$guest" 2>/dev/null || :
    wait "$guest" 2>/dev/null || :
    guest=
}

cleanup() {
    end_guest
    [ -z "${work:-}" ] || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

result() {
    number=$((number + 1))
    echo "$1 $number - $2"
    [ "$1" = ok ] || failed=1
}

# The tests, the library, and what they are linked with
make_programs() {
    local top=$work/programs file
    mkdir -p "$top"/{bin,lib,unit}
    for file in $(c_tests); do
        # BUILT=1 may be of an older tree.
        [ ! -e "$file" ] || cp "$file" "$top/bin/"
    done
    [ -z "$(ls "$built/unit")" ] || cp "$built"/unit/* "$top/unit/"
    cp "$built/libblkalign.so.0" "$top/lib/"
    cp proof/machines/inside.sh "$top/guest.sh"
    chmod +x "$top/guest.sh"
    in_root sh -c "find '$top/bin' '$top/unit' '$top/lib' -type f |
        xargs ${gcc%gcc}strip --strip-debug"
    image "$work/programs.img" "$top" 8
}

# disk SERIAL FILE PROPERTIES: into options
disk() {
    options+=(-drive "if=none,id=$1,format=raw,file=$2,cache=unsafe,$3"
              -device "virtio-blk-pci,drive=$1,serial=$1${4:+,$4}")
}

start() {
    local options=() own=$machines/$name-$1
    disk root "$machines/system-$name.img" snapshot=on
    disk modules "$own/modules.img" snapshot=on
    disk programs "$work/programs.img" snapshot=on
    rm -f "$work/k1" "$work/scratch"
    truncate -s 512M "$work/k1"
    empty_image "$work/scratch" 2G
    disk k1 "$work/k1" discard=unmap \
        logical_block_size=4096,physical_block_size=4096
    disk scratch "$work/scratch" discard=unmap
    : >"$work/console"
    in_root qemu-system-aarch64 -nodefaults -display none -no-reboot \
        -machine virt -cpu neoverse-n1 -accel tcg,thread=multi -smp 2 \
        -m 1536M -serial "file:$work/console" -kernel "$own/vmlinuz" \
        -initrd "$own/initramfs" -append \
        "console=ttyAMA0 quiet panic=-1 oops=panic only=${ONLY:-}" \
        "${options[@]}" >"$work/qemu.log" 2>&1 &
    guest=$!
}

# Until it is over, or says nothing any more
await() {
    local heard=$SECONDS size=0 now
    while kill -0 "$guest" 2>/dev/null; do
        now=$(stat -c %s "$work/console")
        [ "$now" = "$size" ] || size=$now heard=$SECONDS
        [ $((SECONDS - heard)) -lt $silence ] || break
        sleep 1
    done
    end_guest
}

# What it said, as TAP
tell() {
    local line
    while read -r line; do
        case $line in
            'guest: ok '*) result ok "pages of $1: ${line#guest: ok }" ;;
            'guest: not ok '*)
                result 'not ok' "pages of $1: ${line#guest: not ok }" ;;
            'guest: over') ;;
            *) echo "# ${line#guest: }" ;;
        esac
    done < <(tr -d '\r' <"$work/console" | grep -a '^guest: ')
    if grep -aq '^guest: over' "$work/console"; then
        result ok "pages of $1: the guest came to its end"
    else
        result 'not ok' "pages of $1: the guest came to its end"
        tail -n 20 "$work/console" "$work/qemu.log" | sed 's/^/# /'
    fi
}

bring_root || { echo "1..0 # SKIP $why"; exit 0; }
mkdir -p "$machines"
work=$(mktemp -d "$machines/guest.XXXXXX")
[ -n "${BUILT:-}" ] || build_all >"$built-guest.log" 2>&1 ||
    { result 'not ok' 'the tests are built'; echo 1..1; exit 1; }
make_programs
[ $# -gt 0 ] || set -- 4k 16k
for pages in "$@"; do
    bring_system "$pages" || { echo "# no guest: $why"; continue; }
    start "$pages"
    await
    tell "$pages"
    cp "$work/console" "$machines/console-$pages"
done
[ $number -gt 0 ] || { echo "1..0 # SKIP $why"; exit 0; }
echo "1..$number"
exit $failed
