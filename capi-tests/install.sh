#!/bin/bash
# What `make install` puts in place works through pkg-config, in C and C++,
# with the shared and the static library; `make uninstall` leaves nothing.
. "$(dirname "$0")/common.sh"

# Programs link what was installed here, never what was installed elsewhere.
make_quietly() {
    env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u DESTDIR \
        make -C "$root" --no-print-directory CC="$CC" CXX="$CXX" "$@"
}

cat >"$work/program.c" <<'END'
#include <blkalign.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    blkalign_handle *disk = NULL;

    options.request_alignment = 3;
    if (blkalign_open("/dev/null", &options, &disk) != -EINVAL || disk)
        return 1;
    if (!strstr(blkalign_errmsg(), "power of two"))
        return 2;
    puts(blkalign_version());
    return 0;
}
END
cp "$work/program.c" "$work/program.cc"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)

# Compiles the program; $1 dynamic, static-lib or static; $2 c or cc.
compile() {
    local kind=$1 language=$2 compiler=$CC flags=$strict_c libs
    [ "$language" = c ] || { compiler=$CXX; flags=$strict_cxx; }
    flags="$flags $(pkg-config --cflags blkalign)" || return
    case $kind in
        dynamic) libs=$(pkg-config --libs blkalign) ;;
        static-lib)
            libs="-Wl,-Bstatic $(pkg-config --libs blkalign) -Wl,-Bdynamic
                  $(pkg-config --static --libs-only-l blkalign |
                    sed 's/-lblkalign//')" ;;
        static) libs="-static $(pkg-config --static --libs blkalign)" ;;
    esac
    $compiler $flags "$work/program.$language" -o "$work/program" $libs
}

# What the linker took must match the kind.
runs() {
    local library=$1 kind=$2
    if [ "$kind" = dynamic ]; then
        readelf -d "$work/program" | grep -qF '[libblkalign.so.0]' || return
        [ "$(LD_LIBRARY_PATH=$library "$work/program")" = "$version" ]
    else
        ! readelf -d "$work/program" | grep -qF '[libblkalign' || return
        [ "$("$work/program")" = "$version" ]
    fi
}

# $1 what it is called, $2 the directory of the libraries.
programs() {
    local kind language
    for language in c cc; do
        for kind in dynamic static-lib static; do
            check "$1: .$language compiles, $kind" compile $kind $language
            check "$1: .$language runs, $kind" runs "$2" $kind
        done
    done
}

pkg_config_version() {
    [ "$(pkg-config --modversion blkalign)" = "$version" ]
}

tools_run() {
    local tool
    for tool in "$root"/tools/*.c "$root"/tools/*/main.c; do
        [ -e "$tool" ] || continue
        [ "${tool##*/}" != main.c ] || tool=${tool%/main.c}
        tool=$1/$(basename "$tool" .c)
        LD_LIBRARY_PATH=$2 "$tool" --help || return
        ! readelf -d "$tool" | grep -F "$root" || return
    done
}

