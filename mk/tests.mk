# The tests of the Rust side, and those in C against the built library.

# A program per test-*.c; what they share is in common*.c. Scripts are tests, too.
TEST_SOURCES := $(wildcard capi-tests/test-*.c)
TEST_COMMON  := $(wildcard capi-tests/common*.c)
TEST_HEADERS := $(wildcard capi-tests/*.h)
TEST_SCRIPTS := $(wildcard tools/*.t) $(INTEGRATION_SCRIPTS) \
                $(filter-out %/install.sh capi-tests/common%,\
                             $(wildcard capi-tests/*.sh)) \
                $(wildcard capi-tests/install.sh)

# Where the tests in C are built and how: check-asan and check-tsan differ.
OUT         = build/capi-tests
TEST_CFLAGS = $(OUR_CFLAGS) -D_GNU_SOURCE -Icapi-tests
TEST_SHARED = build/libblkalign.so
TEST_LINK   = $(OUR_LDFLAGS) $(LIBS)
SANITIZER   =

TESTS        = $(TEST_SOURCES:capi-tests/%.c=$(OUT)/%)
TEST_OBJECTS = $(TEST_COMMON:capi-tests/%.c=$(OUT)/%.o)

$(OUT)/%.o: capi-tests/%.c $(TEST_HEADERS) include/blkalign.h
	@mkdir -p $(@D)
	$(CC) $(TEST_CFLAGS) $(SANITIZER) -c $< -o $@

$(TESTS): %: %.o $(TEST_OBJECTS) $(TEST_SHARED)
	$(CC) $(SANITIZER) $< $(TEST_OBJECTS) -o $@ $(TEST_LINK)

.PHONY: setup tests rust-tests check-rust check-c check-matrix check-soak
### Tests
## setup: installs what the tests lack, as root; says before what and how
setup:
	scripts/setup

## tests: builds the test programs in C
tests: $(TESTS)

## rust-tests: builds the tests in Rust
rust-tests:
	$(CARGO) test --locked --workspace $(RUST_FEATURES) --no-run \
	    --target-dir $(TARGET)

## check-rust: tests of the Rust side, and that header and ABI agree with it
check-rust:
	$(CARGO) test --locked --workspace $(RUST_FEATURES) --target-dir $(TARGET)
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --quiet --no-deps \
	    -p blkalign $(RUST_FEATURES) --target-dir $(TARGET)

## check-c: tests in C against build/libblkalign.so, and a trial install
check-c: all build/blkalign.pc integrations $(TESTS)
	CC='$(CC)' CXX='$(CXX)' BLKALIGN_BUILD=$(CURDIR)/build \
	    BLKALIGN_INFO=$(CURDIR)/build/tools/blkalign-info \
	    BLKALIGN_BENCH=$(CURDIR)/build/tools/blkalign-bench \
	    BLKALIGN_TORTURE=$(CURDIR)/build/tools/blkalign-torture \
	    BLKALIGN_OVERLAY=$(CURDIR)/build/tools/blkalign-overlay \
	    $(CHECK_ENVIRONMENT) \
	    $(PROVE) --exec '' $(TESTS) $(INTEGRATION_TESTS) $(TEST_SCRIPTS)

# Programs that hold in every mode of operation: see capi-tests/common_mode.h.
MATRIX_TESTS := $(shell grep -lE 'common_(mode|scene)\.h' \
                        capi-tests/test-*.c)

## check-matrix: the C tests of both engines with each completion mode
check-matrix: all $(TESTS)
	for engine in threads io_uring; do \
	    for completion in serial concurrent eventfd; do \
	        echo "== $$engine, $$completion"; \
	        BLKALIGN_TEST_ENGINE=$$engine \
	            BLKALIGN_TEST_COMPLETION=$$completion $(PROVE) --exec '' \
	            $(MATRIX_TESTS:capi-tests/%.c=$(OUT)/%) || exit 1; \
	    done; \
	done

## check-soak: simulator, torture programs on both engines, SECONDS=60 each
check-soak: all $(TESTS)
	BLKALIGN_SIM_SECONDS=$(SECONDS) BLKALIGN_SIM_THOROUGH=1 $(SIMULATION)
	for engine in threads io_uring; do \
	    echo "== $$engine"; \
	    BLKALIGN_TEST_ENGINE=$$engine BLKALIGN_TORTURE_SECONDS=$(SECONDS) \
	        $(PROVE) --exec '' $(filter %-torture %-torture-all,$(TESTS)) \
	        || exit 1; \
	done
