# TAP for tests of servers. Sourced in the directory of the test, never run.

number=0

# ok NAME COMMAND...: what it says is shown only when it fails
ok() {
    local name=$1
    number=$((number + 1))
    shift
    if "$@" >said 2>&1; then
        echo "ok $number - $name"
    else
        echo "not ok $number - $name"
        echo "# failed: $*"
        # What the server under test has said, if there is one.
        sed -s 's/^/# /' said $(ls server.log 2>/dev/null)
    fi
}

skip() {
    number=$((number + 1))
    echo "ok $number - $1 # SKIP $2"
}
