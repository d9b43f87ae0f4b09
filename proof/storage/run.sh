#!/bin/bash
# Tries the library on storages of all kinds, on kernels of users: boots guests
# (QEMU without KVM), in which guest.sh makes each bed of beds/ and does there
# what stages.sh says. Then says what became of each; table.sh makes
# docs/STORAGES.md of it.
#
#     run.sh
#
#     KERNEL=6.1              5.10, 6.1, 6.12 or newest; several by commas
#     STORAGE=nvme,dm-crypt   names of files in beds/; all, if it is not set
#     ROUNDS=8                rounds of the torture suite's races
#     TESTS=a,b               of the C tests
#     ONLY=1                  makes the beds and tells their alignments, no more
#
# Results stay in build/storage/results/KERNEL/BED. Exit status 1 if some bed
# does not hold in a way that its file does not know.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
. "$(dirname "${BASH_SOURCE[0]}")/../guest/vm.sh"
storage=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$storage/verdict.sh"
cache=$build/storage
# A step of a bed that takes longer has hung. Guests are slow.
silence=${BLKALIGN_STORAGE_SILENCE:-420}
rounds=${ROUNDS:-8}
tests=test-vectors,test-zeroes,test-discard,test-torture,test-stable-writes
tests=${TESTS:-$tests,test-registered}
memory_mb=2048
share=''
revision=''     # of the library, as Git names it
inside=()       # beds that the guest which runs is given

say() { echo "storage: $*" >&2; }

# What was told so far is kept; of the bed that it was at nothing is.
cleanup() {
    local bed
    if [ -n "$qemu" ]; then
        end "$qemu"
        keep_results "${inside[@]}"
        for bed in "${inside[@]}"; do
            ! grep -q '^died' "$results/$bed" 2>/dev/null ||
                rm "$results/$bed"
        done
    fi
    end "$share"
    cd / && rm -rf "$directory"
}

# ---- what goes into a guest -----------------------------------------------

