#!/bin/bash
# scripts/setup asks for what is missing, and takes nothing else for it; as root
# it says what it installs, and how, before it does. It sees a system of our
# making: only the programs that are named here.

. "$(dirname "$0")/common.sh"

system=$work/bin
mkdir "$system"
for program in gcc cc g++ c++ nm readelf objdump make pkg-config perl prove cargo \
    sed sort tail grep; do
    ln -s "$(command -v "$program" || echo /bin/true)" "$system/$program"
done
fake() {
    cat >"$system/$1"
    chmod +x "$system/$1"
}
# Without root it installs nothing, and says what it would.
fake id <<<'#!/bin/sh
echo 1000'
# As dpkg-query -W -f FORMAT PATTERN answers to the two questions that there are.
fake dpkg-query <<'END'
#!/bin/bash
found=1
while read -r package; do
    # shellcheck disable=SC2053
    [[ $package = $4 ]] || continue
    case $3 in
        *Package*) echo "installed $package" ;;
        *) printf installed ;;
    esac
    found=0
done <"${0%/*}/../packages"
exit $found
END

# setup STATUS PATTERN: what it ends with, and what the line it prints has.
setup() {
    local status=0
    PATH=$system /bin/bash "$root/scripts/setup" >"$work/setup" 2>&1 || status=$?
    cat "$work/setup"
    [ $status -eq "$1" ] && grep -q -e "$2" "$work/setup"
}
needs() { setup 1 " install .*$1"; }
does_not_need() { ! needs "$1"; }
packages() { printf '%s\n' "$@" >"$work/packages"; }

# Another library of a name like libclang's lies on the disk of every machine
# that has LLVM.
packages libclang-cpp14 libclang-common-14-dev
check "libclang-cpp is not libclang" needs 'libclang1-14'
packages libclang1-14
check "libclang alone lacks its headers" needs 'libclang-common-14-dev'
packages libclang1-14 libclang-common-14-dev libclang1-16
check "the newest libclang wants its own headers" needs 'libclang-common-16-dev'
packages libclang1-14 libclang-common-14-dev
check "optional packages are told, and are no failure" setup 0 'install .*fio'
rm "$system/nm"
check "a program that is not there is asked for" needs 'binutils'
check "what is there is not asked for" does_not_need 'libclang'

rm "$system/dpkg-query"
fake ldconfig <<<'#!/bin/sh
echo "        libclang-cpp.so.14 (libc6,x86-64) => /usr/lib/libclang-cpp.so.14"'
check "without dpkg libclang-cpp is not libclang, either" needs 'libclang1-14'
fake ldconfig <<<'#!/bin/sh
echo "        libclang-14.so.1 (libc6,x86-64) => /usr/lib/libclang-14.so.1"'
check "without dpkg libclang is what ld.so finds" does_not_need 'libclang'

# As root, on a system that has all that is needed again, and little else.
ln -s "$(command -v nm || echo /bin/true)" "$system/nm"
fake id <<<'#!/bin/sh
echo 0'
fake apt-get <<END
#!/bin/sh
echo "ran: apt-get \$*" >>"$work/order"
END
# The packages of one line each, so that lines can be compared.
packages_in() {
    sed -n "s/.* --no-install-recommends //; ${2}p" "$1" | tr ' ' '\n' | sort
}
says_what_and_how_before() {
    : >"$work/order"
    PATH=$system /bin/bash "$root/scripts/setup" >>"$work/order" 2>&1 || return
    cat "$work/order"
    # One line, the first; what is run after it is what it says.
    head -n 1 "$work/order" | grep -q \
        '^setup: .* apt-get install .*--no-install-recommends .*fio' || return
    [ "$(grep -c '^setup:' "$work/order")" -eq 1 ] || return
    grep '^ran: apt-get install ' "$work/order" >"$work/ran"
    diff <(packages_in "$work/order" 1) <(packages_in "$work/ran" '1,$')
}
check "as root it says what it installs, and how, before it does" \
    says_what_and_how_before
rm "$system/nm"
check "what is needed is in that line, too" says_what_and_how_before

# A program for each that setup may look for, and a pkg-config that has all.
sed -n 's/^    [a-z+0-9-]\+  *\([a-z].*\)/\1/p' "$root/scripts/setup" |
    tr ' ' '\n' | grep -v ':' | while read -r program; do
        [ -e "$system/$program" ] || ln -s /bin/true "$system/$program"
    done
ln -sf /bin/true "$system/pkg-config"
fake ldconfig <<<'#!/bin/sh
echo "        libclang-14.so.1 (libc6,x86-64) => /usr/lib/libclang-14.so.1"
echo "        librbd.so.1 (libc6,x86-64) => /usr/lib/librbd.so.1"'
does_nothing() {
    : >"$work/order"
    PATH=$system /bin/bash "$root/scripts/setup" >>"$work/order" 2>&1 || return
    cat "$work/order"
    [ ! -s "$work/order" ]
}
check "where all is there it says nothing and runs nothing" does_nothing
done_testing
