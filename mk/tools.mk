# Programs in C: the tools, which are installed, and the examples.

# A tool is tools/NAME.c, or all of tools/NAME/; each is linked with common.
TOOL_NAMES   := $(patsubst tools/%.c,%,$(wildcard tools/*.c)) \
                $(patsubst tools/%/main.c,%,$(wildcard tools/*/main.c))
TOOL_SOURCES := $(wildcard tools/*.c tools/*/*.c)
TOOL_HEADERS := $(wildcard tools/*/*.h integrations/libnbd/*.h \
                         integrations/librbd/*.h)
TOOLS        := $(TOOL_NAMES:%=build/tools/%)
TOOL_CFLAGS   = $(OUR_CFLAGS) -D_GNU_SOURCE -Itools/common
EXAMPLES     := $(patsubst examples/%.c,%,$(wildcard examples/*.c))
tool_sources  = $(wildcard tools/$(1).c tools/$(1)/*.c tools/common/*.c) \
                $(sources_$(1))

# Where libnbd is there these two speak NBD, and where librbd is, to Ceph, with
# the drivers of integrations/.
define remote_tool
sources_$(1) := $(if $(HAVE_NBD),$(NBD_DRIVER)) $(if $(HAVE_RBD),$(RBD_DRIVER))
cflags_$(1)  := $(NBD_CFLAGS) $(RBD_CFLAGS)
libs_$(1)    := $(NBD_LIBS) $(RBD_LIBS)

endef
$(foreach tool,blkalign-torture blkalign-bench,\
    $(eval $(call remote_tool,$(tool))))

# Overlays may lie over an NBD export.
sources_blkalign-overlay := $(if $(HAVE_NBD),$(NBD_DRIVER))
cflags_blkalign-overlay  := $(NBD_CFLAGS)
libs_blkalign-overlay    := $(NBD_LIBS)

# Changes when one of these comes or goes, and has the tools built anew.
REMOTES := nbd=$(HAVE_NBD) rbd=$(HAVE_RBD)
build/with-remotes: FORCE
	@mkdir -p build
	@[ "$$(cat $@ 2>/dev/null)" = '$(REMOTES)' ] || echo '$(REMOTES)' >$@

define tool_rule
build/tools/$(1): $(call tool_sources,$(1)) $(TOOL_HEADERS) \
                  include/blkalign.h build/libblkalign.so build/with-remotes
	@mkdir -p $$(@D)
	$$(CC) $$(TOOL_CFLAGS) $$(cflags_$(1)) $$(filter %.c,$$^) -o $$@ \
	    $$(OUR_LDFLAGS) $$(LIBS) $$(libs_$(1))

endef
$(foreach tool,$(TOOL_NAMES),$(eval $(call tool_rule,$(tool))))

build/examples/%: examples/%.c $(wildcard examples/*) include/blkalign.h \
                  build/libblkalign.so
	@mkdir -p $(@D)
	$(CC) $(OUR_CFLAGS) $< -o $@ $(OUR_LDFLAGS) $(LIBS)

INSTALLED     += $(TOOL_NAMES:%=$(bindir)/%)
INSTALL_PARTS += install-tools

.PHONY: install-tools
# Linked anew: the ones of the build tree look for the library there.
install-tools: $(TOOLS)
	$(if $(TOOL_NAMES),$(INSTALL) -d $(DESTDIR)$(bindir))
	$(foreach tool,$(TOOL_NAMES),$(CC) $(TOOL_CFLAGS) $(cflags_$(tool)) \
	    $(call tool_sources,$(tool)) -o $(DESTDIR)$(bindir)/$(tool) \
	    $(LDFLAGS) -Lbuild $(INSTALLED_RPATH) $(LIBS) $(libs_$(tool)) &&) :
