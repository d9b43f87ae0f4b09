#!/bin/bash
# The plugin under clients that nobody here wrote: ../nbd-server/clients.sh.
# TAP, for prove(1). BLKALIGN_NBDKIT_PLUGIN names the plugin.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

here=$(cd "$(dirname "$0")" && pwd)
plugin=${BLKALIGN_NBDKIT_PLUGIN:-$here/../../build/nbdkit-blkalign-plugin.so}
if ! command -v nbdkit >/dev/null; then
    echo "1..0 # SKIP nbdkit is not installed"
    exit 0
fi
if [ ! -e "$plugin" ]; then
    echo "1..0 # SKIP the plugin was not built: nbdkit-plugin-dev is missing"
    exit 0
fi
. "$here/../nbd-server/clients.sh"
ro_auto=(ro=auto) ro=(ro=true) threads=(engine=threads)

# serve FILE ARGUMENT...: the server, until `stop`
serve() {
    nbdkit -f -U "$socket" "$plugin" "file=$1" "${@:2}" 2>server.log &
    server=$!
    await_socket
}

# A plugin opens the disk for each client.
refused() {
    serve "$disk"
    ! nbdinfo "$uri"
    local result=$?
    stop
    return $result
}

ok 'the plugin loads and tells what it is' \
    nbdkit --dump-plugin "$plugin"
ok 'without file= it does not start' \
    sh -c "! nbdkit -f -U - '$plugin' --run true"
ok 'a file that is not there is an error to the client' \
    sh -c "! nbdkit -U - '$plugin' /nonexistent --run 'nbdinfo \"\$uri\"'"

ok 'it serves the disk' serve "$disk"
clients_write
stop

for how in ro=true -r; do
    ok "it serves read-only, with $how" serve "$disk" $how
    clients_only_read
    stop
done

ok 'it serves with a limit' serve "$disk" throttle-read-bytes=64K:64K
clients_keep_to_a_limit
stop
for bad in throttle-read-bytes=fast throttle-bytes=0:1 throttle-bites=1; do
    ok "$bad is refused" sh -c "! nbdkit -f -U - '$plugin' file='$disk' \
        $bad --run true"
done
clients_see_length
clients_see_read_only
clients_see_odd_file
echo "1..$number"
