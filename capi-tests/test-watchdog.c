/*
 * The watchdog of these programs: one that gets on is left alone however long
 * it takes; one that hangs is ended; a slow machine has more time.
 */
#include "common_aio.h"
#include "common_run.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child that lives for `ms`, with a sign of life each `step` ms. */
static pid_t child(const char *slow, int ms, int step)
{
    pid_t pid = fork();

    if (pid == 0) {
        if (!freopen("/dev/null", "w", stdout))
            _exit(1);
        setenv("BLKALIGN_TEST_SLOW", slow, 1);
        unsetenv("BLKALIGN_TEST_VALGRIND");
        run_begin(1);
        for (; ms > 0; ms -= step) {
            sleep_ms(step);
            tap_get_on();
        }
        _exit(0);
    }
    if (pid < 0)
        bail("no child");
    return pid;
}

static int exit_status(pid_t pid)
{
    int status = -1;

    if (waitpid(pid, &status, 0) != pid)
        bail("no child");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(void)
{
    struct answer answer = { 0 };
    unsigned long steps;
    pid_t gets_on, hangs, slow;

    run_begin(60);
    gets_on = child("1", 2600, 200);
    hangs = child("1", 4000, 4000);
    slow = child("10", 2600, 2600);
    is_int(exit_status(gets_on), 0, "one that gets on is left alone");
    is_int(exit_status(hangs), 254, "one that hangs is ended");
    is_int(exit_status(slow), 0, "unless the machine is slow");
    steps = tap_steps();
    answer_done(&answer, 0);
    ok(tap_steps() > steps, "an answer is a step");
    steps = tap_steps();
    ok(tap_steps() == steps, "nothing is none");
    ok(tap_steps() > steps, "a result is one");
    return done_testing();
}
