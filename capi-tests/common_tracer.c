#include "common_tracer.h"
#include "common_everything.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS_MAX 1024

struct traced {
    pid_t id;
    int known;                  /* it has marked itself */
    enum everything_mark mark;
    enum calls_who works;       /* a thread of the library: which */
    uint8_t before[CALLS_MAX];  /* calls before the first mark */
};

static struct traced threads[THREADS_MAX];
static int threads_count;
static uint8_t engine;

static struct traced *traced_of(pid_t id)
{
    int i;

    for (i = 0; i < threads_count; i++)
        if (threads[i].id == id)
            return &threads[i];
    if (threads_count == THREADS_MAX)
        abort();
    memset(&threads[threads_count], 0, sizeof threads[0]);
    threads[threads_count].id = id;
    return &threads[threads_count++];
}

static void forget(pid_t id)
{
    struct traced *its = traced_of(id);

    *its = threads[--threads_count];
}

/* What the thread is called now. */
static enum calls_who library_thread(pid_t pid, pid_t id)
{
    char path[64], name[32] = "";
    FILE *comm;

    snprintf(path, sizeof path, "/proc/%d/task/%d/comm", (int)pid, (int)id);
    comm = fopen(path, "r");
    if (comm && !fgets(name, sizeof name, comm))
        name[0] = '\0';
    if (comm)
        fclose(comm);
    return strstr(name, "timer") ? CALLS_TIMER : CALLS_WORKS;
}

static void note_mark(struct traced *its, pid_t pid, unsigned mark,
                      struct calls *calls)
{
    unsigned i;

    if (mark >= MARK_ENGINE) {
        engine = mark - MARK_ENGINE == BLKALIGN_ENGINE_THREADS
                     ? CALLS_THREADS : CALLS_RING;
        return;
    }
    if (!its->known && mark == MARK_LIBRARY) {
        its->works = library_thread(pid, its->id);
        for (i = 0; i < CALLS_MAX; i++)
            if (its->before[i])
                calls->made[CALLS_STARTS][i] |= engine;
    }
    its->known = 1;
    its->mark = (enum everything_mark)mark;
}

static void note_call(struct traced *its, pid_t pid, uint64_t number,
                      uint64_t first, struct calls *calls)
{
    if (number >= CALLS_MAX)
        return;
    if (number == SYS_prctl && first >= MARK_BASE &&
        first < MARK_BASE + MARKS) {
        note_mark(its, pid, (unsigned)(first - MARK_BASE), calls);
        return;
    }
    if (!its->known)
        its->before[number] = 1;
    else if (its->mark == MARK_OPENS)
        calls->made[CALLS_OPENS][number] |= engine;
    else if (its->mark == MARK_ASKS)
        calls->made[CALLS_ASKS][number] |= engine;
    else if (its->mark == MARK_LIBRARY)
        calls->made[its->works][number] |= engine;
}

static void at_call(pid_t pid, pid_t id, struct calls *calls)
{
    struct __ptrace_syscall_info info;

    memset(&info, 0, sizeof info);
    if (ptrace(PTRACE_GET_SYSCALL_INFO, id, sizeof info, &info) > 0 &&
        info.op == PTRACE_SYSCALL_INFO_ENTRY)
        note_call(traced_of(id), pid, info.entry.nr, info.entry.args[0],
                  calls);
}

static int watch(pid_t pid, struct calls *calls)
{
    int status, signal_to_give;
    pid_t id;

    while ((id = waitpid(-1, &status, __WALL)) > 0) {
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            forget(id);
            /* The leader comes last. Other children are the test's own. */
            if (id == pid)
                return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
            continue;
        }
        signal_to_give = 0;
        if (WSTOPSIG(status) == (SIGTRAP | 0x80))
            at_call(pid, id, calls);
        else if (status >> 16 == 0)
            signal_to_give = WSTOPSIG(status);
        ptrace(PTRACE_SYSCALL, id, NULL, (void *)(long)signal_to_give);
    }
    return -1;
}

int tracer_run(int (*body)(void), struct calls *calls)
{
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE |
                   PTRACE_O_EXITKILL;
    int ready[2], status;
    char go = 0;
    pid_t pid;

    if (pipe(ready))
        return -2;
    pid = fork();
    if (pid == 0) {
        close(ready[1]);
        if (read(ready[0], &go, 1) != 1)
            _exit(99);
        everything_mark(MARK_QUIET);
        _exit(body());
    }
    close(ready[0]);
    if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)options) ||
        ptrace(PTRACE_INTERRUPT, pid, NULL, NULL)) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        close(ready[1]);
        return -2;
    }
    if (write(ready[1], &go, 1) != 1)
        kill(pid, SIGKILL);
    close(ready[1]);
    return watch(pid, calls);
}