# $1 the prefix: what has a page is there, and what is there has one.
pages_and_programs() {
    local page name program missing=0
    for page in "$1"/share/man/man1/*; do
        name=$(basename "$page" .1)
        [ -x "$1/bin/$name" ] || { echo "$page: no $name"; missing=1; }
    done
    for program in "$1"/bin/*; do
        name=$(basename "$program")
        [ -e "$1/share/man/man1/$name.1" ] ||
            { echo "$program: no page"; missing=1; }
    done
    return $missing
}

# The same of functions and structs; $2 the directory of the libraries. The page
# blkalign(3) lists them.
pages_and_functions() {
    nm -D --defined-only "$2/libblkalign.so" | sed 's/.* //' |
        grep '^blkalign_' >"$work/names"
    sed -n 's/^typedef struct \(blkalign_[a-z_]*\) {$/\1/p' \
        "$1/include/blkalign.h" >>"$work/names"
    echo blkalign >>"$work/names"
    [ "$(wc -l <"$work/names")" -gt 40 ] || return
    (cd "$1/share/man/man3" && ls) | sed 's/\.3$//' |
        diff - <(sort "$work/names")
}

# $1 where documents are: those that somebody needs who has no source tree, and
# examples that compile with what was installed.
documents() {
    local document example
    for document in README.md GUARANTEES.md PORTING.md; do
        [ -s "$1/$document" ] || { echo "no $document"; return 1; }
    done
    # Those in Rust come with the crate.
    (cd "$root/examples" && ls -- *.[ch]) | diff - <(cd "$1/examples" && ls) || return
    for example in "$1"/examples/*.c; do
        # shellcheck disable=SC2046
        $CC $strict_c "$example" -o "$work/example" \
            $(pkg-config --cflags --libs blkalign) -lpthread || return
    done
}

daemon_and_page() {
    [ -e "$1/bin/blkalign-vhost-user-blk" ] &&
        [ -e "$1/share/man/man1/blkalign-vhost-user-blk.1" ]
}
no_daemon() {
    [ -z "$(find "$1" -name 'blkalign-vhost*')" ]
}

nothing_left() {
    local left
    left=$(find "$1" ! -type d; find "$1" -path '*/doc/blkalign*')
    echo "$left"
    [ -z "$left" ]
}

# A copy for a package, as a distribution makes it.
stage=$work/stage
touch "$work/blkalign-vhost-user-blk"
check "make install DESTDIR= prefix=/usr, with the daemon" \
    make_quietly install DESTDIR="$stage" prefix=/usr \
    VHOST_DAEMON="$work/blkalign-vhost-user-blk"
export PKG_CONFIG_SYSROOT_DIR=$stage
export PKG_CONFIG_LIBDIR=$stage/usr/lib/pkgconfig
check "DESTDIR: pkg-config knows the version" pkg_config_version
programs DESTDIR "$stage/usr/lib"
check "DESTDIR: tools run" tools_run "$stage/usr/bin" "$stage/usr/lib"
check "DESTDIR: each program has a page, each page a program" \
    pages_and_programs "$stage/usr"
check "DESTDIR: the daemon and its page are there" \
    daemon_and_page "$stage/usr"
check "DESTDIR: each function and struct has a page, and each page one" \
    pages_and_functions "$stage/usr" "$stage/usr/lib"
check "DESTDIR: documents are there, and examples compile" \
    documents "$stage/usr/share/doc/blkalign"
check "make uninstall DESTDIR= prefix=/usr" \
    make_quietly uninstall DESTDIR="$stage" prefix=/usr
check "DESTDIR: uninstall leaves nothing" nothing_left "$stage"

# A place of its own, with a directory of libraries as Debian has it.
place=$work/place
libdir=$place/lib/x86_64-linux-gnu
unset PKG_CONFIG_SYSROOT_DIR
export PKG_CONFIG_LIBDIR=$libdir/pkgconfig
check "make install prefix= libdir=, without the daemon" \
    make_quietly install prefix="$place" libdir="$libdir" \
    VHOST_DAEMON="$work/never-built/blkalign-vhost-user-blk"
check "prefix: pkg-config knows the version" pkg_config_version
programs prefix "$libdir"
check "prefix: tools find the library by themselves" \
    tools_run "$place/bin" ""
check "prefix: each program has a page, each page a program" \
    pages_and_programs "$place"
check "prefix: no page of a daemon that is not there" no_daemon "$place"
touch "$libdir/somebody-elses"
check "make uninstall prefix= libdir=" \
    make_quietly uninstall prefix="$place" libdir="$libdir"
check "prefix: uninstall leaves what is not its own" \
    test -e "$libdir/somebody-elses"
rm -f "$libdir/somebody-elses"
check "prefix: uninstall leaves nothing" nothing_left "$place"

done_testing
