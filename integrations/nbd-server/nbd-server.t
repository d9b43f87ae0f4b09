#!/bin/bash
# blkalign-nbd under clients that nobody here wrote: clients.sh. And its
# command line, its sockets and its end. TAP, for prove(1).
# BLKALIGN_NBD_SERVER names the program.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

here=$(cd "$(dirname "$0")" && pwd)
program=${BLKALIGN_NBD_SERVER:-$here/../../build/tools/blkalign-nbd}
. "$here/clients.sh"
ro_auto=(--read-only auto) ro=(--read-only) threads=(--engine threads)

# serve FILE ARGUMENT...: the server, until `stop`
serve() {
    "$program" --socket "$socket" --file "$1" "${@:2}" 2>server.log &
    server=$!
    await_socket
}

refused() { ! timeout 10 "$program" --socket "$socket" --file "$disk" 2>server.log; }
# exits STATUS ARGUMENT...
exits() {
    timeout 10 "$program" "${@:2}"
    [ $? = "$1" ]
}

ok 'it tells its version' exits 0 --version
ok 'and its options' exits 0 --help
ok 'an option that there is not' exits 2 --nonsense
ok 'an option without its value' exits 2 --file
ok 'no file' exits 2 --socket s
ok 'neither a socket nor a port' exits 2 --file "$disk"
ok 'both' exits 2 --socket s --port 1 --file "$disk"
ok 'a word too many' exits 2 --socket s --file "$disk" more
for wrong in --lock=maybe --discard=1 --engine=none --connections=0 \
    --connections=1025 --connections=-1 --read-only=no
do
    ok "no $wrong" exits 2 --socket s --file "$disk" $wrong
done
ok 'a file that is not there' exits 1 --socket s --file /nonexistent
ok 'a socket that cannot be made' \
    exits 1 --socket /nonexistent/s --file "$disk"

echo precious >file
ok 'a file in the place of the socket is refused' \
    exits 1 --socket file --file "$disk"
ok 'and stays what it is' grep -q precious file

ok 'it serves the disk' serve "$disk"
clients_write

ok 'a second server of the disk waits for the lock, in vain' \
    sh -c "! timeout 1 '$program' --socket other --file '$disk'"
ok 'a second server of the socket is refused' \
    exits 1 --socket "$socket" --file "$disk" --lock off
ok 'which is no harm to the first' io -c 'read 0 512'
torture=${BLKALIGN_TORTURE:-$here/../../build/tools/blkalign-torture}
if "$torture" --help | grep -q 'built without libnbd'; then
    skip 'the conformance suite' 'built without libnbd: libnbd-dev is missing'
else
    "$torture" --destroy-data --rounds 15 "$uri" >said2 2>&1
    ok 'the conformance suite finds nothing' \
        says '^# No guarantee that was tested is broken'
fi
kill -TERM "$server"
wait "$server"
ok 'SIGTERM ends it' test $? = 0
server=
ok 'and its socket' test ! -e "$socket"

serve "$disk"
{ kill -9 "$server" && wait "$server"; } 2>/dev/null
"$program" --socket "$socket" --file "$disk" 2>server.log &
server=$!
until_served() {
    for _ in $(seq 50); do
        nbdinfo --size "$1" && return
        sleep 0.1
    done
    return 1
}
ok 'the next server takes the place of one that was killed' until_served "$uri"
stop

serve "$disk" --lock off
rm "$socket"
"$program" --socket "$socket" --file "$disk" --lock off 2>/dev/null &
second=$!
await_socket
{ kill -TERM "$server" && wait "$server"; } 2>/dev/null
ok 'a socket that another server has made since stays' nbdinfo --size "$uri"
server=$second
stop

ok 'it serves read-only' serve "$disk" --read-only
clients_only_read
stop
ok 'it serves without discards' serve "$disk" --discard off
nbdinfo --json "$uri" >said2 2>&1
ok 'and says so' says '"can_trim": false'
stop
ok 'it serves an export with a name' serve "$disk" --export-name a/b
ok 'who asks for it gets it' \
    nbdinfo "nbd+unix:///a%2Fb?socket=$socket"
ok 'it is on the list' sh -c \
    "nbdinfo --list 'nbd+unix:///?socket=$socket' | grep -q 'export=\"a/b\"'"
ok 'who asks for another gets none' sh -c "! nbdinfo '$uri'"
stop

# A port that nobody listens on, as far as can be told.
port=$((20000 + $$ % 20000))
"$program" --port $port --file "$disk" 2>server.log &
server=$!
ok 'it serves over TCP' until_served "nbd://127.0.0.1:$port"
ok 'and data are right there' sh -c \
    "nbdcopy 'nbd://127.0.0.1:$port' out && cmp out '$disk'"
stop

# One client at a time: the next one waits, and comes in.
serve "$disk" --connections 1
mkfifo only
qemu-io -f raw "$uri" <only >/dev/null 2>&1 &
client=$!
exec 8>only
echo 'read 0 512' >&8
sleep 0.3
ok 'a client too many waits' sh -c "! timeout 1 nbdinfo --size '$uri'"
exec 8>&-
wait $client
ok 'until another has gone' timeout 10 nbdinfo --size "$uri"
stop

ok 'it serves with a limit' serve "$disk" --throttle-read-bytes 64K:64K
clients_keep_to_a_limit
stop
for wrong in --throttle-read-bytes=fast --throttle-bytes=0:1 --throttle-bites=1
do
    ok "no $wrong" exits 2 --socket s --file "$disk" $wrong
done
clients_see_length
clients_see_read_only
clients_see_odd_file
echo "1..$number"
