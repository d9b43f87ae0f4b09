#!/bin/busybox sh
# The first program of guest.sh's guest: the tests in C, one after the other,
# on the disk that they came on. Lines that begin with "guest: " are for
# guest.sh.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
/bin/busybox mkdir -p /proc /sys /dev /tmp /sbin /disk
/bin/busybox --install -s /bin
export PATH=/bin:/sbin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
ip link set lo up
say() { echo "guest: $*"; }

for module in virtio_pci virtio_blk ext4 loop zram xfs; do
    modprobe $module || say "no module $module"
done
for wait in $(seq 100); do
    [ ! -b /dev/vda ] || break
    sleep 0.1
done
mount -t ext4 /dev/vda /disk || say 'not ok - no disk'
mkdir -p /disk/tmp
export TMPDIR=/disk/tmp BLKALIGN_TEST_SLOW=1 LD_LIBRARY_PATH=/disk/lib
cp -a /disk/lib/. /lib/
ln -sf lib /lib64
say "$(uname -rm), pages of $(/disk/page-size) bytes"
for test in /disk/c/test-*; do
    name=${test##*/}
    started=$(cut -d . -f 1 /proc/uptime)
    timeout 900 $test >/disk/out 2>&1
    status=$?
    took=$(($(cut -d . -f 1 /proc/uptime) - started))
    if [ $status -eq 0 ] && ! grep -q '^not ok' /disk/out; then
        say "ok - $name, $took s," \
            "$(grep -cE '^ok|^test .* ok$' /disk/out) results," \
            "$(grep -cE '# SKIP|^test .* ignored' /disk/out) skipped"
    else
        say "not ok - $name, status $status, $took s"
        grep -A 3 -e '^not ok' -e '^Bail' -e '^----' /disk/out | head -n 40 |
            sed 's/^/guest: # /'
        tail -n 5 /disk/out | sed 's/^/guest: # /'
    fi
done
dmesg | grep -E 'Oops|BUG|WARNING|Unable to handle' | sed 's/^/guest: # /'
say over
sync
poweroff -f
sleep 60
