# What became of a bed, from the lines that its guest told. Sourced by run.sh
# and table.sh.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

# setting NAME FILE: of a bed's file, which only sets and defines
setting() (
    local title='' must='' liar='' known='' devices=''
    . "$2"
    printf '%s' "${!1}"
)

# told KEY: the words of the first such line of $result
told() { sed -n "s/^$1 //p" "$result" | head -n 1; }

# value NAME WORDS...: the number behind that name
value() {
    local name=$1
    shift
    sed -n "s/.*\b$name \([0-9]*\).*/\1/p" <<<"$*"
}

# Numbers that are claimed smaller than what works; larger ones make it strict.
compare() {
    local name claimed needed
    strict=''
    for name in request memory segment; do
        claimed=$(value $name "$claim")
        needed=$(value $name "$true")
        [ -n "$claimed" ] && [ -n "$needed" ] || continue
        [ "$claimed" -ge "$needed" ] ||
            echo "claims $name $claimed, needs $needed"
        [ "$claimed" -le "$needed" ] || strict=1
    done
    [ -z "$must" ] || while read -r name needed; do
        [ "$(value "$name" "$claim")" = "$needed" ] ||
            echo "should claim $name $needed, claims $(value "$name" "$claim")"
    done < <(xargs -n 2 <<<"$must")
}

# A line of its own for each thing that is not as it should be
problems() {
    compare >"$scratch/compared"
    cat "$scratch/compared"
    [ -n "$claim" ] || echo 'no claim was made'
    grep -E '^(bad|oops) ' "$result"
    # A kernel that dies of the trial of a liar died of less than it claims.
    sed -n 's/^died /died in /p' "$result" |
        if [ -n "$liar" ]; then grep -v '^died in trial'; else cat; fi
}

# unknown KERNEL: of the problems, those that the bed's file does not tell;
# the words for the others in $words
unknown() {
    local kernel pattern said line
    words=''
    while IFS='|' read -r kernel pattern said; do
        [[ -n $pattern && $1 = $kernel ]] || continue
        # The pattern may hold a bar of its own only in brackets.
        grep -qE "$pattern" "$scratch/problems" || continue
        words=${words:+$words; }$said
        grep -vE "$pattern" "$scratch/problems" >"$scratch/left"
        mv "$scratch/left" "$scratch/problems"
    done <<<"$known"
}

# judge KERNEL BED RESULT: sets verdict (holds, strict, known, absent, FAILS),
# words, claim and true
judge() {
    local bed_file=$storage/beds/$2
    result=$3
    verdict='' words='' claim='' true=''
    [ -e "$result" ] || { verdict=untried; return; }
    must=$(setting must "$bed_file")
    liar=$(setting liar "$bed_file")
    known=$(setting known "$bed_file")
    claim=$(told claim)
    true=$(told true)
    if grep -q '^absent' "$result"; then
        verdict=absent words=$(told absent)
        return
    fi
    problems >"$scratch/problems"
    unknown "$1"
    compare >/dev/null
    if [ -s "$scratch/problems" ]; then
        verdict=FAILS words=$(paste -sd ';' "$scratch/problems" |
            sed 's/;/; /g')
    elif [ -n "$words" ]; then
        verdict=known
    else
        verdict=${strict:+strict}
        verdict=${verdict:-holds}
        grep -q '^ok ' "$result" || words='alignments alone'
    fi
}
