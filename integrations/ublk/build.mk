# blkalign-ublk: block devices by Linux's ublk. A workspace of its own for
# Cargo, whose crates nobody else needs; `make install` takes the program along
# if it was built.

UBLK_SERVER = build/tools/blkalign-ublk
UBLK_PAGE   = docs/man/$(notdir $(UBLK_SERVER)).1
INSTALLED  += $(bindir)/$(notdir $(UBLK_SERVER)) $(call man_path,$(UBLK_PAGE))
# What Cargo makes of this one, apart from the other workspace's. Not --locked:
# what the library depends on stands in the lock files of both.
UBLK_CARGO  = $(CARGO) $(1) --manifest-path integrations/ublk/Cargo.toml \
                  --target-dir $(TARGET)/ublk $(if $(HAVE_NBD),--features nbd)

.PHONY: ublk install-ublk check-ublk bench-ublk ublk-deb
## ublk: blkalign-ublk, block devices for this machine's own programs
ublk:
	@mkdir -p build/tools
	$(call UBLK_CARGO,build) --release
	cp $(TARGET)/ublk/release/blkalign-ublk build/tools/

# Goes with the tools.
install-tools: install-ublk
install-ublk:
	@if [ -e $(UBLK_SERVER) ]; then \
	    $(INSTALL) -D -m 755 $(UBLK_SERVER) \
	        $(DESTDIR)$(bindir)/$(notdir $(UBLK_SERVER)) && \
	    $(INSTALL) -D -m 644 $(UBLK_PAGE) \
	        $(DESTDIR)$(call man_path,$(UBLK_PAGE)); \
	else \
	    echo 'no $(notdir $(UBLK_SERVER)): make ublk builds it'; \
	fi

## check-ublk: lint and test it, at last in a guest with Linux 6.12; minutes
check-ublk: ublk $(NBD_SERVER)
	$(CARGO) fmt --manifest-path integrations/ublk/Cargo.toml --check
	$(call UBLK_CARGO,clippy) --all-targets -- -D warnings
	$(call UBLK_CARGO,test)
	BLKALIGN_BUILD=$(CURDIR)/build $(PROVE) --exec '' \
	    integrations/ublk/check.sh

## bench-ublk: its speed in that guest, beside NBD and a loop device
bench-ublk: ublk $(NBD_SERVER)
	BLKALIGN_BUILD=$(CURDIR)/build BENCH=1 TESTS=sizes \
	    integrations/ublk/check.sh

## ublk-deb: a Debian package of it, in build/deb/
ublk-deb: ublk
	integrations/ublk/deb.sh
