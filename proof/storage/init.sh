#!/bin/busybox sh
# The guest's first program, in its memory disk: finds the root and the modules
# and our programs on disks of these names, and hands over to /opt/bed/guest.sh.
# Words on the console that matter begin with "guest: ".
#
# SPDX-License-Identifier: MIT OR Apache-2.0
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev

fail() {
    echo "guest: FAILED $*"
    poweroff -f
    sleep 60
}

for module in crc32c_generic crc32c-cryptoapi virtio_pci virtio_blk ext4; do
    modprobe $module 2>/dev/null
done
# disk SERIAL
disk() {
    local tries=0 file
    while [ $tries -lt 100 ]; do
        for file in /sys/block/vd*/serial; do
            [ "$(cat "$file" 2>/dev/null)" != "$1" ] ||
                { file=${file%/serial}; echo "/dev/${file##*/}"; return; }
        done
        sleep 0.1
        tries=$((tries + 1))
    done
}

mount -t ext4 "$(disk root)" /root || fail 'no root'
mount -t ext4 -o ro "$(disk modules)" /root/lib/modules || fail 'no modules'
mount -t ext4 -o ro "$(disk programs)" /root/opt/bed || fail 'no programs'
mount --move /proc /root/proc
mount --move /sys /root/sys
mount --move /dev /root/dev
exec switch_root /root /opt/bed/guest.sh
