# Tarballs and packages; what is packaged how is in packaging/.

.PHONY: dist check-dist deb check-deb check-unit check-crate
### Packages
## dist: build/blkalign-VERSION.tar.xz of the last commit, crates included
dist:
	scripts/dist

## check-dist: dist twice is the same, and builds and runs without a network
check-dist:
	scripts/check-dist

## deb: Debian packages of the last commit, in build/deb/
deb:
	scripts/deb

## check-deb: these in a fresh Debian 12, as root; needs a network
check-deb:
	scripts/check-deb

## check-unit: the daemon's systemd unit in a container, as root; after that
check-unit:
	scripts/check-unit

## check-crate: the crates as they are published, with the oldest dependencies
check-crate:
	scripts/check-crate
