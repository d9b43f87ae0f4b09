#!/bin/bash
# The guest's second program (after init.sh): goes through the beds that the
# kernel's command line names (beds=a,b,...), and tells on the second serial
# line what became of each. A line is "BED KEY WORDS"; KEY:
#
#     begin, end   step WORDS: what is tried now (the last one, if it dies)
#     absent WHY   it cannot be made here
#     claim        what blkalign-info says: request R memory M segment S, by whom
#     true, wrong  what the trial says (trial.c)
#     ok, bad      what held, what not
#     oops         a line of dmesg that should not be there
#     bare         what the storage does without our code (bare_zeroes)
#     below        the same, after a trial with less than a liar needs
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u
export PATH=/opt/bed/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=linux
export LD_LIBRARY_PATH=/opt/bed/lib DM_DISABLE_UDEV=1
programs=/opt/bed
beds='' rounds=8 tests='' slow=4 only=''
. $programs/words.sh
. $programs/stages.sh

leave() {
    echo "guest: over after $(cut -d ' ' -f 1 /proc/uptime) s"
    sync
    busybox poweroff -f
    sleep 60
}

prepare() {
    mount -t tmpfs -o mode=755 none /run
    mount -t tmpfs -o size=90% none /tmp
    ln -s /proc/self/fd /dev/fd
    mkdir -p /dev/pts /dev/shm /run/lock /run/lvm /mnt/bed
    mount -t devpts none /dev/pts
    mount -t tmpfs none /dev/shm
    ip link set lo up
    ldconfig 2>/dev/null
    busybox stty -F /dev/ttyS1 -echo -opost
    exec 3>/dev/ttyS1
}

for word in $(cat /proc/cmdline); do
    case $word in
        beds=*|rounds=*|tests=*|slow=*|only=*) eval "$word" ;;
    esac
done
prepare
echo "guest: booted after $(cut -d ' ' -f 1 /proc/uptime) s: $(uname -r)"
for bed in ${beds//,/ }; do
    dmesg -C
    one_bed "$bed"
done
leave
