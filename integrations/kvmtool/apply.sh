#!/bin/sh
# Puts the disk image type into a source tree of kvmtool, where it is not yet:
#
#     integrations/kvmtool/apply.sh ~/kvmtool
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$1"
cp "$here/blkalign.c" disk/
! grep -q blkalign Makefile || exit 0
sed -i 's|^OBJS\t+= disk/raw.o$|&\
OBJS\t+= disk/blkalign.o\
CFLAGS\t+= $(shell pkg-config --cflags blkalign)\
LIBS\t+= $(shell pkg-config --libs blkalign)|' Makefile
sed -i 's|^struct disk_image \*raw_image__probe(.*|&\
struct disk_image *blkalign_image__probe(const char *filename, bool readonly,\
\t\t\t\t\t bool direct);|' include/kvm/disk-image.h
# Devices first, as before: what a guest wrote there is not looked at.
sed -i '/\/\* blk device ?\*\//,/^$/c\
\tif (S_ISBLK(st.st_mode))\
\t\treturn blkalign_image__probe(filename, readonly, direct);\

/\/\* raw image ?\*\//,/^}/c\
\tif (close(fd) < 0)\
\t\tpr_warning("close() failed");\
\treturn blkalign_image__probe(filename, readonly, direct);\
}' disk/core.c
[ "$(grep -c blkalign_image__probe disk/core.c)" = 2 ] &&
    grep -q blkalign Makefile && grep -q blkalign include/kvm/disk-image.h || {
    echo 'Makefile, disk/core.c or disk-image.h is not as expected' >&2
    exit 1
}
