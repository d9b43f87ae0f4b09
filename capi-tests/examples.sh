#!/bin/bash
# The examples compile without one warning, do what they say, and README shows
# the code as it is.
. "$(dirname "$0")/common.sh"

compiles() {
    $CC $strict_c -Wconversion -Wshadow -I"$root/include" \
        "$root/examples/$1.c" -o "$work/$1" -L"$build" \
        -Wl,-rpath,"$build" -lblkalign -lpthread
}

short() {
    local lines
    lines=$(wc -l <"$root/examples/$1.c")
    echo "$lines lines"
    [ "$lines" -lt "${2:-100}" ]
}

# README's C code, in one piece, stands in the example.
readme_shows() {
    awk '/^```c$/ { code = 1; next } /^```$/ { code = 0 } code' \
        "$root/README.md" >"$work/excerpt"
    [ -s "$work/excerpt" ] || return
    perl -0777 -e 'my ($part, $all) = <>; exit(index($all, $part) < 0)' \
        "$work/excerpt" "$root/examples/first-write.c"
}

driver_load() {
    head -c 1048576 /dev/urandom >"$work/disk"
    cp "$work/disk" "$work/copy"
    "$work/strict-driver" "$work/disk" "$work/copy" >"$work/table" || return
    cmp "$work/disk" "$work/copy" || return
    # Sub-block writes were there, and each of them read its block.
    awk '$1 == "all" && $4 > 1000 && $4 == $3 { good = 1 }
         END { exit !good }' "$work/table"
}

# /tmp may have no O_DIRECT; the disk is where other tests have theirs.
epoll_loop() {
    local disk status
    disk=$(mktemp "${TMPDIR:-/var/tmp}/blkalign-loop-XXXXXX")
    head -c 65536 /dev/zero >"$disk"
    "$work/epoll-loop" "$disk"
    status=$?
    grep -q "of the sector at 15872" "$disk" || status=1
    rm -f "$disk"
    return $status
}

first_write() {
    local disk status
    disk=$(mktemp "${TMPDIR:-/var/tmp}/blkalign-first-XXXXXX")
    head -c 65536 /dev/zero >"$disk"
    "$work/first-write" "$disk"
    status=$?
    # Sector 7, and nothing else.
    [ "$(tr -d '\000' <"$disk" | wc -c)" -eq 512 ] || status=1
    [ "$(tail -c +3585 "$disk" | head -c 512 | tr -d x | wc -c)" -eq 0 ] ||
        status=1
    rm -f "$disk"
    return $status
}

# A copy that is not equal must be noticed, or the example proves nothing.
differs() {
    head -c 1048576 /dev/urandom >"$work/disk"
    tr '\000-\377' '\001-\377\000' <"$work/disk" >"$work/copy"
    ! "$work/strict-driver" "$work/disk" "$work/copy" >/dev/null
}

# What it prints must not go into its disk.
without_output() {
    head -c 1048576 /dev/urandom >"$work/disk"
    cp "$work/disk" "$work/copy"
    "$work/strict-driver" "$work/disk" "$work/copy" >&- || return
    cmp "$work/disk" "$work/copy"
}

# As who mounts it has it.
device_in_use() {
    local program
    for program in first-write guest-load strict-driver epoll-loop backup; do
        perl -MFcntl -e 'my $path = shift;
            sysopen my $held, $path, O_RDONLY | O_EXCL or die "$path: $!\n";
            exit(system(@ARGV) >> 8)' "$loop" "$work/$program" "$loop" \
            $(case $program in guest-load | strict* | backup) echo "$work/copy" ;; esac) \
            >"$work/told" 2>&1
        [ $? -eq 1 ] && grep "is mounted, or in use" "$work/told" || return
    done
    cmp "$work/disk" "$work/before"
}

# The copy has nothing of what the load wrote meanwhile, the disk has much.
backup() {
    local disk copy status
    disk=$(mktemp "${TMPDIR:-/var/tmp}/blkalign-backup-XXXXXX")
    copy="$work/backup-copy"
    head -c 16779264 /dev/urandom | tr b x >"$disk"
    cp "$disk" "$work/before"
    "$work/backup" "$disk" "$copy" >"$work/told"
    status=$?
    tr '\r' '\n' <"$work/told" | tail -1
    tr '\r' '\n' <"$work/told" | grep -q "^100 % copied, [1-9]" || status=1
    cmp "$copy" "$work/before" || status=1
    ! cmp -s "$disk" "$work/before" || status=1
    rm -f "$disk" "$copy"
    return $status
}

check "first-write compiles" compiles first-write
check "backup compiles" compiles backup
check "backup copies a disk as it was when the backup began" backup
check "guest-load compiles" compiles guest-load
check "strict-driver compiles" compiles strict-driver
check "epoll-loop compiles" compiles epoll-loop
check "guest-load is under 100 lines" short guest-load
check "epoll-loop is under 100 lines" short epoll-loop
check "backup is under 150 lines" short backup 150
check "README shows what first-write.c says" readme_shows
check "first-write writes one sector" first_write
check "a guest's load over the driver loses nothing" driver_load
check "a disk that differs from its copy is noticed" differs
check "started without standard output it writes no words into the disk" \
    without_output
cp "$work/disk" "$work/before"
PATH=$PATH:/usr/sbin:/sbin
if [ "$(id -u)" -eq 0 ] && loop=$(losetup --show -f "$work/disk" 2>&1); then
    trap 'losetup -d "$loop"; rm -rf "$work"' EXIT
    check "a device in use is left alone" device_in_use
else
    skip "a device in use is left alone" "no loop device here"
fi
check "an epoll loop writes what it can read back" epoll_loop
check "the demo is a valid script" bash -n "$root/scripts/demo"
done_testing
