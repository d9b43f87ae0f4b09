# What a server of ours has to do for clients that nobody here wrote: qemu-io,
# nbdinfo, nbdcopy, fio. On a 4Kn loop disk where one can be made, else on a
# file. TAP.
#
# Sourced, by nbdkit.t and nbd-server.t. They define `serve FILE ARGUMENT...`,
# which starts the server at $socket and sets $server, and set ro_auto, ro and
# threads, lists of arguments to it. Leaves the disk in $disk, and
# in the current directory, which is gone afterwards, its copy, and image if
# that is what is behind it.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

for need in nbdinfo qemu-io; do
    if ! command -v $need >/dev/null; then
        echo "1..0 # SKIP $need is not installed"
        exit 0
    fi
done

directory=$(mktemp -d) || exit 1
loop=
server=
cleanup() {
    [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null
    # The device would be read-only for the next file, too.
    [ -z "$loop" ] || { blockdev --setrw "$loop"; losetup -d "$loop"; }
    rm -rf "$directory"
}
trap cleanup EXIT
cd "$directory" || exit 1
. "$here/../nbd-server/tap.sh"

size=16777216
head -c $size /dev/zero | tr '\0' 'A' >image
cp image copy
loop=$(losetup --show -f --sector-size 4096 --direct-io=on image 2>/dev/null)
disk=${loop:-$directory/image}
echo "# disk: $disk"
socket=$directory/socket
uri="nbd+unix:///?socket=$socket"

# Waits for the server that was just started in the background.
await_socket() {
    for _ in $(seq 100); do
        [ ! -S socket ] || return 0
        sleep 0.1
    done
    cat server.log
    return 1
}

stop() {
    kill "$server"
    wait "$server"
    server=
    rm -f socket
}

io() { qemu-io -f raw "$@" "$uri"; }
# Applies to the copy what was asked of the server: AT BYTES CHARACTER
model() {
    head -c "$2" /dev/zero | tr '\0' "$3" |
        dd of=copy bs=64K seek="$1" oflag=seek_bytes conv=notrunc status=none
}
same() { cmp "$disk" copy; }
says() { grep -q -e "$1" said2 || { cat said2; false; }; }

# The server serves $disk, for writing.
clients_write() {
    nbdinfo --json "$uri" >said2 2>&1
    ok 'the size is exact' says "\"export-size\": $size"
    ok 'clients may ask for single bytes' says '"block_size_minimum": 1'
    ok 'the preferred size is a block' says '"block_size_preferred": 4096'
    for can in can_fua can_flush can_multi_conn can_trim can_zero can_fast_zero
    do
        ok "it offers $can" says "\"$can\": true"
    done

    ok 'a 512-byte write at an odd sector' io -c 'write -P 66 512 512'
    model 512 512 B
    ok 'a write of 7 bytes at an odd place' io -c 'write -P 67 4091 7'
    model 4091 7 C
    ok 'a long write that starts and ends inside blocks' \
        io -c 'write -P 68 12345 1000000'
    model 12345 1000000 D
    ok 'a write with FUA' io -c 'write -f -P 69 8191 2'
    model 8191 2 E
    ok 'zeros, edges inside blocks' io -c 'write -z 2000001 99999'
    model 2000001 99999 '\0'
    ok 'zeros that may unmap' io -c 'write -z -u 3000000 50001'
    model 3000000 50001 '\0'
    ok 'what was read is what was written' \
        io -c 'read -P 66 512 512' -c 'read -P 67 4091 7' -c 'read -P 0 2000001 99999'
    ok 'a discard' io -c 'discard 8388608 1048576'
    ok 'a flush' io -c flush
    ok 'past the end is refused' sh -c \
        "! qemu-io -f raw -c 'read $size 512' '$uri' && ! qemu-io -f raw \
         -c 'write $((size - 1)) 2' '$uri'"
    # What was discarded reads as anything.
    model 8388608 1048576 F
    io -c 'write -P 70 8388608 1048576' >/dev/null 2>&1
    ok 'every byte of the disk is what it should be' same

    # Eight 512-byte writes to the sectors of one block at once, over and over.
    command_line=''
    for round in $(seq 40); do
        for sector in 0 1 2 3 4 5 6 7; do
            command_line+=" -c 'aio_write -q -P $((97 + (round + sector) % 26))"
            command_line+=" $((round * 4096 + sector * 512)) 512'"
        done
        command_line+=" -c aio_flush"
    done
    eval "io $command_line" >/dev/null 2>said2
    for round in $(seq 40); do
        for sector in 0 1 2 3 4 5 6 7; do
            printf -v letter '%b' \
                "\\x$(printf %x $((97 + (round + sector) % 26)))"
            head -c 512 /dev/zero | tr '\0' "$letter"
        done
    done >blocks
    dd if=blocks of=copy bs=64K seek=4096 oflag=seek_bytes conv=notrunc status=none
    ok 'writes to the sectors of one block lose nothing of each other' same

    if command -v nbdcopy >/dev/null; then
        ok 'nbdcopy brings all of it' nbdcopy "$uri" out
        ok 'and it is right' cmp out copy
    else
        skip 'nbdcopy brings all of it' 'nbdcopy is not installed'
    fi
    if fio --enghelp 2>/dev/null | grep -qw nbd; then
        ok 'fio writes 512 bytes at random, several at once, and verifies' \
            fio --name=v --ioengine=nbd "--uri=$uri" --rw=randwrite --bs=512 \
            --size=1m --offset=4m --iodepth=16 --verify=crc32c --minimal
    else
        skip 'fio writes and verifies' 'fio is missing, or has no nbd engine'
    fi
}

# The server serves $disk, read-only.
clients_only_read() {
    ok 'then a write is refused' sh -c \
        "! qemu-io -f raw -c 'write 0 512' '$uri'"
    ok 'and a read is not' qemu-io -r -f raw -c 'read 0 512' "$uri"
}

# What others do to the disk: a connection begins with its length.
clients_see_length() {
    length() { nbdinfo --size "$uri"; }
    if [ -n "$loop" ]; then
        resize() { truncate -s "$1" image && losetup -c "$loop"; }
    else
        resize() { truncate -s "$1" image; }
    fi
    serve "$disk"
    ok 'it is as long as the disk' test "$(length)" = $size
    # Keeps a handle open all the while.
    mkfifo hold
    qemu-io -f raw "$uri" <hold >/dev/null 2>&1 &
    client=$!
    exec 7>hold
    echo 'read 0 512' >&7
    resize $((size * 2))
    ok 'who connects after it grew finds that' test "$(length)" = $((size * 2))
    ok 'and can write there' io -c "write -P 72 $((size * 2 - 512)) 512"
    resize $size
    ok 'and who connects after it shrank, that' test "$(length)" = $size
    exec 7>&-
    wait $client
    stop
}

# A disk that nobody may write to is not offered for writing. `refused` starts
# a server, or a client of one, and succeeds if that is refused.
clients_see_read_only() {
    if [ -z "$loop" ]; then
        skip 'a disk that is read-only' 'there is no loop device'
        return
    fi
    blockdev --setro "$loop"
    ok 'a disk that is read-only is refused' refused
    ok 'in words' grep -q -i 'read-only' server.log
    for how in "${ro_auto[*]}" "${ro[*]}"; do
        # shellcheck disable=SC2086
        serve "$disk" $how
        nbdinfo --json "$uri" >said2 2>&1
        ok "with $how it is served" says '"is_read_only": true'
        ok "and read, with $how" qemu-io -r -f raw -c 'read 0 512' "$uri"
        stop
    done
    blockdev --setrw "$loop"
    serve "$disk" "${ro_auto[@]}"
    ok "${ro_auto[*]} writes where it may" io -c 'write -P 69 0 512'
    stop
}

# The last test: the disk is gone then.
clients_see_odd_file() {
    [ -z "$loop" ] || losetup -d "$loop"
    loop=
    head -c 10001 image >odd
    ok 'a file of odd length is served' serve "$directory/odd" "${threads[@]}"
    ok 'to its last byte' io -c 'write -P 71 10000 1'
    ok 'and stays as long as it is' test "$(stat -c %s odd)" = 10001
    stop
    ok 'its last byte was written' test "$(tail -c 1 odd)" = G
}

# In the first moment 64 KiB go, then 64 KiB a second.
takes_half_a_second() {
    local start=${EPOCHREALTIME/./}
    qemu-io -f raw -c 'read 0 64k' -c 'read 0 32k' "$uri" || return 1
    local took=$((${EPOCHREALTIME/./} - start))
    [ $took -ge 490000 ] && [ $took -lt 5000000 ]
}
# Of a server that lets 64 KiB a second be read.
clients_keep_to_a_limit() {
    ok 'a client that reads keeps to it' takes_half_a_second
    ok 'and one that writes does not' \
        timeout 10 qemu-io -f raw -c 'write 0 8M' "$uri"
}
