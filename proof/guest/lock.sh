#!/bin/bash
# A process that holds an image lock is killed while its write is under way:
# nobody gets the lock before that write is over. In a guest, for a device
# that takes its time (null_blk).
#
# SPDX-License-Identifier: MIT OR Apache-2.0
. "$(dirname "$0")/common.sh"

ok 'the lock of a killed writer lasts as long as its write' run_guest raw lock
sed -n 's/^late: /# /p' console
done_testing
