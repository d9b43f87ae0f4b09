#!/bin/sh
# Tests of bench/check.py, in TAP, for prove(1): what it says about two builds.
# A script takes the place of blkalign-bench and prints any speed.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

cd "$(dirname "$0")/.." || exit 1
root=$PWD
. tools/common/tap.sh
if ! command -v python3 >/dev/null; then
    echo "1..0 # SKIP no python3"
    exit
fi
directory=$(mktemp -d) || exit 1
trap 'rm -rf "$directory"' EXIT
trap 'exit 1' HUP INT TERM
cd "$directory" || exit 1
mkdir old new empty
touch old/libblkalign.so.0 new/libblkalign.so.0
head -c 65536 /dev/zero >disk

# The directory of each library has a file of rates. The script prints one rate
# for each call, and begins again at the end of the file. The first two calls
# serve to find the number of requests.
cat >fake <<'CODE'
#!/bin/sh
library=${LD_LIBRARY_PATH##*/}
echo "$library" >>order
[ -e "$library/rates" ] || { echo "it is broken" >&2; exit 1; }
calls=$(grep -cx "$library" order)
rates=$(wc -l <"$library/rates")
rate=$(sed -n "$(((calls - 1) % rates + 1))p" "$library/rates")
cat <<JSON
{ "requests_per_second": $rate, "seconds": 1, "engine": "threads",
  "processor_us_per_request": 2, "zero_copy": 0, "bounced": 0, "rmw": 0,
  "rmw_reads": 0, "rmw_reads_skipped": 0, "merged": 0, "waits": 0,
  "storage_reads": 0, "storage_writes": 0 }
JSON
CODE
chmod +x fake

# compare OLD-RATES NEW-RATES: compares two builds with these rates
compare() {
    rm -f order
    printf '%s\n' $1 >old/rates
    printf '%s\n' $2 >new/rates
    BLKALIGN_BENCH=$PWD/fake ROUNDS=5 ROWS=read4096 PYTHONDONTWRITEBYTECODE=1 \
        python3 "$root/bench/check.py" --out result old new file=disk \
        >out 2>err
    status=$?
}

# There are three modes: 3 times 2 calls come before the first round.
compare 1000 1000
ok "two builds of one speed have not moved" says 0 out "^No row moved"
ok "they take turns, and who is first changes" eval \
    '[ "$(sed -n 19,30p order | tr "\n" " ")" = \
       "new old new old new old old new old new old new " ]'
compare 1000 900
ok "one that is slower in all rounds is" says 1 out \
    "^- file, aligned 4096 read, depth 32, blkalign serial: slower"
compare 1000 1100
ok "one that is faster is no failure" says 0 out "blkalign eventfd: faster"
compare 1000 980
ok "less than the tolerance is nothing" says 0 out "^No row moved"
compare "1000 1000 1000 1000 1000 1000 1000" \
    "800 1100 900 1150 800 1200 900"
ok "what lies on both sides of 1 is the spread" says 0 out "^No row moved"
rm -f order new/rates
echo 1000 >old/rates
BLKALIGN_BENCH=$PWD/fake ROUNDS=5 ROWS=read4096 PYTHONDONTWRITEBYTECODE=1 \
    python3 "$root/bench/check.py" --out result old new file=disk >out 2>err
status=$?
ok "what fails with both is no comparison" says 2 out "it is broken"
BLKALIGN_BENCH=$PWD/fake PYTHONDONTWRITEBYTECODE=1 \
    python3 "$root/bench/check.py" --out result empty new file=disk >out 2>err
status=$?
ok "a build that is not there is no comparison" says 2 err "in .*/empty"
BLKALIGN_BENCH=$PWD/fake ROWS=none PYTHONDONTWRITEBYTECODE=1 \
    python3 "$root/bench/check.py" --out result old new file=disk >out 2>err
status=$?
ok "a row that is not there is named" says 2 err "no such row: none"

echo "1..$number"
