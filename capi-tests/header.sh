#!/bin/bash
# <blkalign.h> compiles by itself, in C99 and C++11, without one warning, and
# so do the INIT macros.
. "$(dirname "$0")/common.sh"

cat >"$work/alone.c" <<'END'
#include <blkalign.h>
#include <blkalign.h>
extern const char *(*version)(void);
const char *(*version)(void) = blkalign_version;

static void hear(void *opaque, int level, const char *message)
{
    *(const char **)opaque = level == BLKALIGN_LOG_ERROR ? message : "";
}
extern blkalign_log_fn hook;
blkalign_log_fn hook = hear;
extern int (*set_log)(blkalign_log_fn fn, void *opaque, int level);
int (*set_log)(blkalign_log_fn fn, void *opaque, int level) =
    blkalign_set_log;
END

cat >"$work/init.c" <<'END'
#include <blkalign.h>

static blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
static blkalign_request request = BLKALIGN_REQUEST_INIT;
static blkalign_limits limits = BLKALIGN_LIMITS_INIT;
static blkalign_stats stats = BLKALIGN_STATS_INIT;
static blkalign_driver driver = BLKALIGN_DRIVER_INIT;

int main(void)
{
    blkalign_open_options local = BLKALIGN_OPEN_OPTIONS_INIT;

    local.flags = BLKALIGN_O_RDWR | BLKALIGN_O_DIRECT | BLKALIGN_O_LOCK;
    request.op = BLKALIGN_OP_READ;
    return options.size == sizeof(options) && local.size == options.size &&
           request.size == sizeof(request) && !request.cb &&
           limits.size == sizeof(limits) && !limits.engine &&
           stats.size == sizeof(stats) && !stats.in_flight &&
           driver.size == sizeof(driver) && !driver.aio_flush
               ? 0 : 1;
}
END
cp "$work/alone.c" "$work/alone.cc"
cp "$work/init.c" "$work/init.cc"

more="-Wshadow -Wundef -Wcast-qual -Wconversion -Wsign-conversion"
more_c="$more -Wstrict-prototypes -Wmissing-prototypes -Wredundant-decls"

try() {
    local compiler=$1 flags=$2
    check "$compiler: header alone: ${flags%% *}" $compiler $flags \
        -I"$root/include" -fsyntax-only "$work/alone.$3"
    check "$compiler: initialisers: ${flags%% *}" $compiler $flags \
        -I"$root/include" -o "$work/init" "$work/init.$3"
    check "$compiler: initialisers set size and zero the rest" "$work/init"
}

try "$CC" "$strict_c $more_c" c
try "$CXX" "$strict_cxx $more" cc
if command -v clang >/dev/null; then
    try clang "$strict_c $more_c" c
else
    skip "clang" "no clang here"
fi
done_testing