# The programs and beds, as a small disk
make_programs() {
    local root=$directory/programs file
    mkdir -p "$root/bin" "$root/lib"
    ${CC:-cc} -std=c99 -Wall -Wextra -Werror -pedantic -D_GNU_SOURCE -O2 \
        "$storage/trial.c" -o "$root/bin/trial" &&
        ${CC:-cc} -std=c99 -Wall -Wextra -Werror -pedantic -O2 \
            -I"$storage/../../include" "$storage/poke.c" -L"$build" -lblkalign \
            -o "$root/bin/poke" || return 1
    cp -r "$storage"/{guest,stages,words}.sh "$storage"/beds "$root/" &&
        cp "$build"/tools/blkalign-info "$cache"/blkalign-torture \
            "$root/bin/" &&
        cp "$build"/libblkalign.so.0 "$root/lib/" || return 1
    for file in ${tests//,/ }; do
        cp "$build/capi-tests/$file" "$root/bin/" || return 1
    done
    # libnbd, and what it wants; the C library is the root's own.
    for file in $(ldd "$root"/bin/* | grep -oE '/[^ :]*\.so[^ :]*' | sort -u |
                  grep -vE '/(ld-linux.*|lib(c|m|gcc_s|blkalign)\.so[^/]*)$')
    do
        cp -L "$file" "$root/lib/"
    done
    mke2fs -q -t ext4 -O ^has_journal -d "$root" programs.img \
        $(($(du -sm "$root" | cut -f 1) * 5 / 4 + 8))M >mke2fs.log 2>&1 &&
        rm -rf "$root"
}

# disk_of BUS SERIAL MEGABYTES PROPERTIES: into options
disk_of() {
    local bus=$1 serial=$2 properties=${4:+,$4} file=$directory/disk.$2
    rm -f "$file" && truncate -s "${3}M" "$file"
    options+=(-drive "if=none,id=$serial,format=raw,file=$file,$(
        )cache=unsafe,discard=unmap")
    case $bus in
        virtio) options+=(-device \
            "virtio-blk-pci,drive=$serial,serial=$serial$properties") ;;
        scsi) options+=(-device \
            "scsi-hd,bus=scsi.0,drive=$serial,serial=$serial$properties") ;;
        cd) options+=(-device \
            "scsi-cd,bus=scsi.0,drive=$serial,serial=$serial$properties") ;;
        nvme) options+=(-device "nvme,id=c$serial,serial=$serial" -device \
            "nvme-ns,bus=c$serial,drive=$serial$properties") ;;
    esac
}

# A directory of this machine, by virtiofsd; without it the bed is absent.
share_directory() {
    local server=$guest/root/usr/lib/qemu/virtiofsd
    local libraries=$guest/root/usr/lib/x86_64-linux-gnu
    [ -x "$server" ] || server=/usr/lib/qemu/virtiofsd
    [ -x "$server" ] || return 0
    mkdir -p shared
    LD_LIBRARY_PATH=$libraries "$server" --socket-path="$directory/fs.sock" \
        -o "source=$directory/shared" -o sandbox=chroot -f 2>virtiofsd.log &
    share=$!
    wait_until $share test -S fs.sock || { share=''; return 0; }
    options+=(-chardev "socket,id=fs,path=$directory/fs.sock"
              -device vhost-user-fs-pci,chardev=fs,tag=shared -object
              "memory-backend-memfd,id=memory,size=${memory_mb}M,share=on"
              -numa node,memdev=memory)
}

# The system's disks, two of the beds' disks with large blocks and one with
# small ones, and what the beds of this guest ask for
devices() {
    local bed line bus serial megabytes properties
    options=(-device virtio-scsi-pci,id=scsi
             -serial "file:$directory/told")
    for line in "$cache/root.img" "$own/modules.img" programs.img; do
        serial=$(basename "$line" .img)
        options+=(-drive "if=none,id=$serial,format=raw,snapshot=on,$(
            )file=$line" -device "virtio-blk-pci,drive=$serial,serial=$serial")
    done
    disk_of virtio k1 1024 logical_block_size=4096,physical_block_size=4096
    disk_of virtio k2 1024 logical_block_size=4096,physical_block_size=4096
    disk_of virtio h1 512 ''
    for bed in "$@"; do
        while read -r bus serial megabytes properties; do
            case $bus in
                '') ;;
                9p) mkdir -p "$directory/nine"
                    options+=(-virtfs "local,path=$directory/nine,$(
                        )mount_tag=nine,security_model=none") ;;
                virtiofs) share_directory ;;
                *) disk_of "$bus" "$serial" "$megabytes" "$properties" ;;
            esac
        done < <(setting devices "$storage/beds/$bed")
    done
}

# ---- a guest's life -------------------------------------------------------

# Ends it when nothing was told for too long.
await_guest() {
    local heard=$SECONDS size=0 now
    while kill -0 $qemu 2>/dev/null; do
        now=$(stat -c %s told)
        [ "$now" = "$size" ] || { size=$now heard=$SECONDS; }
        [ $((SECONDS - heard)) -lt "$silence" ] || { end $qemu; break; }
        sleep 0.2
    done
    wait $qemu 2>/dev/null
    qemu=''
}

# Sorts what was told into files; a bed that did not end has died.
keep_results() {
    local bed
    for bed in "$@"; do
        grep -aq "^$bed begin" told || continue
        sed -n "s/^$bed //p" <(tr -d '\r' <told) >"$results/$bed"
        echo "library $revision $(date -u +%F)" >>"$results/$bed"
        grep -q '^end' "$results/$bed" || {
            echo "died $(grep -a '^step' "$results/$bed" | tail -n 1 |
                cut -d ' ' -f 3-)"
            grep -aE 'BUG:|Oops|general protection|RIP: 0010|panic' console |
                head -n 3 | tr -d '\r' | sed 's/^/last /'
        } >>"$results/$bed"
    done
}

# guest BED...: those that it did not come to are left in $left
guest() {
    local bed
    inside=("$@")
    devices "$@"
    : >told
    start_qemu "oops=panic beds=$(tr ' ' , <<<"$*") rounds=$rounds tests=$tests $(
            )only=${ONLY:-}" \
        "${options[@]}"
    await_guest
    end "$share"
    share=''
    rm -f fs.sock
    keep_results "$@"
    left=()
    for bed in "$@"; do
        grep -aq "^$bed begin" told || left+=("$bed")
    done
    [ ${#left[@]} -lt $# ] || {
        say "the guest did not start:"
        tail -n 5 console qemu.log >&2
        cp console "$results/.console"
        left=()
        failed=1
    }
    cp console "$results/.console"
}

is_liar() { [ -n "$(setting liar "$storage/beds/$1")" ]; }

# All chosen beds on one kernel: liars alone, at the end
on_kernel() {
    local bed liars=() honest=()
    own=$cache/$1
    results=$cache/results/$1
    kernel=$own/vmlinuz
    memory_disk=$own/initramfs
    mkdir -p "$results"
    for bed in $beds; do
        rm -f "$results/$bed"
        if is_liar "$bed"; then liars+=("$bed"); else honest+=("$bed"); fi
    done
    while [ ${#honest[@]} -gt 0 ]; do
        guest "${honest[@]}"
        honest=("${left[@]}")
    done
    for bed in "${liars[@]}"; do
        guest "$bed"
    done
    for bed in $beds; do
        judge "$1" "$bed" "$results/$bed"
        echo "$1 $bed: $verdict${words:+: $words}"
        [ "$verdict" != FAILS ] && [ "$verdict" != untried ] || failed=1
    done
}

# ---- all of it ------------------------------------------------------------

# Read as a whole before it runs: who edits this file meanwhile harms nothing.
main() {
    local why one bed
    kernels=${KERNEL:-6.1}
    beds=${STORAGE:-$(cd "$storage/beds" && ls | grep -v README)}
    beds=${beds//,/ }
    for bed in $beds; do
        [ -e "$storage/beds/$bed" ] || { say "no bed $bed"; exit 2; }
    done
    why=$("$storage/fetch.sh" "$cache" ${kernels//,/ }) ||
        { echo "1..0 # SKIP $why"; exit 0; }
    command -v mke2fs >/dev/null || { echo '1..0 # SKIP no mke2fs'; exit 0; }
    command -v git >/dev/null &&
        revision=$(git -C "$storage" rev-parse --short=10 HEAD 2>/dev/null)
    revision=${revision:-unknown}
    directory=$(mktemp -d) || exit 1
    scratch=$directory
    trap cleanup EXIT
    trap 'exit 1' INT TERM
    cd "$directory" || exit 1
    failed=0
    make_programs || { say 'no disk of programs'; exit 1; }
    for one in ${kernels//,/ }; do
        on_kernel "$one"
    done
    exit $failed
}

main
