#!/bin/bash
# The manual pages are clean mdoc, and name only pages that there are.

. "$(dirname "$0")/common.sh"

if command -v mandoc >/dev/null; then
    check "mandoc finds nothing wrong with any page" \
        mandoc -T lint -W warning "$root"/docs/man/*.[137]
else
    skip "mandoc finds nothing wrong with any page" "mandoc is not installed"
fi

references() {
    local page section missing=0
    while read -r page section; do
        case $page in
            blkalign*) [ -e "$root/docs/man/$page.$section" ] && continue
                       echo "$page($section) is referred to, and missing"
                       missing=1 ;;
        esac
    done < <(sed -n 's/^\.\(It \)\{0,1\}Xr \((\ \)\{0,1\}\([^ ]*\) \([0-9]\).*/\3 \4/p' \
             "$root"/docs/man/*.[137] | sort -u)
    return $missing
}
check "pages refer to pages that there are" references

tools() {
    local source name
    for source in "$root"/tools/*.c "$root"/tools/*/main.c; do
        [ -e "$source" ] || continue
        name=${source#"$root"/tools/}
        name=${name%.c}
        name=${name%/main}
        [ -e "$root/docs/man/$name.1" ] || { echo "$name has no page"; return 1; }
    done
}
check "each tool has a page" tools

# What --help names is explained, and the other way round.
options_of() {
    local tool=$1 missing=0
    "$build/tools/$tool" --help | grep -oE -e '--[a-z][a-z-]+' | sort -u \
        >"$work/helped"
    sed -nE 's/^\.It (.*)/\1/p' "$root/docs/man/$tool.1" |
        grep -oE 'Fl (-|Fl )[a-z][a-z-]+' | sed -E 's/Fl (-|Fl )/--/' |
        sort -u >"$work/explained"
    [ -s "$work/explained" ] || return
    diff "$work/helped" "$work/explained"
}
# The same of the daemon, which need not have been built.
daemon_options() {
    local directory=$root/integrations/vhost-user-blk page
    page=$root/docs/man/blkalign-vhost-user-blk.1
    sed -n '/^pub const USAGE/,/^";/p' "$directory/src/options.rs" |
        grep -oE -e '--[a-z][a-z-]+' | sort -u >"$work/helped"
    sed -nE 's/^\.It (.*)/\1/p' "$page" |
        grep -oE 'Fl (-|Fl )[a-z][a-z-]+' | sed -E 's/Fl (-|Fl )/--/' |
        sort -u >"$work/explained"
    [ -s "$work/helped" ] && diff "$work/helped" "$work/explained"
}
check "blkalign-vhost-user-blk.1 explains the options that --help names" \
    daemon_options
for tool in blkalign-info blkalign-bench blkalign-torture blkalign-nbd \
    blkalign-overlay; do
    check "$tool.1 explains the options that --help names" options_of $tool
done
done_testing
