#!/bin/bash
# Somebody dies while a guest writes. First the guest, by kill -9: what it had
# flushed is on the disk, every sector is old or new, those that it never
# wrote are unchanged, and it comes up again on the server that lives on. Then
# the server, three times: it is started anew, the guest goes on, and at the
# end all is as if nothing had been.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
. "$(dirname "$0")/common.sh"

# flushes COUNT: of the load, as the console has them by now
flushes() { [ "$(grep -c ^FLUSHED console)" -ge "$1" ]; }

flushes_and_files() { flushes "$1" && said 'SAFE 3'; }

# What the guest's write_files writes as file number $1.
file_contents() {
    dd if="$directory/payload/big" bs=999 skip="$1" count=$(($1 % 40 + 1)) \
        status=none
}

# The files up to number $1, in the current directory
files_right() {
    local i
    for i in $(seq "$1"); do
        file_contents "$i" | cmp - "file.$i" || return 1
    done
}

last_safe() { sed -n 's/^guest: SAFE \([0-9]*\).*/\1/p' "$1" | tail -n 1; }

# check_killed NAME: of the guest; its console then is ./killed. A mount writes
# what is in the journal; sound is what is so without further repair.
check_killed() {
    local safe
    safe=$(last_safe killed)
    ok "$1: the disk can be read" dump_disk || return
    ok "$1: every sector is old or new, and what was flushed is there" \
        ./load check partition.4 killed && echo "# $(cat said)"
    ok "$1: a sector that is neither would have been seen" \
        check_sees_damage killed
    ok "$1: $safe files that were safe are there" \
        inside partition.3 files_right "$safe"
    ok "$1: the file system is sound" e2fsck -fn partition.3
}

# What `load check` is worth: it has to see a neighbour that was written, and
# a sector that has lost what was flushed. The thread of sector 2 writes there
# in every few rounds.
check_sees_damage() {
    cp partition.4 damaged
    printf X | dd of=damaged bs=1 seek=$((7 * 512 + 100)) conv=notrunc \
        status=none
    ! ./load check damaged "$1" || return 1
    cp partition.4 damaged
    truncate -s 2M before && ./load fill before &&
        dd if=before of=damaged bs=512 skip=2 seek=2 count=1 conv=notrunc \
            status=none
    ! ./load check damaged "$1"
}

# nbdkit itself (1.32, with its own file plugin, too) aborts now and then when
# a client dies while several replies are on their way; then it is started anew.
server_lives() {
    kill -0 $server 2>/dev/null && return
    grep -q 'raw_send_socket: Assertion' server.log || return 1
    echo "# nbdkit has aborted, as it does with any plugin"
    server=
    serve "$1"
}

kill_the_guest() {
    ok "$1: a guest writes" serve "$1" || return
    start_guest "$1" job=load files=100000 rounds=1000000000
    ok "$1: and goes on writing" wait_until $qemu flushes_and_files 250
    sleep 0.$((RANDOM % 10))
    ok "$1: it is killed" kill_guest
    mv console killed
    check_killed "$1"
    ok "$1: the server has lived through it" server_lives "$1" && cat said
    ok "$1: the guest comes up again on the same server" \
        run_guest "$1" after && grep '^guest: found' console | sed 's/^/# /'
    ok "$1: and stops" stop_server
    ok "$1: the disk can be read again" dump_disk
    ok "$1: the file system is sound again" e2fsck -fn partition.3
    ok "$1: and the sectors are what they were" \
        ./load check partition.4 killed
}

kill_server() {
    end $server
    server=
    serve "$1"
}

kill_the_server() {
    local times
    ok "$1: once more" serve "$1" || return
    start_guest "$1" job=load files=60 rounds=$rounds
    for times in 1 2 3; do
        ok "$1: the guest goes on writing" \
            wait_until $qemu flushes_and_files $((times * 200))
        sleep 0.$((RANDOM % 10))
        ok "$1: the server is killed, and comes again" kill_server "$1"
    done
    ok "$1: the guest gets to its end, and finds all right" \
        guest_ends_well load
    ok "$1: the server stops" stop_server
    ok "$1: the disk can be read" dump_disk
    ok "$1: every sector has what was written last" \
        ./load verify partition.4 $rounds && echo "# $(cat said)"
    ok "$1: the file system is sound" e2fsck -fn partition.3
    ok "$1: all files are right" inside partition.3 files_right 60
}

rounds=900
[ -e "$plugin" ] || [ -x "$daemon" ] ||
    skip_all 'neither the nbdkit plugin nor the daemon was built'
if [ -e "$plugin" ]; then
    kill_the_guest nbdkit
    [ -n "$quick" ] || kill_the_server nbdkit
fi
if [ -x "$daemon" ]; then
    [ -n "$quick" ] || kill_the_guest vhost
    kill_the_server vhost
fi
done_testing
