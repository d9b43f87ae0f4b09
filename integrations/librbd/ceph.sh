# A cluster of Ceph for tests and measurements: a monitor and an OSD in
# memory, on loopback, as the user who runs it. Sourced, with an absolute
# $directory, which gets folder ceph.
#
#     ceph_missing    the first program that is not installed
#     ceph_start      leaves CEPH_CONF in the environment, a pool `rbd`, and
#                     the OSD's process in $ceph_osd
#     ceph_stop       ends both, whatever has happened
#
# SPDX-License-Identifier: MIT OR Apache-2.0

ceph_mon='' ceph_osd=''

ceph_missing() {
    for need in ceph-mon ceph-osd monmaptool ceph rbd perl; do
        command -v $need >/dev/null || {
            echo $need
            return
        }
    done
}

# ceph_configure PORT FSID. One copy of all, no keys, nothing outside of the
# folder. A short time to wait for more to decide on.
ceph_configure() {
    cat >"$directory/ceph/ceph.conf" <<END
[global]
fsid = $2
mon host = v2:127.0.0.1:$1
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
keyring = $directory/ceph/keyring
run dir = $directory/ceph
crash dir = $directory/ceph
admin socket =
log file = $directory/ceph/\$name.log
mon data = $directory/ceph/mon
mon data avail warn = 1
mon data avail crit = 1
mon allow pool size one = true
paxos propose interval = 0.05
osd data = $directory/ceph/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
client mount timeout = 60
END
}

ceph_free_port() {
    perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1,
        LocalAddr => "127.0.0.1")->sockport'
}

ceph_start() {
    fsid=$(cat /proc/sys/kernel/random/uuid)
    osd_id=$(cat /proc/sys/kernel/random/uuid)
    port=$(ceph_free_port) || return 1
    mkdir -p "$directory/ceph/mon" "$directory/ceph/osd"
    ceph_configure "$port" "$fsid"
    export CEPH_CONF="$directory/ceph/ceph.conf"
    : >"$directory/ceph/keyring"
    {
        monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$port]" \
            "$directory/ceph/monmap" &&
            ceph-mon --mkfs -i a --monmap "$directory/ceph/monmap" \
                --keyring "$directory/ceph/keyring" || return 1
        ceph-mon -f -i a &
        ceph_mon=$!
        timeout 60 ceph osd new "$osd_id" 0 &&
            ceph-osd --mkfs -i 0 --osd-uuid "$osd_id" || return 1
        ceph-osd -f -i 0 &
        ceph_osd=$!
        timeout 60 ceph osd pool create rbd 8 &&
            timeout 60 rbd pool init rbd
    } >"$directory/ceph/start.log" 2>&1
}

# The OSD first: it would report that the monitor is gone.
ceph_stop() {
    for process in $ceph_osd $ceph_mon; do
        kill -CONT "$process" 2>/dev/null || :
        kill -KILL "$process" 2>/dev/null || :
        wait "$process" 2>/dev/null || :
    done
    ceph_mon='' ceph_osd=''
}
