# bhyve's block_if on libblkalign, and its test.

INTEGRATIONS      += blockif
INTEGRATION_TESTS += build/test-blockif
sources_blockif   := $(wildcard integrations/blockif/*.c)

## blockif: bhyve's block_if, with its test
blockif: build/test-blockif

build/test-blockif: $(sources_blockif) $(wildcard integrations/blockif/*.h) \
                    include/blkalign.h build/libblkalign.so
	$(call link_integration,blockif)
