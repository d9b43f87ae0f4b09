# blkalign-nbd, a server for NBD: a program like those of tools/, and installed
# with them.

NBD_SERVER         := build/tools/blkalign-nbd
NBD_SERVER_SOURCES := $(filter-out integrations/nbd-server/test-%,\
                          $(wildcard integrations/nbd-server/*.c))

INTEGRATIONS        += nbd-server
INTEGRATION_TESTS   += build/test-nbd-server
INTEGRATION_SCRIPTS += integrations/nbd-server/nbd-server.t
CHECK_ENVIRONMENT   += BLKALIGN_NBD_SERVER='$(CURDIR)/$(NBD_SERVER)'
sources_nbd-server  := $(wildcard integrations/nbd-server/*.c)
cflags_nbd-server   := -Icapi-tests

## nbd-server: blkalign-nbd, disks for NBD clients, with its tests
nbd-server: $(NBD_SERVER) build/test-nbd-server

$(NBD_SERVER): $(NBD_SERVER_SOURCES) \
               $(wildcard integrations/nbd-server/*.h) \
               tools/common/throttle_option.h include/blkalign.h \
               build/libblkalign.so
	@mkdir -p $(@D)
	$(call link_integration,nbd-server)

build/test-nbd-server: integrations/nbd-server/test-nbd-server.c \
                       integrations/nbd-server/protocol.h \
                       capi-tests/common_tap.c build/libblkalign.so
	$(call link_integration,nbd-server)

all: $(NBD_SERVER)
INSTALLED += $(bindir)/$(notdir $(NBD_SERVER))

# Goes with the tools. Linked anew, like them.
.PHONY: install-nbd-server
install-tools: install-nbd-server
install-nbd-server: $(NBD_SERVER)
	$(INSTALL) -d $(DESTDIR)$(bindir)
	$(CC) $(OUR_CFLAGS) -D_GNU_SOURCE $(NBD_SERVER_SOURCES) \
	    -o $(DESTDIR)$(bindir)/$(notdir $(NBD_SERVER)) $(LDFLAGS) -Lbuild \
	    $(INSTALLED_RPATH) $(LIBS)
