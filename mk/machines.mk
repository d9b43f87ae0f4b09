# Other kinds of machines than this one; as root, and with a network the first
# time. proof/machines/ says what can't be had.

.PHONY: check-arm64 check-arm64-guest check-glibc
### Other machines
## check-arm64: unit tests and C tests on emulated arm64, on threads
check-arm64:
	$(PROVE) --exec '' proof/machines/check.sh :: arm64

# Half an hour for both. ONLY=test-vectors: this one test.
## check-arm64-guest: the same with io_uring on Debian's arm64 kernels, in guests
check-arm64-guest:
	ONLY='$(ONLY)' $(PROVE) --exec '' proof/machines/guest.sh :: arm64 \
	    $(PAGES)

## check-glibc: the library on Debian 11, whose glibc is 2.31
check-glibc:
	$(PROVE) --exec '' proof/machines/glibc.sh
