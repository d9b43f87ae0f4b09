#!/bin/bash
# What is judged of a bed's results is right: verdict.sh, with invented beds.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../capi-tests/common.sh"
storage=$work scratch=$work
mkdir "$work/beds"
. "$here/verdict.sh"

# is VERDICT WORDS_PATTERN KERNEL: of the bed and the result that are there
is() {
    judge "$3" bed "$work/result"
    [ "$verdict" = "$1" ] && [[ $words = $2 ]] && return
    echo "$verdict: $words"
    return 1
}

bed() { printf '%s\n' "$@" >"$work/beds/bed"; }
result() { printf '%s\n' "$@" >"$work/result"; }
claimed='claim request 4096 memory 512 segment 4096 by statx statx trial'

bed "title='a disk'" "must='request 4096'" 'make() {' "    test '" "'" '}'
result 'begin 6.1' "$claimed" 'true request 4096 memory 512 segment 4096' \
    'ok torture, threads: 24' 'end 9'
check 'what is claimed and is true holds' is holds '' 6.1
result "$claimed" 'true request 512 memory 4 segment 512' 'end 9'
check 'more than is needed is strict' is strict 'alignments alone' 6.1
result "$claimed" 'true request 4096 memory 4096 segment 4096' 'end 9'
check 'less than is needed fails' \
    is FAILS 'claims memory 512, needs 4096' 6.1
result 'claim request 512 memory 4 segment 512 by a b c' \
    'true request 512 memory 4 segment 512' 'end 9'
check 'not what it must be fails' is FAILS 'should claim request 4096*' 6.1
result "$claimed" 'bad torture, io_uring: 1 of 24: not ok 3' 'end 9'
check 'a test that fails fails' is FAILS 'bad torture*' 6.1
result "$claimed" 'oops BUG: at' 'end 9'
check 'so does a kernel that complains' is FAILS 'oops BUG*' 6.1
result "$claimed" 'died torture threads'
check 'and one that dies' is FAILS 'died in torture threads' 6.1
result 'absent no module' 'end 9'
check 'what cannot be made is absent' is absent 'no module' 6.1

result 'begin 6.1' 'end 9'
check 'a bed of which nothing is told fails' is FAILS '*no claim was made' 6.1

bed "title='a disk'" "known='6.*|^bad torture|it is old" \
    "5.10|^oops|so is this'"
result "$claimed" 'bad torture, threads: 1' 'bad torture, io_uring: 1' 'end 9'
check 'a known fault is known' is known 'it is old' 6.1
check 'of that kernel alone' is FAILS 'bad torture*; bad torture*' 5.10
result "$claimed" 'bad torture, threads: 1' 'bad test-zeroes: 2' 'end 9'
check 'and hides no other' is FAILS 'bad test-zeroes: 2' 6.1

bed "title='a disk'" "liar='less kills it'"
result "$claimed" 'ok torture, threads: 24' 'below BUG: at' 'died trial '
check 'a liar may die of less than it needs' is holds '' 6.1
result "$claimed" 'died torture threads'
check 'and of nothing else' is FAILS 'died in torture*' 6.1
rm "$work/result"
check 'what was not tried is not judged' is untried '' 6.1
done_testing
