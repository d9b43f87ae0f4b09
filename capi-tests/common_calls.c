#include "common_calls.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#define BEGIN "<!-- calls: made by capi-tests/test-sandbox-calls -->\n"
#define END "<!-- end of calls -->\n"
#define N(name) { SYS_##name, #name, 0 }
/* For memory, locks and time: any thread may make it at any time. */
#define C(name) { SYS_##name, #name, CALLS_ANYWHERE }
/* Which threads make it is sure, and whether they do is chance. */
#define S(name) { SYS_##name, #name, CALLS_SOMETIMES }

static const struct {
    int number;
    const char *name;
    enum calls_chance chance;
} NAMES[] = {
    C(brk), C(mmap), C(munmap), C(mremap), C(mprotect), C(madvise),
    C(futex), C(sched_yield), C(clock_nanosleep), C(nanosleep),
    C(clock_gettime), C(restart_syscall), C(gettid), C(getrandom), C(getpid),
    C(rt_sigreturn), C(exit), C(rt_sigprocmask),
    S(clone3), S(write), S(read), S(ppoll), S(close), S(io_uring_enter),
    S(io_uring_register), S(pread64), S(preadv2), S(pwrite64), S(pwritev2),
    S(fallocate), S(fdatasync), S(ioctl), S(rt_sigtimedwait),
    N(clone), N(dup), N(dup3), N(eventfd2), N(exit_group),
    N(fadvise64), N(fcntl), N(fstat), N(fstatfs), N(getrusage),
    N(fsync), N(ftruncate), N(getdents64),
    N(io_uring_setup), N(lseek), N(mlock), N(newfstatat), N(openat),
    N(prctl), N(preadv), N(prlimit64), N(pwritev), N(readlinkat), N(readv), N(rseq), N(rt_sigaction), N(rt_sigpending),
    N(sched_getaffinity),
    N(sched_setaffinity), N(set_robust_list), N(sigaltstack), N(statfs),
    N(statx), N(sync_file_range), N(unlinkat), N(writev),
    N(epoll_create1), N(epoll_ctl), N(epoll_pwait), N(timerfd_settime),
    N(membarrier), N(getuid), N(geteuid), N(set_tid_address), N(uname),
    N(io_submit), N(io_getevents), N(io_destroy), N(connect), N(recvfrom),
    N(accept4), N(socket), N(tkill),
#ifdef SYS_open
    N(open), N(stat), N(lstat), N(readlink), N(unlink), N(poll),
    N(epoll_wait), N(getdents), N(dup2), N(access), N(arch_prctl),
#endif
};
#define NAMED (sizeof NAMES / sizeof *NAMES)

static const char *const WHO[] = { "opens, closes", "asks, waits",
                                   "works", "timer", "starts" };

const char *calls_name(unsigned number)
{
    size_t i;

    for (i = 0; i < NAMED; i++)
        if (NAMES[i].number == (int)number)
            return NAMES[i].name;
    return NULL;
}

int calls_number(const char *name)
{
    size_t i;

    for (i = 0; i < NAMED; i++)
        if (strcmp(NAMES[i].name, name) == 0)
            return NAMES[i].number;
    return -1;
}

enum calls_chance calls_chance(unsigned number)
{
    size_t i;

    for (i = 0; i < NAMED; i++)
        if (NAMES[i].number == (int)number)
            return NAMES[i].chance;
    return CALLS_SURE;
}

static uint8_t cell(const char *text)
{
    uint8_t bits = 0;

    if (strstr(text, "both"))
        bits = CALLS_THREADS | CALLS_RING;
    else if (strstr(text, "threads"))
        bits = CALLS_THREADS;
    else if (strstr(text, "io_uring"))
        bits = CALLS_RING;
    return strchr(text, '(') ? bits | CALLS_MAY : bits;
}

/* "| `name` | both | ... |" */
static void read_row(char *line, struct calls *calls)
{
    char *rest = NULL, *field = strtok_r(line, "|", &rest), *name;
    int number, who;

    name = field ? strchr(field, '`') : NULL;
    if (!name || !strchr(name + 1, '`'))
        return;
    name++;
    *strchr(name, '`') = '\0';
    number = calls_number(name);
    for (who = 0; who < CALLS_WHO; who++) {
        field = strtok_r(NULL, "|", &rest);
        if (field && number >= 0)
            calls->made[who][number] = cell(field);
    }
}

int calls_read(const char *path, struct calls *calls)
{
    FILE *page = fopen(path, "r");
    char line[500];
    int inside = 0, found = 0;

    memset(calls, 0, sizeof *calls);
    while (page && fgets(line, sizeof line, page)) {
        if (strcmp(line, BEGIN) == 0)
            inside = found = 1;
        else if (strcmp(line, END) == 0)
            inside = 0;
        else if (inside)
            read_row(line, calls);
    }
    if (page)
        fclose(page);
    return found ? 0 : -1;
}

static int by_name(const void *one, const void *other)
{
    return strcmp(*(const char *const *)one, *(const char *const *)other);
}

void calls_print(FILE *to, const struct calls *calls)
{
    static const char *const words[] = { "", "threads", "io_uring", "both" };
    const char *names[NAMED];
    size_t i, count = 0;
    int who;

    for (i = 0; i < NAMED; i++)
        for (who = 0; who < CALLS_WHO; who++)
            if (calls->made[who][NAMES[i].number]) {
                names[count++] = NAMES[i].name;
                break;
            }
    qsort(names, count, sizeof *names, by_name);
    fprintf(to, "| call |");
    for (who = 0; who < CALLS_WHO; who++)
        fprintf(to, " %s |", WHO[who]);
    fprintf(to, "\n|---|---|---|---|---|---|\n");
    for (i = 0; i < count; i++) {
        int number = calls_number(names[i]);

        fprintf(to, "| `%s` |", names[i]);
        for (who = 0; who < CALLS_WHO; who++) {
            uint8_t made = calls->made[who][number];
            int may = made & CALLS_MAY;

            fprintf(to, may ? " (%s) |" : " %s |", words[made & 3]);
        }
        fprintf(to, "\n");
    }
}

int calls_write(const char *path, const struct calls *calls)
{
    static char text[1 << 16];
    FILE *page = fopen(path, "r");
    size_t bytes = page ? fread(text, 1, sizeof text - 1, page) : 0;
    char *begin, *end;

    if (page)
        fclose(page);
    text[bytes] = '\0';
    begin = strstr(text, BEGIN);
    end = begin ? strstr(begin, END) : NULL;
    page = end ? fopen(path, "w") : NULL;
    if (!page)
        return -1;
    fwrite(text, 1, (size_t)(begin - text), page);
    fputs(BEGIN, page);
    calls_print(page, calls);
    fputs(end, page);
    return fclose(page);
}
