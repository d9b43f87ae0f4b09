#!/bin/bash
# backing=: an overlay over a file and over an NBD export, under clients, with a
# server that is killed in the middle of a fill. TAP, for prove(1).
# BLKALIGN_NBDKIT_PLUGIN names the plugin, BLKALIGN_OVERLAY the tool.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

here=$(cd "$(dirname "$0")" && pwd)
plugin=${BLKALIGN_NBDKIT_PLUGIN:-$here/../../build/nbdkit-blkalign-plugin.so}
overlay=${BLKALIGN_OVERLAY:-$here/../../build/tools/blkalign-overlay}
for need in nbdkit qemu-io nbdcopy; do
    if ! command -v $need >/dev/null; then
        echo "1..0 # SKIP $need is not installed"
        exit 0
    fi
done
if [ ! -e "$plugin" ]; then
    echo "1..0 # SKIP the plugin was not built: nbdkit-plugin-dev is missing"
    exit 0
fi

directory=$(mktemp -d) || exit 1
server=
exporter=
cleanup() {
    for process in $server $exporter; do
        kill -9 "$process" && wait "$process"
    done 2>/dev/null
    rm -rf "$directory"
}
trap cleanup EXIT
cd "$directory" || exit 1
. "$here/../nbd-server/tap.sh"

await() {
    for _ in $(seq 100); do
        [ ! -S "$1" ] || return 0
        sleep 0.05
    done
    return 1
}

# serve ARGUMENT...: the plugin on disk; 16 requests at once
serve() {
    nbdkit -f -U socket "$plugin" file=disk "$@" 2>server.log &
    server=$!
    await socket
}

# stop [SIGNAL]
stop() {
    kill "${1:--TERM}" "$server"
    wait "$server" 2>/dev/null
    server=
    rm -f socket
}

uri="nbd+unix:///?socket=$directory/socket"
io() { qemu-io -f raw "$@" "$uri" | grep -v '^$'; }
same_as() {
    rm -f found
    nbdcopy "$uri" found && cmp found "$1"
}
created() { rm -f disk disk.map && "$overlay" create --like base disk; }

# write AT BYTES CHARACTER: of the disk, flushed, and of the copy
write() {
    io -c "write -P 0x$(printf '%x' "'$3") $1 $2" -c flush
    head -c "$2" /dev/zero | tr '\0' "$3" |
        dd of=copy bs=1 seek="$1" conv=notrunc status=none
}

bytes=12582912
head -c $bytes /dev/urandom >base
cp base copy

ok 'an overlay is created' created
ok 'it is served' serve "backing=base"
ok 'what is absent comes from the backing file' same_as base
ok 'a part of a cluster is written' write 700 1000 x
ok 'and a part of two' write 65000 2000 y
ok 'the rest comes from the backing file' same_as copy
stop
ok 'the backing file is as it was' \
    sh -c '! cmp -s base copy && [ -e disk.map ]'
ok 'it is served again, read-only' serve "backing=base" ro=true
ok 'and what was written is there' same_as copy
stop
ok 'a read is kept' serve "backing=base" copy-on-read=true
io -c 'read 6M 4M' >said
io -c flush >said
stop
there() { "$overlay" info disk | sed -n 's/^ *there *//p'; }
ok 'its clusters are there' [ "$(there)" -ge 4194304 ]

# Slow enough that it is killed in between.
ok 'a fill begins' serve "backing=base" fill=true
stop -KILL
ok 'the server was killed' [ -e disk.map ]
ok 'the map is sound' "$overlay" check disk
ok 'a new server goes on with the fill' serve "backing=base" fill=true
ok 'a write meets the fill' write 12000000 3000 z
ok 'the clients see one disk' same_as copy
filled() {
    for _ in $(seq 200); do
        stop
        [ -e disk.map ] || return 0
        serve "backing=base" fill=true || return 1
        sleep 0.3
    done
    return 1
}
ok 'in the end the map is gone' filled
ok 'and the disk is an ordinary image' cmp disk copy
ok 'an ordinary image is served without backing=' serve
ok 'as it is' same_as copy
stop
# refused ARGUMENT...: the server does not start
refused() {
    timeout 20 nbdkit -f -U never "$plugin" file=disk "$@"
    [ $? -eq 1 ]
}
ok 'an ordinary image is not taken for an overlay' refused backing=base
for wrong in 'fill=true' 'copy-on-read=true' 'backing=base fill=true ro=true' \
    'backing=missing'; do
    # shellcheck disable=SC2086
    ok "refused: $wrong" refused $wrong
done

remote() {
    nbdkit -f -r -U far --filter=delay "$plugin" file=base delay-read=2ms \
        2>server.log &
    exporter=$!
    await far
}
if nbdkit -U - "$plugin" file=disk backing=nbd://localhost:1 --run true 2>&1 |
    grep -q 'without libnbd'; then
    skip 'over an NBD export' 'built without libnbd'
else
    cp base copy
    ok 'the backing object is exported' remote
    ok 'another overlay' created
    far="nbd+unix:///?socket=$directory/far"
    ok 'it is served over an NBD export, and filled' \
        serve "backing=$far" fill=true
    ok 'while a client writes' write 5000 100000 w
    stop -KILL
    ok 'killed in between, it is served again' serve "backing=$far" fill=true
    ok 'and it is whole' same_as copy
    stop
fi
echo "1..$number"
