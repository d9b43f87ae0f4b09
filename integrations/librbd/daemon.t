#!/bin/sh
# The vhost-user-blk daemon on an image of Ceph, on a cluster of its own: the
# tests of tests/ceph.rs there, and what another client sees. TAP, for
# prove(1). Builds the daemon with librbd, so it is not in `make check`.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

top=$(realpath "$(dirname "$0")/../..")
. "$top/integrations/librbd/ceph.sh"
missing=$(ceph_missing)
if [ -n "$missing" ]; then
    echo "1..0 # SKIP $missing is missing (Debian: ceph-mon, ceph-osd)"
    exit 0
fi
. "$top/tools/common/tap.sh"
directory=$(mktemp -d) || exit 1
trap 'ceph_stop; rm -rf "$directory"' EXIT
trap 'exit 1' HUP INT TERM
cd "$directory" || exit 1
if ! ceph_start; then
    sed 's/^/# /' ceph/start.log
    echo "Bail out! Ceph does not start here"
    exit 1
fi
rbd create --size 16 rbd/disk
tests() {
    (cd "$top" && BLKALIGN_TEST_RBD=rbd:rbd/disk cargo test --locked \
        --target-dir "${TARGET:-target}" -p blkalign-vhost-user-blk \
        --features rbd --test ceph) >out 2>err
}
ok "the daemon serves an image of Ceph" tests
another_client() {
    rbd export --no-progress rbd/disk got 2>err || return 1
    for sector in 0 1 7 8 63; do
        [ "$(od -An -tu1 -j $((sector * 512 + 511)) -N1 got)" -eq \
            $((sector + 1)) ] || return 1
    done
}
ok "another client reads what the guest wrote" another_client
echo "1..$number"
