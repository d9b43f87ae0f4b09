# The plugin for nbdkit, where nbdkit is there.

NBDKIT_PLUGIN := $(if $(shell pkg-config --exists nbdkit 2>/dev/null && \
                     echo yes),build/nbdkit-blkalign-plugin.so)

INTEGRATIONS        += nbdkit
INTEGRATION_SCRIPTS += integrations/nbdkit/nbdkit.t
CHECK_ENVIRONMENT   += BLKALIGN_NBDKIT_PLUGIN='$(NBDKIT_PLUGIN:%=$(CURDIR)/%)'
sources_nbdkit := $(if $(NBDKIT_PLUGIN),$(wildcard integrations/nbdkit/*.c))
cflags_nbdkit  := $(if $(NBDKIT_PLUGIN),$(shell pkg-config --cflags nbdkit))

## nbdkit: the plugin for nbdkit (needs nbdkit-plugin-dev)
nbdkit: $(NBDKIT_PLUGIN)
	$(if $(NBDKIT_PLUGIN),,@echo \
	    'nbdkit: not built: nbdkit-plugin-dev is missing here')

build_plugin = $(CC) $(OUR_CFLAGS) -D_GNU_SOURCE $(cflags_nbdkit) \
                   -fPIC -shared integrations/nbdkit/blkalign-plugin.c

# RPATH of the build tree: nbdkit finds the library that was built with it.
build/nbdkit-blkalign-plugin.so: integrations/nbdkit/blkalign-plugin.c \
                                 tools/common/throttle_option.h \
                                 include/blkalign.h build/libblkalign.so
	$(build_plugin) -o $@ $(OUR_LDFLAGS) -lblkalign

# Where nbdkit looks for plugins. Linked anew, like the tools.
nbdkitdir = $(libdir)/nbdkit/plugins

.PHONY: install-plugin bench-nbd
## install-plugin: the plugin to where nbdkit looks for it
install-plugin: $(NBDKIT_PLUGIN)
	$(INSTALL) -d $(DESTDIR)$(nbdkitdir)
	$(build_plugin) -o $(DESTDIR)$(nbdkitdir)/$(notdir $(NBDKIT_PLUGIN)) \
	    $(LDFLAGS) -Lbuild $(INSTALLED_RPATH) -lblkalign

## bench-nbd: the plugin beside qemu-nbd and nbdkit's own, as root
bench-nbd: integrations
	BLKALIGN_BUILD=$(CURDIR)/build integrations/nbdkit/bench.sh
