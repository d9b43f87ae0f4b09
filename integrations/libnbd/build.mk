# The driver for remote NBD exports, where libnbd is there: blkalign-torture and
# blkalign-bench work over it, too (mk/tools.mk). A test program per
# test-libnbd*.c, with the driver in it.

HAVE_NBD   := $(shell pkg-config --exists libnbd 2>/dev/null && echo yes)
NBD_DRIVER := $(filter-out integrations/libnbd/test-%,\
                  $(wildcard integrations/libnbd/*.c))
NBD_CFLAGS := $(if $(HAVE_NBD),-DHAVE_LIBNBD -Iintegrations/libnbd \
                  $(shell pkg-config --cflags libnbd))
NBD_LIBS   := $(if $(HAVE_NBD),$(shell pkg-config --libs libnbd))
NBD_TESTS  := $(if $(HAVE_NBD),$(patsubst integrations/libnbd/%.c,build/%,\
                  $(wildcard integrations/libnbd/test-libnbd*.c)))

INTEGRATIONS        += libnbd
INTEGRATION_TESTS   += $(NBD_TESTS)
INTEGRATION_SCRIPTS += integrations/libnbd/libnbd.t
sources_libnbd      := $(if $(HAVE_NBD),$(wildcard integrations/libnbd/*.c))
cflags_libnbd       := -Icapi-tests $(NBD_CFLAGS)
libs_libnbd         := $(NBD_LIBS)

## libnbd: the driver for NBD exports, with its tests (needs libnbd-dev)
libnbd: $(NBD_TESTS)
	$(if $(HAVE_NBD),,@echo 'libnbd: not built: libnbd-dev is missing here')

$(NBD_TESTS): build/%: integrations/libnbd/%.c $(NBD_DRIVER) \
                    $(wildcard integrations/libnbd/*.h) \
                    integrations/libnbd/test-server.c \
                    capi-tests/common_tap.c include/blkalign.h \
                    build/libblkalign.so
	$(call link_integration,libnbd)
