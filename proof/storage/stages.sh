# In the guest: what is done with each bed, in the order of one_bed, and how it
# is told. Sourced by guest.sh.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

# tell KEY WORDS...
tell() { echo "$bed $*" >&3; }

step() { tell step "$(cut -d ' ' -f 1 /proc/uptime) $*"; }

# number NAME <JSON, word NAME <JSON
number() { sed -n "s/^ *\"$1\": \([0-9]*\),*$/\1/p"; }
word() { sed -n "s/^ *\"$1\": \"\(.*\)\",*$/\1/p"; }

# All in one line: the alignments, whence they are, engine, discard. Through the
# page cache where there is no direct I/O.
claim() {
    local json
    json=$(timeout 60 blkalign-info --json "$path" 2>&1)
    if grep -q 'no O_DIRECT' <<<"$json"; then
        buffered=buffered
        json=$(timeout 60 blkalign-info --buffered --json "$path" 2>&1)
    fi
    request=$(number request_alignment <<<"$json")
    memory=$(number mem_alignment <<<"$json")
    segment=$(number segment_alignment <<<"$json")
    [ -n "$request" ] ||
        { tell bad "info: $(word error <<<"$json") $json"; return 1; }
    tell claim "request $request memory $memory segment $segment by" \
        "$(word request_alignment_source <<<"$json")" \
        "$(word mem_alignment_source <<<"$json")" \
        "$(word segment_alignment_source <<<"$json")" \
        "engine $(word engine <<<"$json")" \
        "discard $(number discard_alignment <<<"$json")"
}

trial() {
    local line
    step "trial $*"
    while read -r line; do
        case $line in
            true:*) tell true "${line#true: }" ;;
            wrong:*) tell wrong "${line#wrong: }" ;;
            *) tell untried "${line#trial: }" ;;
        esac
    done < <(timeout 300 trial "$path" 1048576 "$@")
}

# verdict NAME STATUS FILE: from the TAP that a program has written
verdict() {
    local first
    first=$(grep -E -m 1 '^(not ok|Bail)' "$3")
    if [ "$2" = 124 ]; then
        tell bad "$1: not over in time, after: $(tail -n 1 "$3")"
    elif [ -n "$first" ]; then
        tell bad "$1: $(grep -cE '^not ok' "$3") of $(grep -cE \
            '^(not )?ok' "$3"): $(cut -c 1-240 <<<"$first")"
        # Each by itself: a known fault is not to hide another.
        grep -E '^not ok' "$3" | sed -n '2,8p' | cut -c 1-240 |
            while read -r first; do tell bad "$1: also $first"; done
    elif [ "$2" != 0 ]; then
        tell bad "$1: exit status $2: $(tail -n 1 "$3" | cut -c 1-240)"
    else
        tell ok "$1: $(grep -cE '^ok' "$3"), skipped $(grep -ciE \
            '^ok .*# SKIP' "$3")"
    fi
}

torture() {
    local engine status
    for engine in threads io_uring; do
        step "torture $engine"
        timeout 400 blkalign-torture --destroy-data -a blkalign \
            -o engine=$engine${buffered:+,buffered} --rounds $rounds \
            --timeout 90 "$path" >/tmp/out 2>&1
        status=$?
        # What the library refuses with a reason is a limit of that storage.
        if [ $status = 3 ] && grep -q 'no io_uring' /tmp/out; then
            tell refused "$(grep -m 1 'no io_uring' /tmp/out | cut -c 1-160)"
        else
            verdict "torture, $engine" $status /tmp/out
        fi
    done
}

run_tests() {
    local name
    export BLKALIGN_TEST_BED=${directory:-$path} BLKALIGN_TEST_SLOW=$slow \
        BLKALIGN_TORTURE_SECONDS=2 TMPDIR=/tmp
    for name in ${tests//,/ }; do
        step "$name"
        timeout 300 $name >/tmp/out 2>&1
        verdict "$name" $? /tmp/out
    done
}

# complaints KEY: a kernel's own words of distress
complaints() {
    local words='BUG:|Oops|WARNING:|general protection|INFO: task|Bad page'
    words+='|list_(add|del) corruption|stack guard|UBSAN|KASAN'
    dmesg | grep -E "$words" | head -n 3 | cut -c 1-160 |
        while read -r line; do
            tell $1 "$line"
        done
}

# The bed's own file says what is special about it; see beds/README.
one_bed() {
    local path='' directory='' liar='' readonly='' megabytes=16 buffered=''
    local request memory segment
    tell begin "$(uname -r)"
    step make
    make() { false; }
    unmake() { :; }
    more() { :; }
    . "$programs/beds/$1"
    if make; then
        step info
        if claim; then
            [ -n "$liar$readonly" ] || trial
            [ -n "$readonly$only" ] || { torture; run_tests; }
            step more
            [ -n "$only" ] || more
            complaints oops
            dmesg -C
            [ -z "$liar" ] || [ -n "$only" ] || trial
        fi
    fi
    [ -n "$liar" ] && complaints below || complaints oops
    step unmake
    cd /
    unmake >/tmp/said 2>&1
    tell end "$(cut -d ' ' -f 1 /proc/uptime)"
}
