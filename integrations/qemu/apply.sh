#!/bin/sh
# Puts the driver into a source tree of QEMU 10.0, where it is not yet:
#
#     integrations/qemu/apply.sh ~/qemu-10.0.2
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$1"
cp "$here/blkalign.c" block/
! grep -q blkalign meson.build || exit 0
sed -i "s/^blkio = not_found$/blkalign = dependency('blkalign', $(
    )method: 'pkg-config')\n&/" meson.build
sed -i "s/^  \[blkio, 'blkio', files('blkio.c')\],$/$(
    )  [blkalign, 'blkalign', files('blkalign.c')],\n&/" block/meson.build
schema=qapi/block-core.json
options="# @BlockdevOptionsBlkalign:\n#\n# Files and block devices by $(
    )libblkalign.\n#\n# @filename: path to the image file or device\n#\n$(
    )# @locking: lock the image as the file driver does (default: off)\n$(
    )#\n# Since: 10.0\n##\n{ 'struct': 'BlockdevOptionsBlkalign',\n$(
    )  'data': { 'filename': 'str', '*locking': 'OnOffAuto' } }"
sed -i "s/^  'data': \[ 'blkdebug',/  'data': [ 'blkalign', 'blkdebug',/
s/^      'blkdebug':   'BlockdevOptionsBlkdebug',$/$(
    )      'blkalign':   'BlockdevOptionsBlkalign',\n&/
s/^# @BlockdevOptionsBlkdebug:$/$options\n\n##\n&/" $schema
for changed in meson.build block/meson.build $schema; do
    grep -q blkalign "$changed" || {
        echo "$changed is not as expected: this is not QEMU 10.0" >&2
        exit 1
    }
done
