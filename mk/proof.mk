# What proof/ has beside tests of Rust: simulators, power losses, a guest, a
# model, fuzzers, mutants.

.PHONY: check-sim check-power check-overlay check-guest check-model fuzz check-mutants \
        coverage
### Proof
# A library of its own kind, under which proof/library lies: kept apart by Cargo.
SIMULATION = $(CARGO) test --locked --features simulation --test simulation \
                 --target-dir $(TARGET)

## check-sim: the whole library on simulated threads and a simulated disk
check-sim:
	BLKALIGN_SIM_SECONDS=10 $(SIMULATION)

## check-power: losses of power on a disk in memory, SECONDS=60 of seeds
check-power:
	BLKALIGN_POWER_SECONDS=$(SECONDS) $(CARGO) test --locked --lib \
	    --target-dir $(TARGET) proof::power -- --nocapture

## check-overlay: overlays in the machine's simulator, a million schedules
OVERLAY_SCHEDULES ?= 1000000
check-overlay:
	BLKALIGN_OVERLAY_SCHEDULES=$(OVERLAY_SCHEDULES) $(CARGO) test --locked --release \
	    -p blkalign-machine --lib --target-dir $(TARGET) overlay -- --nocapture

GUEST_TESTS = $(filter-out %/common.sh %/vm.sh %/fetch.sh %/init.sh %/bench.sh,\
                            $(wildcard proof/guest/*.sh))

# The short form, in `make check`, takes the daemon that check-rust has built.
GUEST_DAEMON = $(if $(BLKALIGN_GUEST_QUICK),$(abspath $(TARGET))/debug,\
                    $(CURDIR)/build/tools)/blkalign-vhost-user-blk

## check-guest: a Linux guest under QEMU on our servers, killed and not
check-guest: build/libblkalign.so build/libblkalign.a $(NBDKIT_PLUGIN) \
             $(if $(BLKALIGN_GUEST_QUICK),,vhost-user-blk)
	CC='$(CC)' BLKALIGN_BUILD=$(CURDIR)/build \
	    BLKALIGN_VHOST_DAEMON='$(GUEST_DAEMON)' \
	    BLKALIGN_GUEST_QUICK=$(BLKALIGN_GUEST_QUICK) $(PROVE) -j2 \
	    --exec '' $(GUEST_TESTS)

## check-model: the wait protocol, all interleavings (needs spin; a minute)
check-model:
	$(PROVE) --exec '' proof/model/run.sh

## fuzz: the fuzzers under AddressSanitizer, SECONDS=60 each
fuzz:
	proof/fuzz/run.sh $(SECONDS)

## check-mutants: what proof/mutants/ breaks is found by the tests; half an hour
check-mutants:
	scripts/check-mutants

## coverage: lines that the tests reach, into docs/COVERAGE.md (needs LLVM)
coverage:
	scripts/coverage
