#!/bin/bash
# Makes a Debian package of build/tools/blkalign-ublk, its page and its unit, in
# build/deb/. It depends on what the program was linked with; the library is in
# the program.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -euo pipefail
ublk=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$ublk/../.." && pwd)
program=$root/build/tools/blkalign-ublk

for need in dpkg-deb dpkg-shlibdeps dpkg-architecture strip; do
    command -v $need >/dev/null ||
        { echo "no $need: apt-get install dpkg-dev" >&2; exit 1; }
done
[ -x "$program" ] || { echo 'make ublk builds the program' >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
version=$("$program" --version | cut -d ' ' -f 2)
architecture=$(dpkg-architecture -q DEB_HOST_ARCH)
package=$work/package
install -D -m 755 "$program" "$package/usr/bin/blkalign-ublk"
strip "$package/usr/bin/blkalign-ublk"
install -D -m 644 "$ublk/blkalign-ublk@.service" -t \
    "$package/lib/systemd/system"
install -D -m 644 "$ublk/README.md" "$root/LICENSE-MIT" \
    "$root/LICENSE-APACHE" -t "$package/usr/share/doc/blkalign-ublk"
mkdir -p "$package/usr/share/man/man1" "$package/etc/blkalign-ublk" \
    "$package/DEBIAN" "$work/debian"
gzip -9n <"$root/docs/man/blkalign-ublk.1" \
    >"$package/usr/share/man/man1/blkalign-ublk.1.gz"
# dpkg-shlibdeps wants a source package; this is as little of one as it takes.
printf 'Source: blkalign\n\nPackage: blkalign-ublk\nArchitecture: any\n' \
    >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O "$package/usr/bin/blkalign-ublk" \
    2>/dev/null | sed -n 's/^shlibs:Depends=//p')
cat >"$package/DEBIAN/control" <<END
Package: blkalign-ublk
Version: $version
Architecture: $architecture
Maintainer: $(sed -n 's/^Maintainer: //p' "$root/packaging/debian/control")
Section: utils
Priority: optional
Depends: $depends
Recommends: kmod
Description: block I/O of any size: block devices by ublk
 blkalign-ublk makes block devices of this machine, /dev/ublkbN, with logical
 blocks of any size, of files, disks and NBD exports with blocks of any size.
 It needs Linux 6.0 or newer with ublk_drv. A template unit for systemd comes
 with it and starts nothing by itself.
END
mkdir -p "$root/build/deb"
dpkg-deb --root-owner-group --build "$package" "$root/build/deb/$(
    )blkalign-ublk_${version}_$architecture.deb"
