# kvmtool's disk back end, and its test: compiled against stubs of kvmtool, and
# once more as where kvmtool has libaio.

INTEGRATIONS      += kvmtool
INTEGRATION_TESTS += build/test-kvmtool build/test-kvmtool-aio
# drive.c wants kvmtool's own headers.
sources_kvmtool   := integrations/kvmtool/blkalign.c \
                     integrations/kvmtool/test-kvmtool.c
cflags_kvmtool    := -Iintegrations/kvmtool/stub

## kvmtool: kvmtool's disk back end, with its test
kvmtool: build/test-kvmtool build/test-kvmtool-aio

.PHONY: check-kvmtool
## check-kvmtool: it, with kvmtool's source in SOURCE
check-kvmtool:
	integrations/kvmtool/check $(SOURCE)

build/test-kvmtool-aio: cflags_kvmtool += -DCONFIG_HAS_AIO
build/test-kvmtool build/test-kvmtool-aio: \
                    $(sources_kvmtool) \
                    $(wildcard integrations/kvmtool/stub/*/*.h) \
                    include/blkalign.h build/libblkalign.so
	$(call link_integration,kvmtool)
