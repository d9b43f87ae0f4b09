# Glue for other programs. What each is made of, and what it needs, is in
# integrations/NAME/build.mk. Such a file has a target NAME, which builds what
# can be built here, and
#
#     INTEGRATIONS        += NAME, if it is in C
#     sources_NAME        for `make lint`: sources, and how to compile them
#     cflags_NAME
#     INTEGRATION_TESTS   += programs that `make check-c` runs
#     INTEGRATION_SCRIPTS += scripts that it runs
#     CHECK_ENVIRONMENT   += NAME=VALUE that these want
#     INSTALLED, INSTALL_PARTS: see the Makefile at the top

INTEGRATIONS        :=
INTEGRATION_TESTS   :=
INTEGRATION_SCRIPTS :=
CHECK_ENVIRONMENT   :=

# Links the target of a rule, of the integration $(1), from its prerequisites.
link_integration = $(CC) $(OUR_CFLAGS) -D_GNU_SOURCE $(cflags_$(1)) \
                       $(filter %.c,$^) -o $@ $(OUR_LDFLAGS) $(LIBS) $(libs_$(1))

### Integrations
include $(sort $(wildcard integrations/*/build.mk))

.PHONY: integrations $(INTEGRATIONS)
## integrations: all of these that are in C and can be built here
integrations: $(INTEGRATIONS)
