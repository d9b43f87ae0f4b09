#!/bin/bash
# libblkalign.a shows the functions of the header and nothing else, so it links
# beside another static library made in Rust. And two copies of the library in
# one process, this one and the shared one, do not open one object.
. "$(dirname "$0")/common.sh"

library=$build/libblkalign.a
libs=$(sed -n 's/^Libs.private: //p' "$build/blkalign.pc")

nm --extern-only --defined-only "$library" 2>/dev/null | awk 'NF == 3 { print $3 }' |
    sort >"$work/static"
nm -D --defined-only "$build/libblkalign.so" | awk '{ print $3 }' | sort >"$work/shared"
check "the static library has functions" test "$(wc -l <"$work/static")" -ge 20
check "it shows what the shared one does" diff "$work/shared" "$work/static"

cat >"$work/other.rs" <<'END'
#[no_mangle]
pub extern "C" fn other() -> i32 {
    std::panic::set_hook(Box::new(|_| ()));
    std::panic::catch_unwind(|| panic!("caught")).is_err() as i32
}
END
cat >"$work/beside.c" <<'END'
#include <blkalign.h>
#include <errno.h>

int other(void);

int main(int argc, char **argv)
{
    blkalign_handle *disk;
    char byte = 0;

    if (argc != 2 || other() != 1 || blkalign_open(argv[1], NULL, &disk) != 0)
        return 1;
    if (blkalign_pread(disk, 3, 1, &byte, 0) != 0 || byte != 'd')
        return 2;
    if (blkalign_pread(disk, -1, 1, &byte, 0) != -EINVAL)
        return 3;
    return blkalign_close(disk);
}
END
printf 'abcd' >"$work/disk"

# $1 $2: the two libraries, in the order of linking.
link_beside() {
    "$CC" $strict_c -I"$root/include" "$work/beside.c" "$1" "$2" $libs \
        -o "$work/beside"
}

if command -v rustc >/dev/null; then
    check "another static library in Rust is built" rustc --crate-type staticlib \
        -C opt-level=1 -o "$work/libother.a" "$work/other.rs"
    check "both link" link_beside "$library" "$work/libother.a"
    check "and work, with panics of both caught" "$work/beside" "$work/disk"
    check "both link the other way round" link_beside "$work/libother.a" "$library"
    check "and work as well" "$work/beside" "$work/disk"
else
    skip "it links beside another library in Rust" "rustc is missing"
fi

cat >"$work/copies.c" <<'END'
#include <blkalign.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

typedef int (*open_fn)(const char *, const blkalign_open_options *,
                       blkalign_handle **);
typedef int (*close_fn)(blkalign_handle *);
typedef const char *(*errmsg_fn)(void);

static int warnings;

static void hook(void *opaque, int level, const char *message)
{
    (void)opaque;
    if (level == BLKALIGN_LOG_WARNING && strstr(message, "2 copies"))
        warnings++;
}

int main(int argc, char **argv)
{
    blkalign_handle *mine, *again, *theirs;
    open_fn their_open;
    close_fn their_close;
    errmsg_fn their_errmsg;
    void *plugin;

    if (argc != 4 || blkalign_set_log(hook, NULL, BLKALIGN_LOG_WARNING))
        return 1;
    if (blkalign_open(argv[2], NULL, &mine) != 0 || warnings)
        return 2;
    plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!plugin)
        return fprintf(stderr, "%s\n", dlerror()), 3;
    *(void **)&their_open = dlsym(plugin, "blkalign_open");
    *(void **)&their_close = dlsym(plugin, "blkalign_close");
    *(void **)&their_errmsg = dlsym(plugin, "blkalign_errmsg");
    if (their_open == blkalign_open)
        return 4;
    /* Refused while the program has it, also when a handle of two is left. */
    if (their_open(argv[2], NULL, &theirs) != -EBUSY)
        return 5;
    if (!strstr(their_errmsg(), "another copy of libblkalign"))
        return 6;
    if (blkalign_open(argv[2], NULL, &again) != 0 || !warnings)
        return 7;
    if (blkalign_close(mine) || their_open(argv[2], NULL, &theirs) != -EBUSY)
        return 8;
    /* Another object is nobody's business, the other way round neither. */
    if (their_open(argv[3], NULL, &theirs) || blkalign_close(again))
        return 9;
    if (blkalign_open(argv[3], NULL, &mine) != -EBUSY || their_close(theirs))
        return 10;
    if (blkalign_open(argv[3], NULL, &mine) || blkalign_close(mine))
        return 11;
    /* A copy that is gone has nothing. */
    if (their_open(argv[2], NULL, &theirs) || their_close(theirs))
        return 12;
    return 0;
}
END
printf 'efgh' >"$work/second"
link_copies() {
    "$CC" -std=gnu99 -Wall -Wextra -Werror -I"$root/include" "$work/copies.c" \
        "$library" $libs -ldl -o "$work/copies"
}
check "a program with a copy of its own is built" link_copies
check "two copies in a process refuse each other's objects" "$work/copies" \
    "$build/libblkalign.so" "$work/disk" "$work/second"

done_testing
