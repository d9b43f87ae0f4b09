# The plugin for nbdkit, where nbdkit is there.

NBDKIT_PLUGIN := $(if $(shell pkg-config --exists nbdkit 2>/dev/null && \
                     echo yes),build/nbdkit-blkalign-plugin.so)

INTEGRATIONS        += nbdkit
INTEGRATION_SCRIPTS += integrations/nbdkit/nbdkit.t \
                       integrations/nbdkit/overlay.t
CHECK_ENVIRONMENT   += BLKALIGN_NBDKIT_PLUGIN='$(NBDKIT_PLUGIN:%=$(CURDIR)/%)'
sources_nbdkit := $(if $(NBDKIT_PLUGIN),$(wildcard integrations/nbdkit/*.c))
cflags_nbdkit  := $(if $(NBDKIT_PLUGIN),$(shell pkg-config --cflags nbdkit)) \
                  $(NBD_CFLAGS)
# For backing=URI, where libnbd is there, too.
nbdkit_sources  = integrations/nbdkit/blkalign-plugin.c \
                  integrations/nbdkit/overlay.c $(if $(HAVE_NBD),$(NBD_DRIVER))

## nbdkit: the plugin for nbdkit (needs nbdkit-plugin-dev)
nbdkit: $(NBDKIT_PLUGIN)
	$(if $(NBDKIT_PLUGIN),,@echo \
	    'nbdkit: not built: nbdkit-plugin-dev is missing here')

build_plugin = $(CC) $(OUR_CFLAGS) -D_GNU_SOURCE $(cflags_nbdkit) \
                   -fPIC -shared $(nbdkit_sources)

# RPATH of the build tree: nbdkit finds the library that was built with it.
build/nbdkit-blkalign-plugin.so: $(wildcard integrations/nbdkit/*.[ch]) \
                                 $(wildcard integrations/libnbd/*.[ch]) \
                                 tools/common/throttle_option.h \
                                 include/blkalign.h build/libblkalign.so
	$(build_plugin) -o $@ $(OUR_LDFLAGS) -lblkalign $(NBD_LIBS) -lpthread

# Where nbdkit looks for plugins. Linked anew, like the tools.
nbdkitdir = $(libdir)/nbdkit/plugins

.PHONY: install-plugin bench-nbd
## install-plugin: the plugin to where nbdkit looks for it
install-plugin: $(NBDKIT_PLUGIN)
	$(INSTALL) -d $(DESTDIR)$(nbdkitdir)
	$(build_plugin) -o $(DESTDIR)$(nbdkitdir)/$(notdir $(NBDKIT_PLUGIN)) \
	    $(LDFLAGS) -Lbuild $(INSTALLED_RPATH) -lblkalign $(NBD_LIBS) -lpthread

## bench-nbd: the plugin beside qemu-nbd and nbdkit's own, as root
bench-nbd: integrations
	BLKALIGN_BUILD=$(CURDIR)/build integrations/nbdkit/bench.sh
