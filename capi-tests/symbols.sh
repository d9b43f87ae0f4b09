#!/bin/bash
# The shared library exports the functions of the header and nothing else, is
# called what programs will look for, and needs the C library only.
. "$(dirname "$0")/common.sh"

library=$build/libblkalign.so

# A declaration begins in the first column and is no typedef.
"$CC" -std=c99 -E -P -I"$root/include" -include blkalign.h -x c /dev/null |
    grep -oE '^[a-z][^;]*\b(blkalign_[a-z_0-9]+)\(' | grep -v '^typedef' |
    grep -oE 'blkalign_[a-z_0-9]+\($' | tr -d '(' | sort >"$work/declared"
nm -D --defined-only "$library" | awk '{ print $3 }' | sort >"$work/exported"

# The header has functions at all: the comparison is not of two empty lists.
check "the header declares functions" test "$(wc -l <"$work/declared")" -ge 20
check "exported symbols are the header's functions" \
    diff "$work/declared" "$work/exported"
sed -n 's/^ \(.*\)@Base .*/\1/p' "$root/packaging/debian/libblkalign0.symbols" |
    sort >"$work/packaged"
check "packaging/debian/libblkalign0.symbols lists them" \
    diff "$work/packaged" "$work/exported"

soname() {
    readelf -d "$library" | grep -F 'Library soname: [libblkalign.so.0]'
}
check "the soname is libblkalign.so.0" soname

only_system_libraries() {
    ! readelf -d "$library" | sed -n 's/.*Shared library: \[\(.*\)\]/\1/p' |
        grep -vE '^(libc|libgcc_s|libm|libdl|libpthread|librt|ld-linux.*)\.so'
}
check "it needs the C library only" only_system_libraries

# Of Debian 11 (glibc 2.31) it needs no symbol that is not there: these were in
# other libraries then, or in what is linked in.
in_glibc_2_31() {
    ! objdump -T "$library" | grep -F '*UND*' |
        grep -oE 'GLIBC_2\.(3[2-9]|[4-9][0-9])\)? +[^ ]*$' |
        grep -vE ' (pthread_[a-z_]*|dlsym|f?stat(64)?)$'
}
check "it can be built and run with glibc 2.31" in_glibc_2_31

no_executable_stack() {
    readelf -lW "$library" | grep GNU_STACK | grep -vq RWE
}
check "its stack is not executable" no_executable_stack

done_testing
