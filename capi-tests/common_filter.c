#include "common_filter.h"
#include "common_run.h"
#include "tap.h"

#include <blkalign.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int filter_threads(int error, int all)
{
    uint32_t answer = error < 0 ? SECCOMP_RET_KILL_PROCESS
                                : SECCOMP_RET_ERRNO | (uint32_t)error;
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { 5, filter };

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                   all ? SECCOMP_FILTER_FLAG_TSYNC : 0, &program);
}

void filter_child(int (*tried)(int), int argument, const char *words)
{
    int status;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        alarm(30 * run_slowness());
        status = tried(argument);
        if (status)
            printf("# %s\n", blkalign_errmsg());
        fflush(stdout);
        _exit(status);
    }
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip("no seccomp here", "%s", words);
    else
        is_int(WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), 0,
               "%s", words);
}
