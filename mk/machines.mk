# Other kinds of machines than this one; as root, and with a network the first
# time. proof/machines/ says what can't be had.

.PHONY: check-arm64 check-glibc
### Other machines
## check-arm64: unit tests and C tests on emulated arm64, on threads
check-arm64:
	$(PROVE) --exec '' proof/machines/check.sh :: arm64

## check-glibc: the library on Debian 11, whose glibc is 2.31
check-glibc:
	$(PROVE) --exec '' proof/machines/glibc.sh
