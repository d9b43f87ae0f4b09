#!/bin/sh
# The trace points are in the shared library, as notes that bpftrace, perf and
# gdb read; the scripts in examples/trace name these and no others.
library=${BLKALIGN_BUILD:-build}/libblkalign.so
notes=$(mktemp)
trap 'rm -f "$notes"' EXIT
readelf --wide --notes "$library" >"$notes" 2>/dev/null

case $(uname -m) in
x86_64 | aarch64) ;;
*) echo "1..0 # SKIP no trace points on this machine"; exit ;;
esac

number=0
result() {
    number=$((number + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
    fi
}

# How many arguments a point has in each place, one number if all agree.
arguments() {
    awk -v name="$1" '
        /Provider:/ { ours = $NF == "blkalign" }
        /Name:/ { its = ours && $2 == name }
        /Arguments:/ && its { print NF - 1 }' "$notes" | sort -u | tr '\n' ' '
}

for point in request_begin=5 request_waits=2 request_end=5 io_begin=4 \
    io_end=5; do
    [ "$(arguments "${point%=*}")" = "${point#*=} " ]
    result $? "${point%=*} has ${point#*=} arguments"
done
for script in examples/trace/*.bt; do
    missing=
    # shellcheck disable=SC2013
    for point in $(sed -n 's/^usdt:$1:blkalign:\([a-z_]*\)$/\1/p' \
        "$script"); do
        grep -q "Name: $point\$" "$notes" || missing="$missing $point"
    done
    [ -z "$missing" ] && grep -q '^usdt:' "$script"
    result $? "$script names points that there are$missing"
done
echo "1..$number"
