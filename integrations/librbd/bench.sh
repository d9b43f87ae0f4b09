#!/bin/bash
# Small writes and reads on an image of Ceph: librbd itself (by fio) beside
# libblkalign over it (by blkalign-bench), in turn, on a cluster of its own in
# memory. Prints medians of ROUNDS (5) rounds, in requests per second.
# librbd's cache is off for both, unless CACHE=true.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -euo pipefail
here=$(dirname "$(realpath "$0")")
bench=$(realpath "${BLKALIGN_BENCH:-$here/../../build/tools/blkalign-bench}")
rounds=${ROUNDS:-5}
cache=${CACHE:-false}
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
printf '[client]\nrbd cache = %s\n' "$cache" >>ceph/ceph.conf
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
ours() {
    local write=
    [ "$1" = read ] || write=-w
    "$bench" $write -t none -q --json -s "$3" --order "$2" -d "$4" -c "$5" \
        "rbd:rbd/bench:rbd_cache=$cache" |
        sed -n 's/.*"requests_per_second": *\([0-9]*\).*/\1/p' | head -n 1
}
median() { sort -n | sed -n "$(((rounds + 1) / 2))p"; }

printf '%-36s %10s %10s %6s\n' '' librbd ours ratio
while read -r kind order size depth count; do
    for ((round = 0; round < rounds; round++)); do
        librbd "$kind" "$order" "$size" "$depth" "$count" >>theirs
        ours "$kind" "$order" "$size" "$depth" "$count" >>ours
    done
    theirs=$(median <theirs) ours=$(median <ours)
    printf '%-36s %10s %10s %6s\n' "$kind $order, $size bytes, depth $depth" \
        "$theirs" "$ours" \
        "$(awk -v a="$ours" -v b="$theirs" 'BEGIN { printf "%.2f", a / b }')"
    rm theirs ours
done <<END
write seq 512 32 20000
write seq 512 1 2000
write random 512 32 10000
write seq 4096 32 10000
read seq 512 32 20000
read random 4096 32 10000
END
