# Builds, installs and checks libblkalign. `make help` lists the targets.
#
# Here are the variables and what most people ask for. The rest is in mk/, a
# file for each subject, and each folder of integrations/ says in its build.mk
# how it is built. All of it runs from this folder.

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
# All that the crate has beyond what the library needs.
RUST_FEATURES = --features blkalign/async,blkalign/vm-memory
# How long what looks for faults does so, where it takes a time.
SECONDS  = 60

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
HOST     = $(shell rustc -vV | sed -n 's/^host: //p')

STRICT     := -std=c99 -Wall -Wextra -Werror -pedantic
OUR_CFLAGS  = $(CFLAGS) $(STRICT) -Iinclude
# In the build tree programs find the library where it was built.
OUR_LDFLAGS = $(LDFLAGS) -Lbuild -Wl,-rpath,$(CURDIR)/build
LIBS        = -lblkalign -lpthread
# Directories that the dynamic linker searches; programs that are installed
# elsewhere carry rpath.
SYSTEM_LIBDIR   = $(filter /lib% /usr/lib% /usr/local/lib%,$(libdir))
INSTALLED_RPATH = $(if $(SYSTEM_LIBDIR),,-Wl,-rpath,$(libdir))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all help install uninstall demo check check-fresh bench lint clean \
        dist-clean FORCE

# What these add to, for the targets below: files that `make install` makes, and
# targets that do parts of it.
INSTALLED     =
INSTALL_PARTS =

include mk/library.mk
include mk/integrations.mk
include mk/tools.mk
include mk/documents.mk
include mk/tests.mk
include mk/sanitizers.mk
include mk/proof.mk
include mk/machines.mk
include mk/storage.mk
include mk/bench.mk
include mk/bench-check.mk
include mk/packaging.mk

### What most people ask for
## all: the libraries, tools and examples, in build/ (what `make` does)
all: build/libblkalign.so build/libblkalign.a $(TOOLS) \
     $(EXAMPLES:%=build/examples/%)

## help: this list
help:
	@echo 'libblkalign $(VERSION)'
	@sed -n -e 's/^### \(.*\)/\n\1/p' -e 's/^## \([^:]*\): */  make \1\t/p' \
	    $(MAKEFILE_LIST) | expand -t 24
	@echo
	@echo 'Variables: DESTDIR prefix libdir includedir bindir mandir docdir CC CXX'

## install: libraries, header, pkg-config file, tools, manuals, examples
install: all $(INSTALL_PARTS)

## uninstall: remove what install put there, with the same variables
uninstall:
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	-[ ! -d $(DESTDIR)$(docdir) ] || rmdir --ignore-fail-on-non-empty \
	    $(DESTDIR)$(docdir)/examples $(DESTDIR)$(docdir)

## demo: the library's main job on a disk of 4096-byte blocks, in a minute
demo: all
	scripts/demo

## check: everything: setup, lint, tests in Rust and in C, a trial install
check: setup
	$(MAKE) lint
	$(MAKE) rust-tests
	CARGO_MAKEFLAGS=-j $(MAKE) -j2 --output-sync=target \
	    check-rust check-beside
	$(MAKE) check-c PROVE='prove --timer -j3'
	$(MAKE) bench-smoke

# What `make check` runs beside the tests in Rust, which often only wait. Cargo
# has jobs of its own (CARGO_MAKEFLAGS), not make's two.
.PHONY: check-beside
check-beside:
	$(MAKE) check-sim
	$(MAKE) check-guest BLKALIGN_GUEST_QUICK=1

## check-fresh: demo and check on a new Debian 12, as root and not; a long time
check-fresh:
	scripts/check-fresh

## bench: speed beside qemu-img bench and fio, as root, a quarter of an hour
bench: build/tools/blkalign-bench build/bench/yardstick
	BLKALIGN_BENCH=$< scripts/bench

# Debian has no clippy for its newer Rust.
if_there = if ! $(CARGO) $(1) --version >/dev/null 2>&1; then \
               echo 'lint: skipped: cargo $(1) is missing'; else

# $(1) sources in C, $(2) how to compile them
define lint_c
for source in $(1); do \
	    $(CC) $(STRICT) -D_GNU_SOURCE -Iinclude $(2) -fsyntax-only $$source \
	        || exit 1; \
	done

endef

## lint: format, clippy and C warnings, all as errors
lint:
	@$(call if_there,fmt) $(CARGO) fmt --all --check; fi
	@$(call if_there,clippy) $(CARGO) clippy --locked --workspace \
	    $(RUST_FEATURES) --all-targets --target-dir $(TARGET) -- -D warnings; fi
	scripts/lint
	scripts/lint-layers
	scripts/check-mutants --applies
	$(call lint_c,$(TEST_SOURCES) $(TEST_COMMON) $(TOOL_SOURCES) \
	    capi-tests/tsan_fence.c $(wildcard bench/*.c examples/*.c \
	    proof/guest/*.c proof/storage/*.c),-Icapi-tests -Itools/common \
	    -Itools/blkalign-bench $(NBD_CFLAGS) $(RBD_CFLAGS))
	$(foreach name,$(INTEGRATIONS),$(if $(sources_$(name)),$(call \
	    lint_c,$(sources_$(name)),$(cflags_$(name)))))

## clean: remove build/
clean:
	rm -rf build

## dist-clean: remove build/ and what Cargo built
dist-clean: clean
	rm -rf $(TARGET)
