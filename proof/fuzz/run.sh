#!/bin/bash
# Runs the fuzzers under AddressSanitizer, each for some seconds:
#     proof/fuzz/run.sh SECONDS [TARGET...]
# New inputs go to build/fuzz/TARGET, findings to build/fuzz/findings-TARGET-*;
# coverage of the code is libFuzzer's own. Needs a C++ compiler and the crate
# libfuzzer-sys; without them it says so and that is all.
# BUILD_ONLY=1 only builds.
set -u
cd "$(dirname "$0")/../.." || exit 1
seconds=${1:-60}
[ $# -eq 0 ] || shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(operations file structs map)
host=$(rustc -vV | sed -n 's/^host: //p')
out=$PWD/build/fuzz
target=${TARGET:-$PWD/target}/fuzz

if ! command -v "${CXX:-c++}" >/dev/null; then
    echo 'fuzz: skipped: no C++ compiler for libFuzzer'
    exit 0
fi
# Stable Rust has all that is needed, but wants to be asked.
export RUSTC_BOOTSTRAP=1
flags='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
flags+=' -Cllvm-args=-sanitizer-coverage-inline-8bit-counters'
flags+=' -Cllvm-args=-sanitizer-coverage-pc-table'
flags+=' -Cllvm-args=-sanitizer-coverage-trace-compares'
flags+=' -Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer --cfg fuzzing'
if ! cargo fetch --locked --manifest-path proof/fuzz/Cargo.toml 2>/dev/null; then
    echo 'fuzz: skipped: the crate libfuzzer-sys cannot be had'
    exit 0
fi
RUSTFLAGS=$flags cargo build --locked --release --manifest-path proof/fuzz/Cargo.toml \
    --target "$host" --target-dir "$target" || exit 1
[ -z "${BUILD_ONLY:-}" ] || exit 0

# After a finding it goes on with the rest of the time. Leaks are not looked
# for: the pool of threads that all handles share has memory in its hands at
# any time, and check-asan looks for them.
# shellcheck disable=SC2317
fuzz() {
    local name=$1 end=$((SECONDS + seconds)) found=0
    mkdir -p "$out/$name"
    : >"$out/$name.log"
    while [ $SECONDS -lt $end ] && [ $found -lt 20 ]; do
        ASAN_OPTIONS=allocator_may_return_null=1:${ASAN_OPTIONS:-} \
            "$target/$host/release/$name" \
            -max_total_time=$((end - SECONDS)) -timeout=60 -max_len=512 \
            -len_control=0 -detect_leaks=0 -rss_limit_mb=4096 \
            -print_final_stats=1 -artifact_prefix="$out/findings-$name-" \
            "$out/$name" "proof/fuzz/corpus/$name" >>"$out/$name.log" 2>&1 ||
            found=$((found + 1))
        rm -f {/dev/shm,"${TMPDIR:-/tmp}"}/"blkalign-fuzz-$name"-*
    done
    sed -n "s/^.*\(ERROR: .*\|panicked at.*\)/$name: \1/p
            s/^#\([0-9]*\)\tDONE *\(cov.*\) corp.*/$name: \1 runs, \2/p
            s/^stat::\(number_of_exec.*\)/$name: \1/p" "$out/$name.log"
    echo "$name: $found findings"
    [ $found -eq 0 ]
}

failed=0
for name in "${targets[@]}"; do
    fuzz "$name" || failed=1
done
exit $failed
