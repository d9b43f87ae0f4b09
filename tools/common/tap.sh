# TAP for the tests of tools, for prove(1). To be sourced; `program` names the
# program under test.
#
# SPDX-License-Identifier: MIT OR Apache-2.0

number=0

# ok NAME COMMAND...: shows the program's output only if COMMAND fails
ok() {
    number=$((number + 1))
    name=$1
    shift
    if "$@"; then
        echo "ok $number - $name"
    else
        echo "not ok $number - $name"
        sed 's/^/# /' out err
    fi
}

skip() {
    number=$((number + 1))
    echo "ok $number - $1 # SKIP $2"
}

# run ARGUMENT...: runs the program; output in out and err, exit code in status
run() {
    "$program" "$@" >out 2>err
    status=$?
}

# holding PATH COMMAND...: while PATH is open exclusively, as by a mount
holding() {
    perl -MFcntl -e 'my $path = shift;
        sysopen my $held, $path, O_RDONLY | O_EXCL or die "$path: $!\n";
        exit(system(@ARGV) >> 8)' "$@"
}
# locking PATH COMMAND...: while PATH has an image lock like QEMU's
locking() {
    perl -MFcntl -e 'my $path = shift;
        open my $locked, "<", $path or die "$path: $!\n";
        fcntl $locked, 37, pack "ssx4qqix4", F_RDLCK, SEEK_SET, 100, 1, 0
            or die "lock: $!\n";
        exit(system(@ARGV) >> 8)' "$@"
}

exited() { [ "$status" -eq "$1" ]; }
silent() { exited "$1" && [ ! -s "$2" ]; }
says() { exited "$1" && grep -q -e "$3" "$2"; }
# Wrong usage, with these words, and nothing on standard output.
refused() { exited 2 && grep -q -e "$1" err && [ ! -s out ]; }
