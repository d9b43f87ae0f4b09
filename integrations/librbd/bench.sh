#!/bin/bash
# Small writes and reads on an image of Ceph: librbd itself (by fio) beside
# libblkalign over it (by blkalign-bench), as it comes and in blocks of 4096
# bytes, in turn, on a cluster of its own in memory. Prints medians, in
# thousand requests per second. librbd's cache is off.
#
#     bench.sh [SCHEDULER]    rbd_io_scheduler: simple (default) or none
#
# From the environment: ROUNDS=5 BLKALIGN_BENCH
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -euo pipefail
here=$(dirname "$(realpath "$0")")
bench=$(realpath "${BLKALIGN_BENCH:-$here/../../build/tools/blkalign-bench}")
rounds=${ROUNDS:-5}
scheduler=${1:-simple}
. "$here/ceph.sh"
for program in fio $(ceph_missing); do
    command -v "$program" >/dev/null ||
        { echo "bench.sh: $program is missing" >&2 && exit 1; }
done
directory=$(mktemp -d)
trap 'ceph_stop; rm -rf "$directory"' EXIT
trap 'exit 1' HUP INT TERM
cd "$directory"
ceph_start || { cat ceph/start.log >&2 && exit 1; }
printf '[client]\nrbd cache = false\nrbd io scheduler = %s\n' "$scheduler" \
    >>ceph/ceph.conf
rbd create --size 64 rbd/bench
rbd bench --io-type write --io-size 4M --io-total 64M rbd/bench >/dev/null

# librbd KIND ORDER SIZE DEPTH COUNT
librbd() {
    local rw=$1
    [ "$2" = seq ] || rw=rand$1
    fio --name=x --ioengine=rbd --clientname=admin --pool=rbd \
        --rbdname=bench --rw="$rw" --bs="$3" --iodepth="$4" \
        --number_ios="$5" --size=64M --output-format=terse \
        --terse-version=3 | awk -F';' -v kind="$1" \
        '/^3;/ { print kind == "read" ? $8 : $49 }'
}
# ours ALIGNMENT KIND ORDER SIZE DEPTH COUNT
ours() {
    local write=
    [ "$2" = read ] || write=-w
    "$bench" $write -t none --completion eventfd --json --align "$1" -s "$4" \
        --order "$3" -d "$5" -c "$6" rbd:rbd/bench |
        sed -n 's/.*"requests_per_second": *\([0-9]*\).*/\1/p' | head -n 1
}
median() {
    sort -n "$1" | sed -n "$(((rounds + 1) / 2))p" |
        awk '{ printf "%.1f", $1 / 1000 }'
}

printf '%-36s %8s %8s %8s\n' "rbd_io_scheduler=$scheduler" librbd ours blocks
while read -r -a row; do
    rm -f theirs ours blocks
    for ((round = 0; round < rounds; round++)); do
        librbd "${row[@]}" >>theirs
        ours 1 "${row[@]}" >>ours
        ours 4096 "${row[@]}" >>blocks
    done
    printf '%-36s %8s %8s %8s\n' \
        "${row[0]} ${row[1]}, ${row[2]} bytes, depth ${row[3]}" \
        "$(median theirs)" "$(median ours)" "$(median blocks)"
done <<END
write seq 512 32 10000
write seq 512 1 1000
write random 512 32 5000
write seq 4096 32 5000
read seq 512 32 10000
read random 4096 32 5000
END
