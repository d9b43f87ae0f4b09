# kvmtool's disk back end, and its test: compiled against stubs of kvmtool, and
# once more as where kvmtool has libaio.

INTEGRATIONS      += kvmtool
INTEGRATION_TESTS += build/test-kvmtool build/test-kvmtool-aio
sources_kvmtool   := $(wildcard integrations/kvmtool/*.c)
cflags_kvmtool    := -Iintegrations/kvmtool/stub

## kvmtool: kvmtool's disk back end, with its test
kvmtool: build/test-kvmtool build/test-kvmtool-aio

build/test-kvmtool-aio: cflags_kvmtool += -DCONFIG_HAS_AIO
build/test-kvmtool build/test-kvmtool-aio: \
                    $(sources_kvmtool) \
                    $(wildcard integrations/kvmtool/stub/*/*.h) \
                    include/blkalign.h build/libblkalign.so
	$(call link_integration,kvmtool)
