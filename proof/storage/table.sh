#!/bin/bash
# docs/STORAGES.md anew, from the results of run.sh:
#
#     table.sh RESULTS KEPT DOCUMENT      RESULTS/KERNEL/BED, KEPT/KERNEL
#
# A pass takes an hour, so what was told is kept in the tree, in a file for each
# kernel: a line is "BED KEY WORDS". Results that are newer take the place of
# those, bed by bed. Kernels on which a storage is the same share a line.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u
storage=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$2" && kept=$(cd "$2" && pwd) || exit 1
document=$3
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
. "$storage/verdict.sh"
results=$scratch/results

# What is kept, and over it what is new, as RESULTS/KERNEL/BED
gather() {
    local file kernel
    for file in "$kept"/*; do
        [ -f "$file" ] || continue
        mkdir -p "$results/${file##*/}"
        (cd "$results/${file##*/}" && awk '{
            bed = $1
            print substr($0, length(bed) + 2) >bed
        }' "$file")
    done
    for file in "$1"/*/*; do
        [ -e "$storage/beds/${file##*/}" ] || continue
        kernel=$(basename "$(dirname "$file")")
        mkdir -p "$results/$kernel"
        # The steps were of use while it ran.
        grep -v '^step' "$file" >"$results/$kernel/${file##*/}"
    done
}

keep() {
    local kernel bed
    mkdir -p "$kept"
    for kernel in $(ls "$results"); do
        for bed in $(ls "$results/$kernel"); do
            [ ! -e "$storage/beds/$bed" ] ||
                sed "s/^/$bed /" "$results/$kernel/$bed"
        done >"$kept/$kernel"
    done
}

kernels() { ls "$results" | sort -V | sed '/newest/d'; }

# Its own version, as it says it: 6.1.0-57-amd64
version() {
    cat "$results/$1"/* | sed -n 's/^begin //p' | sort | uniq -c | sort -rn |
        sed -n '1s/^ *[0-9]* //p'
}

# short KERNEL: for the table
short() {
    [ "$1" = newest ] && version newest | cut -d . -f 1,2 || echo "$1"
}

# "4096/512/4096", of words like "request 4096 memory 512 segment 4096"
triple() {
    [ -n "$*" ] || { echo '-'; return; }
    echo "$(value request "$*")/$(value memory "$*")/$(value segment "$*")"
}

# Three sources in one word where they are one
sources() {
    [ -n "$*" ] || { echo '-'; return; }
    sed -n 's/.* by \([^ ]*\) \([^ ]*\) \([^ ]*\) .*/\1\/\2\/\3/p' <<<"$*" |
        sed -E 's,^([^/]*)/\1/\1$,\1,; s,^$,-,'
}

# A line for each pair of a kernel and a bed, with tabs
lines() {
    local kernel bed
    for bed in $(ls "$storage/beds" | grep -v README); do
        for kernel in $(kernels) newest; do
            judge "$kernel" "$bed" "$results/$kernel/$bed"
            [ "$verdict" != untried ] || continue
            [ -z "$words" ] || words=": $words"
            printf '%s\t%s\t%s\t%s\t%s\t%s%s\n' "$bed" "$(short "$kernel")" \
                "$(triple "$claim")" "$(sources "$claim")" \
                "$(triple "$true")" "$verdict" "$(tr '\t|' ' /' <<<"$words")"
        done
    done
}

# Lines that differ in the kernel alone become one.
merged() {
    awk -F '\t' '{
        key = $1 FS $3 FS $4 FS $5 FS $6
        if (!(key in kernels)) order[++count] = key
        kernels[key] = kernels[key] (key in kernels && kernels[key] ? ", " : "") $2
    } END {
        for (i = 1; i <= count; i++) {
            split(order[i], part, FS)
            printf "| %s | %s | %s | %s | %s | %s |\n", part[1],
                kernels[order[i]], part[2], part[3], part[4], part[5]
        }
    }' "$scratch/lines"
}

# count KERNEL VERDICT: with suites
count() {
    awk -F '\t' -v k="$(short "$1")" -v w="$2" \
        '$2 == k && $6 ~ "^" w && $6 !~ /alignments alone$/ { n++ }
        END { print n + 0 }' "$scratch/lines"
}

counts() {
    echo '| kernel | holds | strict | known | FAILS | absent | alignments alone | not tried | library, and when |'
    echo '|---|---|---|---|---|---|---|---|---|'
    local kernel word row all=0 tried
    all=$(ls "$storage/beds" | grep -vc README)
    for kernel in $(kernels) newest; do
        row="| $(version "$kernel") |"
        [ "$row" != '|  |' ] || continue
        for word in holds strict known FAILS absent; do
            row+=" $(count "$kernel" $word) |"
        done
        tried=$(awk -F '\t' -v k="$(short "$kernel")" \
            '$2 == k { n++ } END { print n + 0 }' "$scratch/lines")
        row+=" $(awk -F '\t' -v k="$(short "$kernel")" \
            '$2 == k && $6 ~ /alignments alone$/ { n++ }
            END { print n + 0 }' "$scratch/lines") | $((all - tried)) |"
        echo "$row $(libraries "$kernel") |"
    done
}

# The revisions that the results of a kernel are of, and from when to when
libraries() {
    cat "$results/$1"/* | sed -n 's/^library //p' | sort -u -k 2,2 -k 1,1 |
        awk '{ if (!($1 in seen)) names = names (names ? ", " : "") $1
               seen[$1] = 1
               if (!first) first = $2; last = $2 }
             END { print names, first (last == first ? "" : " to " last) }'
}

titles() {
    local bed
    for bed in $(ls "$storage/beds" | grep -v README); do
        echo "| $bed | $(setting title "$storage/beds/$bed") |"
    done
}

gather "$1"
keep
lines >"$scratch/lines"
{
    cat "$storage/preamble.md"
    printf '\n## Verdicts\n\n'
    counts
    printf '\nA virtual machine of 2 cores, guests of QEMU without KVM.\n'
    printf '\n## Kernels and storages\n\n'
    printf 'Alignments are request/memory/segment, in bytes.\n\n'
    echo '| storage | kernels | claimed | by | true | verdict |'
    echo '|---|---|---|---|---|---|'
    merged
    printf '\n## What the names stand for\n\n| storage | what it is |\n|---|---|\n'
    titles
} >"$document"
