# block_if on libblkalign, bhyve's and ACRN's, and their tests.

INTEGRATIONS      += blockif
INTEGRATION_TESTS += build/test-bhyve build/test-acrn
blockif_all       := integrations/blockif/blockif_disk.c
blockif_bhyve     := integrations/blockif/bhyve/block_if.c \
                     integrations/blockif/test-bhyve.c
blockif_acrn      := integrations/blockif/acrn/block_if.c \
                     integrations/blockif/test-acrn.c
# Each has a block_if.h of its own. drive-acrn.c wants ACRN's headers.
cflags_bhyve      := -Iintegrations/blockif -Iintegrations/blockif/bhyve
cflags_acrn       := -Iintegrations/blockif -Iintegrations/blockif/acrn \
                     -Iintegrations/blockif/acrn/stub
sources_bhyve     := $(blockif_all) $(blockif_bhyve)
sources_acrn      := $(blockif_acrn)
INTEGRATIONS      += bhyve acrn

## blockif: block_if of bhyve and of ACRN, with their tests
blockif: bhyve acrn
bhyve: build/test-bhyve
acrn: build/test-acrn

.PHONY: check-blockif
## check-blockif: them, with the source of ACRN or of FreeBSD 12 in SOURCE
check-blockif:
	integrations/blockif/check $(SOURCE)

blockif_headers := $(wildcard integrations/blockif/*.h \
                   integrations/blockif/*/*.h integrations/blockif/*/*/*.h)

build/test-bhyve: $(blockif_all) $(blockif_bhyve) $(blockif_headers) \
                  include/blkalign.h build/libblkalign.so
	$(call link_integration,bhyve)
build/test-acrn: $(blockif_all) $(blockif_acrn) $(blockif_headers) \
                 include/blkalign.h build/libblkalign.so
	$(call link_integration,acrn)
