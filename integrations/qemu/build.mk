# QEMU's block driver, and its test: compiled against a very small QEMU of stubs.

INTEGRATIONS      += qemu
INTEGRATION_TESTS += build/test-qemu
sources_qemu      := $(wildcard integrations/qemu/*.c)
cflags_qemu       := -Iintegrations/qemu/stub

## qemu: QEMU's block driver, with its test
qemu: build/test-qemu

.PHONY: check-qemu
## check-qemu: it, in the tools of QEMU 10.0 whose source is SOURCE
check-qemu:
	integrations/qemu/check $(SOURCE)

build/test-qemu: $(sources_qemu) $(wildcard integrations/qemu/stub/*.[ch]) \
                 $(wildcard integrations/qemu/stub/*/*.h) \
                 include/blkalign.h build/libblkalign.so
	$(call link_integration,qemu)
