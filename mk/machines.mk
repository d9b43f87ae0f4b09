# Other kinds of machines than this one; as root, and with a network the first
# time. proof/machines/ says what can't be had.

.PHONY: check-arm64 check-s390x check-ppc64el check-glibc
### Other machines
## check-arm64: tests on emulated arm64, and on kernels of 4K and 16K pages
check-arm64:
	$(PROVE) --exec '' proof/machines/check.sh :: arm64
	$(PROVE) --exec '' proof/machines/guest.sh :: arm64
	$(PROVE) --exec '' proof/machines/guest.sh :: arm64 arm64-16k

## check-s390x: the same on s390x, which is big-endian
check-s390x:
	$(PROVE) --exec '' proof/machines/check.sh :: s390x
	$(PROVE) --exec '' proof/machines/guest.sh :: s390x

## check-ppc64el: the same on POWER, whose kernel has pages of 64K
check-ppc64el:
	$(PROVE) --exec '' proof/machines/check.sh :: ppc64el
	$(PROVE) --exec '' proof/machines/guest.sh :: ppc64el

## check-glibc: the library on Debian 11, whose glibc is 2.31
check-glibc:
	$(PROVE) --exec '' proof/machines/glibc.sh
