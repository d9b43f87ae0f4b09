# Builds, installs and checks libblkalign. `make help` lists the targets.
# Cargo builds the library; this file gives it its name, and builds what is C.

prefix     = /usr/local
bindir     = $(prefix)/bin
includedir = $(prefix)/include
libdir     = $(prefix)/lib
mandir     = $(prefix)/share/man
docdir     = $(prefix)/share/doc/blkalign
DESTDIR    =

CC      ?= cc
CXX     ?= c++
CFLAGS  ?= -O2 -g
CARGO   ?= cargo
INSTALL ?= install
PROVE   ?= prove --timer
# Where Cargo builds.
TARGET  ?= target

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
SONAME  := libblkalign.so.0
SHARED  := libblkalign.so.$(VERSION)
HOST     = $(shell rustc -vV | sed -n 's/^host: //p')

STRICT     := -std=c99 -Wall -Wextra -Werror -pedantic
STRICT_CXX := -std=c++11 -Wall -Wextra -Werror -pedantic
OUR_CFLAGS  = $(CFLAGS) $(STRICT) -Iinclude
TOOL_CFLAGS = $(OUR_CFLAGS) -D_GNU_SOURCE -Itools/common
# In the build tree programs find the library where it was built.
OUR_LDFLAGS = $(LDFLAGS) -Lbuild -Wl,-rpath,$(CURDIR)/build
LIBS        = -lblkalign -lpthread

# A program per test-*.c; what they share is in common*.c. Scripts are tests, too.
TEST_SOURCES := $(wildcard capi-tests/test-*.c)
TEST_COMMON  := $(wildcard capi-tests/common*.c)
TEST_HEADERS := $(wildcard capi-tests/*.h)
TEST_SCRIPTS := $(wildcard tools/*.t) \
                $(wildcard integrations/*/*.t) \
                $(filter-out %/install.sh capi-tests/common%,\
                             $(wildcard capi-tests/*.sh)) \
                $(wildcard capi-tests/install.sh)
# A tool is tools/NAME.c, or all of tools/NAME/; each is linked with common.
TOOL_NAMES   := $(patsubst tools/%.c,%,$(wildcard tools/*.c)) \
                $(patsubst tools/%/main.c,%,$(wildcard tools/*/main.c))
