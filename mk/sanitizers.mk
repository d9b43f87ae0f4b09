# The tests in C, and those in Rust that lie near unsafe code or threads, under
# sanitizers and valgrind.

.PHONY: check-asan check-tsan check-valgrind
### Tests under sanitizers
sanitizer_flags = -Zsanitizer=$(1) -Cunsafe-allow-abi-mismatch=sanitizer

# The library for a sanitizer, and the tests linked with it into build/$(1).
# $(2) the sanitizer, $(3) how to compile C, $(4) what to link.
# Slow runs set BLKALIGN_TEST_SLOW, for tests that can do with less; one
# test asks for more memory than there is, and wants to be told. Of reports
# of races 66 is the exit status, which fails the test.
define check_sanitized
	RUSTC_BOOTSTRAP=1 RUSTFLAGS='$(call sanitizer_flags,$(2))' \
	    $(CARGO) rustc --locked --profile sanitize --lib \
	    --target $(HOST) --target-dir $(TARGET)/$(1) \
	    --crate-type staticlib
	$(MAKE) tests OUT=build/$(1) SANITIZER='$(3)' \
	    TEST_SHARED=$(TARGET)/$(1)/$(HOST)/sanitize/libblkalign.a \
	    TEST_LINK='$(TARGET)/$(1)/$(HOST)/sanitize/libblkalign.a $(4) \
	        -lpthread -lm -ldl'
	BLKALIGN_TEST_SLOW=1 ASAN_OPTIONS=allocator_may_return_null=1 \
	    TSAN_OPTIONS=allocator_may_return_null=1:suppressions=$(CURDIR)/capi-tests/tsan.supp \
	    $(PROVE) --exec '' $(TEST_SOURCES:capi-tests/%.c=build/$(1)/%)
endef
comma := ,

# Rust's tests leak tables of system calls on purpose; the request machine has
# no unsafe.
## check-asan: the C tests under AddressSanitizer, and the Rust ones near unsafe
check-asan:
	$(call check_sanitized,asan,address,-fsanitize=address)
	RUSTC_BOOTSTRAP=1 RUSTFLAGS='$(call sanitizer_flags,address)' \
	    ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=0 \
	    $(CARGO) test --locked --lib --target $(HOST) \
	    --target-dir $(TARGET)/asan

# gcc's own runtime of ThreadSanitizer does not fit Rust's code; Rust's does.
TSAN_RUNTIME = $(wildcard $(shell rustc --print target-libdir)/librustc*_rt.tsan.a)
TSAN_WRAPPED = __tsan_atomic64_fetch_sub __tsan_atomic_thread_fence
TSAN_FENCE   = build/tsan/fence.o $(TSAN_WRAPPED:%=-Wl$(comma)--wrap=%)
TSAN_RUST    = $(patsubst %,-Clink-arg=%,$(abspath build/tsan/fence.o) \
                   $(filter -Wl%,$(TSAN_FENCE)))

build/tsan/fence.o: capi-tests/tsan_fence.c
	@mkdir -p $(@D)
	$(CC) $(OUR_CFLAGS) -c $< -o $@

## check-tsan: the C tests under ThreadSanitizer, and the Rust ones with threads
check-tsan: build/tsan/fence.o
	$(call check_sanitized,tsan,thread,-fsanitize=thread,\
	    -fno-sanitize=thread -rdynamic $(TSAN_FENCE) \
	    -Wl$(comma)--whole-archive $(TSAN_RUNTIME) \
	    -Wl$(comma)--no-whole-archive)
	RUSTC_BOOTSTRAP=1 RUSTFLAGS='$(call sanitizer_flags,thread) $(TSAN_RUST)' \
	    TSAN_OPTIONS=allocator_may_return_null=1:suppressions=$(CURDIR)/capi-tests/tsan.supp \
	    $(CARGO) test --locked --lib --target $(HOST) \
	    --target-dir $(TARGET)/tsan

# "Possibly lost" is memory to whose middle alone a pointer leads: in Rust that
# is every map, the handle of a thread, and the stacks of threads still idle.
VALGRIND = valgrind -q --error-exitcode=99 --fair-sched=yes --leak-check=full \
           --show-leak-kinds=definite --errors-for-leak-kinds=definite \
           --suppressions=capi-tests/valgrind.supp
VALGRIND_OF_RUST = valgrind -q --error-exitcode=99 --fair-sched=yes \
    --suppressions=$(CURDIR)/capi-tests/valgrind.supp
# About io_uring, which valgrind 3.19 holds up: a thread inside io_uring_enter
# keeps all others from running. BLKALIGN_TEST_VALGRIND has it refused.
VALGRIND_NOT := %/test-uring %/test-uring-refused %/test-eventfd-inline

## check-valgrind: both under valgrind, without io_uring; 6 to 15 minutes
check-valgrind: $(TESTS)
	BLKALIGN_TEST_SLOW=1 BLKALIGN_TEST_VALGRIND=1 \
	    BLKALIGN_TEST_ENGINE=threads $(PROVE) --exec '$(VALGRIND)' \
	    $(filter-out $(VALGRIND_NOT),$(TESTS))
	$(CARGO) test --locked --lib --target-dir $(TARGET) \
	    --config "target.'cfg(all())'.runner='$(VALGRIND_OF_RUST)'" \
	    -- --skip ring --test-threads 2
