# The driver for images of Ceph, where librbd is there: blkalign-torture and
# blkalign-bench work over it, too (mk/tools.mk), and the daemon of
# integrations/vhost-user-blk if it is built with RBD=yes. librbd has no file
# for pkg-config.

HAVE_RBD   := $(shell $(CC) -fsyntax-only -include rbd/librbd.h -xc \
                  /dev/null 2>/dev/null && echo yes)
RBD_DRIVER := $(filter-out integrations/librbd/test-%,\
                  $(wildcard integrations/librbd/*.c))
RBD_CFLAGS := $(if $(HAVE_RBD),-DHAVE_LIBRBD -Iintegrations/librbd)
RBD_LIBS   := $(if $(HAVE_RBD),-lrbd -lrados)
RBD_TESTS  := $(if $(HAVE_RBD),build/test-librbd)

INTEGRATIONS        += librbd
INTEGRATION_SCRIPTS += integrations/librbd/librbd.t
CHECK_ENVIRONMENT   += BLKALIGN_TEST_LIBRBD=$(abspath $(RBD_TESTS))
sources_librbd      := $(if $(HAVE_RBD),$(wildcard integrations/librbd/*.c))
cflags_librbd       := -Icapi-tests $(RBD_CFLAGS)
libs_librbd         := $(RBD_LIBS)

## librbd: the driver for images of Ceph, with its test (needs librbd-dev)
librbd: $(RBD_TESTS)
	$(if $(HAVE_RBD),,@echo 'librbd: not built: librbd-dev is missing here')

$(RBD_TESTS): build/%: integrations/librbd/%.c $(RBD_DRIVER) \
                    $(wildcard integrations/librbd/*.h) \
                    capi-tests/common_tap.c include/blkalign.h \
                    build/libblkalign.so
	$(call link_integration,librbd)

.PHONY: check-rbd
## check-rbd: the vhost-user-blk daemon on an image of Ceph
check-rbd:
	TARGET=$(abspath $(TARGET)) $(PROVE) --exec sh integrations/librbd/daemon.t