TOOL_SOURCES := $(wildcard tools/*.c tools/*/*.c)
TOOL_HEADERS := $(wildcard tools/*/*.h integrations/libnbd/*.h)
tool_sources  = $(wildcard tools/$(1).c tools/$(1)/*.c tools/common/*.c) \
                $(sources_$(1))
# Where libnbd is there blkalign-torture speaks NBD, and it and blkalign-bench
# work over the driver for it.
HAVE_NBD   := $(shell pkg-config --exists libnbd 2>/dev/null && echo yes)
NBD_DRIVER := $(filter-out integrations/libnbd/test-%,\
                  $(wildcard integrations/libnbd/*.c))
NBD_CFLAGS := $(if $(HAVE_NBD),-DHAVE_LIBNBD -Iintegrations/libnbd \
                  $(shell pkg-config --cflags libnbd))
NBD_LIBS   := $(if $(HAVE_NBD),$(shell pkg-config --libs libnbd))
define nbd_tool
sources_$(1) := $(if $(HAVE_NBD),$(NBD_DRIVER))
cflags_$(1)  := $(NBD_CFLAGS)
libs_$(1)    := $(NBD_LIBS)

endef
$(foreach tool,blkalign-torture blkalign-bench,$(eval $(call nbd_tool,$(tool))))
EXAMPLES     := $(patsubst examples/%.c,%,$(wildcard examples/*.c))
MAN_PAGES    := $(wildcard docs/man/*.1 docs/man/*.3 docs/man/*.7)

# Where the tests in C are built and how: check-asan and check-tsan differ.
OUT         = build/capi-tests
TEST_CFLAGS = $(OUR_CFLAGS) -D_GNU_SOURCE -Icapi-tests
TEST_SHARED = build/libblkalign.so
TEST_LINK   = $(OUR_LDFLAGS) $(LIBS)
SANITIZER   =

TESTS        = $(TEST_SOURCES:capi-tests/%.c=$(OUT)/%)
TEST_OBJECTS = $(TEST_COMMON:capi-tests/%.c=$(OUT)/%.o)
TOOLS       := $(TOOL_NAMES:%=build/tools/%)

# Glue for other programs, where what it is for is installed.
NBDKIT_PLUGIN := $(if $(shell pkg-config --exists nbdkit 2>/dev/null && \
                     echo yes),build/nbdkit-blkalign-plugin.so)

NBDKIT_CFLAGS := $(if $(NBDKIT_PLUGIN),$(shell pkg-config --cflags nbdkit))
# All but what is for somebody who is not here.
INTEGRATION_SOURCES := $(filter-out $(if $(NBDKIT_PLUGIN),,%-plugin.c) \
                                    $(if $(HAVE_NBD),,integrations/libnbd/%),\
                                    $(wildcard integrations/*/*.c proof/guest/*.c))

# Directories that the dynamic linker searches; elsewhere tools carry rpath.
SYSTEM_LIBDIR = $(filter /lib% /usr/lib% /usr/local/lib%,$(libdir))
TOOL_RPATH    = $(if $(SYSTEM_LIBDIR),,-Wl,-rpath,$(libdir))

.PHONY: all help header man check check-rust check-c check-matrix check-soak \
        check-sim check-power check-asan check-tsan check-valgrind check-model \
        lint setup tests fuzz check-mutants coverage \
        install install-tools uninstall demo bench bench-smoke bench-tracker \
        bench-nbd bench-guest check-guest conformance integrations \
        vhost-user-blk clean dist-clean install-plugin dist check-dist deb \
        check-deb check-unit check-fresh soak-vhost-user FORCE
.DELETE_ON_ERROR:

## all: the libraries, tools and examples, in build/ (what `make` does)
all: build/libblkalign.so build/libblkalign.a $(TOOLS) \
     $(EXAMPLES:%=build/examples/%)

## help: this list
help:
	@echo 'libblkalign $(VERSION)'
	@sed -n 's/^## \([^:]*\): */  make \1\t/p' Makefile | expand -t 24
	@echo 'Variables: DESTDIR prefix libdir includedir bindir mandir docdir CC CXX'

# ---- the library ----------------------------------------------------------

# Both kinds at once, without an rlib beside them, which would switch LTO off.
# The list of libraries that a static link needs comes from rustc.
NATIVE_LIBS := $(abspath $(TARGET))/native-static-libs

# `sudo make install` often finds no cargo: it takes what was built before.
build/cargo: FORCE
	@mkdir -p build
	@command -v $(CARGO) >/dev/null || { [ -e $@ ] && \
	    echo 'no $(CARGO) here: taking the libraries that are in build/'; } \
	    || { echo 'no $(CARGO) here: install Rust' >&2; exit 1; }
	! command -v $(CARGO) >/dev/null || $(CARGO) rustc --locked --release --lib --target-dir $(TARGET) \
	    --crate-type cdylib,staticlib -- \
	    -C link-arg=-Wl,-soname,$(SONAME) \
	    --print native-static-libs=$(NATIVE_LIBS)
	@! [ -e $(TARGET)/release/libblkalign.so ] || \
	    cmp -s $(TARGET)/release/libblkalign.so build/$(SHARED) || touch $@

build/$(SHARED): build/cargo
# By another name first: a program that runs has the old one mapped.
	cp $(TARGET)/release/libblkalign.so $@.new && mv -f $@.new $@

build/libblkalign.a: build/cargo
	cp $(TARGET)/release/libblkalign.a $@.new && mv -f $@.new $@

build/libblkalign.so: build/$(SHARED)
	ln -sf $(SHARED) build/$(SONAME)
	ln -sf $(SONAME) $@

# A C compiler links gcc's own libraries and libc by itself, each in the kind
# that fits: naming -lgcc_s would break `cc -static`.
build/blkalign.pc: pkgconfig/blkalign.pc.in build/cargo FORCE
	sed -e 's|@prefix@|$(prefix)|' \
	    -e 's|@libdir@|$(patsubst $(prefix)/%,$${prefix}/%,$(libdir))|' \
	    -e 's|@includedir@|$(patsubst $(prefix)/%,$${prefix}/%,$(includedir))|' \
	    -e 's|@version@|$(VERSION)|' \
	    -e "s|@libs_private@|$$(sed 's/-lgcc_s//; s/-lc$$//' $(NATIVE_LIBS))|" \
	    -e 's| *$$||' pkgconfig/blkalign.pc.in >$@

## header: include/blkalign.h anew from src/header, src/capi
header:
	$(CARGO) run --locked --quiet -p abi-test --bin header \
	    --target-dir $(TARGET)

## man: the manual pages of section 3 anew from src/header, src/capi
man:
	$(CARGO) run --locked --quiet -p abi-test --bin man \
	    --target-dir $(TARGET)

# ---- programs in C --------------------------------------------------------

$(OUT)/%.o: capi-tests/%.c $(TEST_HEADERS) include/blkalign.h
	@mkdir -p $(@D)
	$(CC) $(TEST_CFLAGS) $(SANITIZER) -c $< -o $@

$(TESTS): %: %.o $(TEST_OBJECTS) $(TEST_SHARED)
	$(CC) $(SANITIZER) $< $(TEST_OBJECTS) -o $@ $(TEST_LINK)

tests: $(TESTS)

# Changes when libnbd comes or goes, and has the tools built anew.
build/with-nbd: FORCE
	@mkdir -p build
	@[ "$$(cat $@ 2>/dev/null)" = '$(HAVE_NBD)' ] && [ -e $@ ] || \
	    echo '$(HAVE_NBD)' >$@

define tool_rule
build/tools/$(1): $(call tool_sources,$(1)) $(TOOL_HEADERS) \
                  include/blkalign.h build/libblkalign.so build/with-nbd
	@mkdir -p $$(@D)
	$$(CC) $$(TOOL_CFLAGS) $$(cflags_$(1)) $$(filter %.c,$$^) -o $$@ \
	    $$(OUR_LDFLAGS) $$(LIBS) $$(libs_$(1))

endef
$(foreach tool,$(TOOL_NAMES),$(eval $(call tool_rule,$(tool))))

build/examples/%: examples/%.c $(wildcard examples/*) include/blkalign.h \
                  build/libblkalign.so
	@mkdir -p $(@D)
	$(CC) $(OUR_CFLAGS) $< -o $@ $(OUR_LDFLAGS) $(LIBS)

# ---- glue for other programs ----------------------------------------------

# RPATH of the build tree: nbdkit finds the library that was built with it.
build/nbdkit-blkalign-plugin.so: integrations/nbdkit/blkalign-plugin.c \
                                 include/blkalign.h build/libblkalign.so
	$(CC) $(OUR_CFLAGS) -D_GNU_SOURCE $$(pkg-config --cflags nbdkit) \
	    -fPIC -shared $< -o $@ $(OUR_LDFLAGS) -lblkalign

build/test-blockif: $(wildcard integrations/blockif/*.[ch]) \
                    include/blkalign.h build/libblkalign.so
	$(CC) $(OUR_CFLAGS) -D_GNU_SOURCE $(filter %.c,$^) -o $@ \
	    $(OUR_LDFLAGS) $(LIBS)

# kvmtool is another one where it has libaio.
build/test-kvmtool build/test-kvmtool-aio: \
                    $(wildcard integrations/kvmtool/*.c) \
                    $(wildcard integrations/kvmtool/stub/*/*.h) \
                    include/blkalign.h build/libblkalign.so
	$(CC) $(OUR_CFLAGS) -D_GNU_SOURCE -Iintegrations/kvmtool/stub \
	    $(if $(filter %-aio,$@),-DCONFIG_HAS_AIO) \
	    $(filter %.c,$^) -o $@ $(OUR_LDFLAGS) $(LIBS)

# Of the NBD driver: a program per test-libnbd*.c.
NBD_TESTS := $(if $(HAVE_NBD),$(patsubst integrations/libnbd/%.c,build/%,\
                 $(wildcard integrations/libnbd/test-libnbd*.c)))

$(NBD_TESTS): build/%: integrations/libnbd/%.c $(NBD_DRIVER) \
                    $(wildcard integrations/libnbd/*.h) \
                    integrations/libnbd/test-server.c \
                    capi-tests/common_tap.c include/blkalign.h \
                    build/libblkalign.so
	$(CC) $(OUR_CFLAGS) -D_GNU_SOURCE -Icapi-tests $(NBD_CFLAGS) \
	    $(filter %.c,$^) -o $@ $(OUR_LDFLAGS) $(LIBS) $(NBD_LIBS)

build/test-qemu: $(wildcard integrations/qemu/*.c) \
                 $(wildcard integrations/qemu/stub/*.[ch]) \
                 $(wildcard integrations/qemu/stub/*/*.h) \
                 include/blkalign.h build/libblkalign.so
	$(CC) $(OUR_CFLAGS) -D_GNU_SOURCE -Iintegrations/qemu/stub \
	    $(filter %.c,$^) -o $@ $(OUR_LDFLAGS) $(LIBS)

# A test program for each that needs no server.
GLUE_TESTS := $(NBD_TESTS) build/test-blockif build/test-kvmtool \
              build/test-kvmtool-aio build/test-qemu

## integrations: nbdkit plugin, NBD driver, block_if, QEMU ...; what can be built
integrations: $(NBDKIT_PLUGIN) $(GLUE_TESTS)

# A program in Rust on the C interface, with the library in it. Built when asked
# for, for its crates; `make install` takes it along if it was.
VHOST_DAEMON = build/tools/blkalign-vhost-user-blk

## vhost-user-blk: blkalign-vhost-user-blk, disks for virtual machines
vhost-user-blk:
	@mkdir -p build/tools
	$(CARGO) build --locked --release -p blkalign-vhost-user-blk \
	    --target-dir $(TARGET)
	cp $(TARGET)/release/blkalign-vhost-user-blk build/tools/

# ---- installing -----------------------------------------------------------

# A page for each program: the daemon's goes with the daemon.
DAEMON_PAGE = docs/man/$(notdir $(VHOST_DAEMON)).1
PAGES       = $(filter-out $(DAEMON_PAGE),$(MAN_PAGES))
man_path    = $(mandir)/man$(subst .,,$(suffix $(1)))/$(notdir $(1))
DOCUMENTS   = README.md SECURITY.md docs/GUARANTEES.md docs/PORTING.md
EXAMPLE_SOURCES := $(wildcard examples/*.[ch])

INSTALLED = $(includedir)/blkalign.h $(libdir)/$(SHARED) $(libdir)/$(SONAME) \
            $(libdir)/libblkalign.so $(libdir)/libblkalign.a \
            $(libdir)/pkgconfig/blkalign.pc $(TOOL_NAMES:%=$(bindir)/%) \
            $(bindir)/$(notdir $(VHOST_DAEMON)) \
            $(foreach page,$(MAN_PAGES),$(call man_path,$(page))) \
            $(addprefix $(docdir)/,$(notdir $(DOCUMENTS))) \
            $(addprefix $(docdir)/,$(EXAMPLE_SOURCES))

## install: libraries, header, pkg-config file, tools, manuals, examples
install: all build/blkalign.pc install-tools
	$(INSTALL) -d $(DESTDIR)$(includedir) $(DESTDIR)$(libdir)/pkgconfig \
	    $(DESTDIR)$(docdir)/examples
	$(INSTALL) -m 644 include/blkalign.h $(DESTDIR)$(includedir)
	$(INSTALL) -m 755 build/$(SHARED) $(DESTDIR)$(libdir)
	ln -sf $(SHARED) $(DESTDIR)$(libdir)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(libdir)/libblkalign.so
	$(INSTALL) -m 644 build/libblkalign.a $(DESTDIR)$(libdir)
	$(INSTALL) -m 644 build/blkalign.pc $(DESTDIR)$(libdir)/pkgconfig
	$(foreach page,$(PAGES),$(INSTALL) -D -m 644 $(page) \
	    $(DESTDIR)$(call man_path,$(page)) &&) :
	$(INSTALL) -m 644 $(DOCUMENTS) $(DESTDIR)$(docdir)
	$(INSTALL) -m 644 $(EXAMPLE_SOURCES) $(DESTDIR)$(docdir)/examples
	$(if $(DESTDIR),,$(if $(SYSTEM_LIBDIR),-ldconfig))

# Linked anew: the ones of the build tree look for the library there.
install-tools: $(TOOLS)
	$(if $(TOOL_NAMES),$(INSTALL) -d $(DESTDIR)$(bindir))
	$(foreach tool,$(TOOL_NAMES),$(CC) $(TOOL_CFLAGS) $(cflags_$(tool)) \
	    $(call tool_sources,$(tool)) -o $(DESTDIR)$(bindir)/$(tool) \
	    $(LDFLAGS) -Lbuild $(TOOL_RPATH) $(LIBS) $(libs_$(tool)) &&) :
	@if [ -e $(VHOST_DAEMON) ]; then \
	    $(INSTALL) -m 755 $(VHOST_DAEMON) $(DESTDIR)$(bindir) && \
	    $(INSTALL) -D -m 644 $(DAEMON_PAGE) \
	        $(DESTDIR)$(call man_path,$(DAEMON_PAGE)); \
	else \
	    echo 'no $(notdir $(VHOST_DAEMON)): make vhost-user-blk builds it'; \
	fi

# Where nbdkit looks for plugins; like the tools linked anew.
nbdkitdir = $(libdir)/nbdkit/plugins

install-plugin: $(NBDKIT_PLUGIN)
	$(INSTALL) -d $(DESTDIR)$(nbdkitdir)
	$(CC) $(OUR_CFLAGS) -D_GNU_SOURCE $$(pkg-config --cflags nbdkit) \
	    -fPIC -shared integrations/nbdkit/blkalign-plugin.c \
	    -o $(DESTDIR)$(nbdkitdir)/$(notdir $(NBDKIT_PLUGIN)) \
	    $(LDFLAGS) -Lbuild $(TOOL_RPATH) -lblkalign

## uninstall: remove what install put there, with the same variables
uninstall:
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	-[ ! -d $(DESTDIR)$(docdir) ] || rmdir --ignore-fail-on-non-empty \
	    $(DESTDIR)$(docdir)/examples $(DESTDIR)$(docdir)

# ---- checking -------------------------------------------------------------

## check: everything: setup, lint, tests in Rust and in C, a trial install
check: setup
	$(MAKE) lint
	$(MAKE) check-rust
	$(MAKE) check-sim
	$(MAKE) check-c PROVE='prove --timer -j2'
	$(MAKE) check-guest BLKALIGN_GUEST_QUICK=1
	$(MAKE) bench-smoke

setup:
	scripts/setup

# Debian has no clippy for its newer Rust.
if_there = if ! $(CARGO) $(1) --version >/dev/null 2>&1; then \
               echo 'lint: skipped: cargo $(1) is missing'; else

## lint: format, clippy and C warnings, all as errors
lint:
	@$(call if_there,fmt) $(CARGO) fmt --all --check; fi
	@$(call if_there,clippy) $(CARGO) clippy --locked --workspace \
	    --all-targets --target-dir $(TARGET) -- -D warnings; fi
	scripts/lint
	scripts/lint-layers
	scripts/check-mutants --applies
	for source in $(TEST_SOURCES) $(TEST_COMMON) $(TOOL_SOURCES) \
	    capi-tests/tsan_fence.c \
	    $(wildcard examples/*.c); do \
	    $(CC) $(STRICT) -D_GNU_SOURCE -Iinclude -Icapi-tests -Itools/common \
	        -fsyntax-only $$source || exit 1; \
	done
	for source in $(INTEGRATION_SOURCES); do \
	    $(CC) $(STRICT) -D_GNU_SOURCE -Iinclude -I$$(dirname $$source)/stub \
	        -Icapi-tests $(NBDKIT_CFLAGS) $(NBD_CFLAGS) -fsyntax-only $$source || exit 1; \
	done

## check-rust: tests of the Rust side, and that header and ABI agree with it
check-rust:
	$(CARGO) test --locked --workspace --target-dir $(TARGET)

# A library of its own kind, under which proof/library lies: kept apart by Cargo.
SIMULATION = $(CARGO) test --locked --features simulation --test simulation \
                 --target-dir $(TARGET)

## check-sim: the whole library on simulated threads and a simulated disk
check-sim:
	BLKALIGN_SIM_SECONDS=10 $(SIMULATION)

## check-c: tests in C against build/libblkalign.so, and a trial install
check-c: all integrations $(TESTS)
	CC='$(CC)' CXX='$(CXX)' BLKALIGN_BUILD=$(CURDIR)/build \
	    BLKALIGN_INFO=$(CURDIR)/build/tools/blkalign-info \
	    BLKALIGN_BENCH=$(CURDIR)/build/tools/blkalign-bench \
	    BLKALIGN_NBDKIT_PLUGIN='$(NBDKIT_PLUGIN:%=$(CURDIR)/%)' \
	    BLKALIGN_TORTURE=$(CURDIR)/build/tools/blkalign-torture \
	    $(PROVE) --exec '' $(TESTS) $(GLUE_TESTS) $(TEST_SCRIPTS)

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

SECONDS = 60

## check-soak: simulator, torture programs on both engines, SECONDS=60 each
check-soak: all $(TESTS)
	BLKALIGN_SIM_SECONDS=$(SECONDS) BLKALIGN_SIM_THOROUGH=1 $(SIMULATION)
	for engine in threads io_uring; do \
	    echo "== $$engine"; \
	    BLKALIGN_TEST_ENGINE=$$engine BLKALIGN_TORTURE_SECONDS=$(SECONDS) \
	        $(PROVE) --exec '' $(filter %-torture %-torture-all,$(TESTS)) \
	        || exit 1; \
	done

## soak-vhost-user: hostile frontends at the vhost-user-blk daemon, SECONDS=60
soak-vhost-user:
	BLKALIGN_VHOST_SECONDS=$(SECONDS) $(CARGO) test --locked --release \
	    --target-dir $(TARGET) -p blkalign-vhost-user-blk \
	    --test fuzz_frontends -- --nocapture

## check-power: losses of power on a disk in memory, SECONDS=60 of seeds
check-power:
	BLKALIGN_POWER_SECONDS=$(SECONDS) $(CARGO) test --locked --lib \
	    --target-dir $(TARGET) proof::power -- --nocapture

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

## bench: speed beside qemu-img bench and fio, as root, some minutes
bench: build/tools/blkalign-bench
	BLKALIGN_BENCH=$< scripts/bench

## bench-nbd: the nbdkit plugin beside qemu-nbd and nbdkit's own, as root
bench-nbd: integrations
	BLKALIGN_BUILD=$(CURDIR)/build integrations/nbdkit/bench.sh

## bench-guest: the vhost-user-blk daemon beside QEMU's in a guest, as root
bench-guest: vhost-user-blk
	CC='$(CC)' BLKALIGN_BUILD=$(CURDIR)/build proof/guest/bench.sh

## bench-smoke: a moment of it, to show that it runs
bench-smoke: build/tools/blkalign-bench
	BLKALIGN_BENCH=$< scripts/bench --smoke

## bench-tracker: what the request machine costs, with few and many in flight
bench-tracker:
	$(CARGO) bench --locked -p blkalign-bench-machine --bench tracker \
	    --target-dir $(TARGET)

## conformance: docs/CONFORMANCE.md's tables anew, as root, some minutes
conformance: build/tools/blkalign-torture
	BLKALIGN_TORTURE=$< tools/blkalign-torture/survey.sh

## demo: the library's main job on a disk of 4096-byte blocks, in a minute
demo: all
	scripts/demo

## check-fresh: demo and check on a new Debian 12, as root and not; a long time
check-fresh:
	scripts/check-fresh

# ---- packages -------------------------------------------------------------

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

## clean: remove build/
clean:
	rm -rf build

## dist-clean: remove build/ and what Cargo built
dist-clean: clean
	rm -rf $(TARGET)
