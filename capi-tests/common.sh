# TAP for tests in shell, and where things are. Sourced, never run.
#
#     . "$(dirname "$0")/common.sh"
#     check "name of what must hold" command arg...
#     done_testing

set -u
root=$(cd "$(dirname "$0")/.." && pwd)
build=${BLKALIGN_BUILD:-$root/build}
CC=${CC:-cc}
CXX=${CXX:-c++}
strict_c="-std=c99 -Wall -Wextra -Werror -pedantic"
strict_cxx="-std=c++11 -Wall -Wextra -Werror -pedantic"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
count=0

# Runs a command; what it says is shown only when it fails.
check() {
    local name=$1
    shift
    count=$((count + 1))
    if "$@" >"$work/said" 2>&1; then
        echo "ok $count - $name"
    else
        echo "not ok $count - $name"
        echo "# failed: $*"
        sed 's/^/# /' "$work/said"
    fi
}

skip() {
    count=$((count + 1))
    echo "ok $count - $1 # SKIP $2"
}

done_testing() {
    echo "1..$count"
}
