# The library on storages of all kinds, in guests with kernels of users: see
# docs/STORAGES.md.

.PHONY: check-storage check-storage-small storages

# What a guest runs is built here first.
STORAGE_RUN = CC='$(CC)' BLKALIGN_BUILD=$(CURDIR)/build proof/storage/run.sh
STORAGE_NEEDS = build/libblkalign.so build/tools/blkalign-info \
                build/storage/blkalign-torture $(TESTS)

# Without the libraries of remote storage: guests have none of them, and load
# them slowly.
build/storage/blkalign-torture: $(wildcard tools/blkalign-torture/*.c) \
                                $(wildcard tools/common/*.c) $(TOOL_HEADERS) \
                                include/blkalign.h build/libblkalign.so
	@mkdir -p $(@D)
	$(CC) $(TOOL_CFLAGS) $(filter %.c,$^) -o $@ $(OUR_LDFLAGS) $(LIBS)
SMALL = nvme-4096,dm-crypt-4k,lvm-thin,nfs-4.2,null-blk-4096

# Quick, and needs no guest: in `make check-c`.
TEST_SCRIPTS += proof/storage/verdict.t

### Storages and kernels
## check-storage: STORAGE=a,b (all) on KERNEL=6.1 (5.10, 6.12, newest), in a guest
check-storage: $(STORAGE_NEEDS)
	STORAGE='$(STORAGE)' KERNEL='$(KERNEL)' $(STORAGE_RUN)

## check-storage-small: five storages on Linux 6.1, in some minutes
check-storage-small: $(STORAGE_NEEDS)
	STORAGE='$(SMALL)' KERNEL=6.1 $(STORAGE_RUN)

## storages: docs/STORAGES.md anew, from the results of check-storage
storages:
	proof/storage/table.sh build/storage/results proof/storage/results \
	    docs/STORAGES.md
