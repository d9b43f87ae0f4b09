# The library: Cargo builds it, this gives it its name. And what is made of its
# source: the header and the manual pages of its functions.

SONAME := libblkalign.so.0
SHARED := libblkalign.so.$(VERSION)

# Both kinds at once, without an rlib beside them, which would switch LTO off.
# The list of libraries that a static link needs comes from rustc.
NATIVE_LIBS := $(abspath $(TARGET))/native-static-libs

# `sudo make install` often finds no cargo: it takes what was built before.
build/cargo: FORCE
	@mkdir -p build
	@command -v $(CARGO) >/dev/null || { [ -e $@ ] && \
	    echo 'no $(CARGO) here: taking the libraries that are in build/'; } \
	    || { echo 'no $(CARGO) here: install Rust' >&2; exit 1; }
	! command -v $(CARGO) >/dev/null || $(CARGO) rustc --locked --release --lib --target-dir $(TARGET) \
	    --crate-type cdylib,staticlib -- \
	    -C link-arg=-Wl,-soname,$(SONAME) \
	    --print native-static-libs=$(NATIVE_LIBS)
	@! [ -e $(TARGET)/release/libblkalign.so ] || \
	    cmp -s $(TARGET)/release/libblkalign.so build/$(SHARED) || touch $@

build/$(SHARED): build/cargo
# By another name first: a program that runs has the old one mapped.
	cp $(TARGET)/release/libblkalign.so $@.new && mv -f $@.new $@

# Without the symbols of Rust's own libraries, which another library may bring.
build/libblkalign.a: build/cargo scripts/hide-symbols
	scripts/hide-symbols $(TARGET)/release/libblkalign.a $@

build/libblkalign.so: build/$(SHARED)
	ln -sf $(SHARED) build/$(SONAME)
	ln -sf $(SONAME) $@

# A C compiler links gcc's own libraries and libc by itself, each in the kind
# that fits: naming -lgcc_s would break `cc -static`.
build/blkalign.pc: pkgconfig/blkalign.pc.in build/cargo FORCE
	sed -e 's|@prefix@|$(prefix)|' \
	    -e 's|@libdir@|$(patsubst $(prefix)/%,$${prefix}/%,$(libdir))|' \
	    -e 's|@includedir@|$(patsubst $(prefix)/%,$${prefix}/%,$(includedir))|' \
	    -e 's|@version@|$(VERSION)|' \
	    -e "s|@libs_private@|$$(sed 's/-lgcc_s//; s/-lc$$//' $(NATIVE_LIBS))|" \
	    -e 's| *$$||' pkgconfig/blkalign.pc.in >$@

INSTALLED     += $(includedir)/blkalign.h $(libdir)/$(SHARED) \
                 $(libdir)/$(SONAME) $(libdir)/libblkalign.so \
                 $(libdir)/libblkalign.a $(libdir)/pkgconfig/blkalign.pc
INSTALL_PARTS += install-library

.PHONY: install-library header man
install-library: build/libblkalign.so build/libblkalign.a build/blkalign.pc
	$(INSTALL) -d $(DESTDIR)$(includedir) $(DESTDIR)$(libdir)/pkgconfig
	$(INSTALL) -m 644 include/blkalign.h $(DESTDIR)$(includedir)
	$(INSTALL) -m 755 build/$(SHARED) $(DESTDIR)$(libdir)
	ln -sf $(SHARED) $(DESTDIR)$(libdir)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(libdir)/libblkalign.so
	$(INSTALL) -m 644 build/libblkalign.a $(DESTDIR)$(libdir)
	$(INSTALL) -m 644 build/blkalign.pc $(DESTDIR)$(libdir)/pkgconfig
	$(if $(DESTDIR),,$(if $(SYSTEM_LIBDIR),-ldconfig))

### The library's source
## header: include/blkalign.h anew from src/header, src/capi
header:
	$(CARGO) run --locked --quiet -p abi-test --bin header \
	    --target-dir $(TARGET)

## man: the manual pages of section 3 anew from src/header, src/capi
man:
	$(CARGO) run --locked --quiet -p abi-test --bin man \
	    --target-dir $(TARGET)
