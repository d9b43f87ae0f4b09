# The daemon: a program in Rust on the C interface, with the library in it.
# Built when asked for, for its crates; `make install` takes it along if it was.

VHOST_DAEMON = build/tools/blkalign-vhost-user-blk
# A page for each program: the daemon's goes with the daemon.
VHOST_PAGE   = docs/man/$(notdir $(VHOST_DAEMON)).1
INSTALLED   += $(bindir)/$(notdir $(VHOST_DAEMON)) \
               $(call man_path,$(VHOST_PAGE))

.PHONY: vhost-user-blk install-vhost-user-blk soak-vhost-user bench-guest
VHOST_FEATURES = $(if $(RBD),--features rbd) $(if $(HAVE_NBD),--features nbd)
## vhost-user-blk: blkalign-vhost-user-blk; RBD=yes: for images of Ceph, too
vhost-user-blk:
	@mkdir -p build/tools
	$(CARGO) build --locked --release -p blkalign-vhost-user-blk \
	    --target-dir $(TARGET) $(VHOST_FEATURES)
	cp $(TARGET)/release/blkalign-vhost-user-blk build/tools/

# Goes with the tools.
install-tools: install-vhost-user-blk
install-vhost-user-blk:
	@if [ -e $(VHOST_DAEMON) ]; then \
	    $(INSTALL) -D -m 755 $(VHOST_DAEMON) \
	        $(DESTDIR)$(bindir)/$(notdir $(VHOST_DAEMON)) && \
	    $(INSTALL) -D -m 644 $(VHOST_PAGE) \
	        $(DESTDIR)$(call man_path,$(VHOST_PAGE)); \
	else \
	    echo 'no $(notdir $(VHOST_DAEMON)): make vhost-user-blk builds it'; \
	fi

## soak-vhost-user: hostile frontends at the daemon, SECONDS=60
soak-vhost-user:
	BLKALIGN_VHOST_SECONDS=$(SECONDS) $(CARGO) test --locked --release \
	    --target-dir $(TARGET) -p blkalign-vhost-user-blk \
	    --test fuzz_frontends -- --nocapture

## bench-guest: the daemon beside QEMU's in a guest, as root
bench-guest: vhost-user-blk
	CC='$(CC)' BLKALIGN_BUILD=$(CURDIR)/build proof/guest/bench.sh
