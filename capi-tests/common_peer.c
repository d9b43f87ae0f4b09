/* Other processes with the same file: see common_peer.h. */
#include "common_peer.h"

#include "common_aio.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define HANDLES 8

struct question {
    int open;                   /* else close */
    uint32_t flags;
    char path[200];
};

struct reply {
    int ret;
    char words[400];
};

static int read_all(int fd, void *to, size_t bytes)
{
    return read(fd, to, bytes) == (ssize_t)bytes;
}

/* Runs in the child, until its parent is gone. */
static void peer_serve(int from, int to)
{
    blkalign_handle *handles[HANDLES];
    blkalign_open_options options;
    struct question question;
    struct reply reply;
    int count = 0;

    while (read_all(from, &question, sizeof(question))) {
        memset(&reply, 0, sizeof(reply));
        if (question.open) {
            options = options_of(question.flags, 0);
            reply.ret = blkalign_open(question.path, &options,
                                      &handles[count]);
            count += reply.ret == 0;
        } else {
            reply.ret = blkalign_close(handles[--count]);
        }
        snprintf(reply.words, sizeof(reply.words), "%s", blkalign_errmsg());
        if (write(to, &reply, sizeof(reply)) != sizeof(reply))
            break;
    }
    _exit(0);
}

void peer_start(struct peer *peer)
{
    int there[2], back[2];

    if (pipe2(there, O_CLOEXEC) || pipe2(back, O_CLOEXEC))
        bail("pipe: %s", strerror(errno));
    peer->pid = fork();
    if (peer->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(there[1]);
        close(back[0]);
        peer_serve(there[0], back[1]);
    }
    close(there[0]);
    close(back[1]);
    peer->to = there[1];
    peer->from = back[0];
    peer->words[0] = '\0';
}

static void peer_ask(struct peer *peer, const struct question *question)
{
    if (write(peer->to, question, sizeof(*question)) != sizeof(*question))
        bail("a peer does not listen: %s", strerror(errno));
}

void peer_open_begin(struct peer *peer, const char *path, uint32_t flags)
{
    struct question question;

    memset(&question, 0, sizeof(question));
    question.open = 1;
    question.flags = flags;
    snprintf(question.path, sizeof(question.path), "%s", path);
    peer_ask(peer, &question);
}

int peer_answer(struct peer *peer)
{
    struct reply reply;

    if (!read_all(peer->from, &reply, sizeof(reply)))
        bail("a peer does not answer");
    memcpy(peer->words, reply.words, sizeof(peer->words));
    return reply.ret;
}

int peer_open(struct peer *peer, const char *path, uint32_t flags)
{
    peer_open_begin(peer, path, flags);
    return peer_answer(peer);
}

int peer_close(struct peer *peer)
{
    struct question question;

    memset(&question, 0, sizeof(question));
    peer_ask(peer, &question);
    return peer_answer(peer);
}

void peer_kill(struct peer *peer)
{
    kill(peer->pid, SIGKILL);
    waitpid(peer->pid, NULL, 0);
    close(peer->to);
    close(peer->from);
}

int holder_start(struct holder *holder, const char *command,
                 const char *path, int byte)
{
    int ends[2], null, tries;

    if (pipe2(ends, O_CLOEXEC))
        bail("pipe: %s", strerror(errno));
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    holder->to = ends[1];
    holder->pid = fork();
    if (holder->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[0], 0);
        dup2(null, 1);
        dup2(null, 2);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(ends[0]);
    close(null);
    for (tries = 0; tries < 1000; tries++) {
        if (byte_locked(path, byte))
            return 1;
        sleep_ms(10);
    }
    return 0;
}

void holder_stop(struct holder *holder)
{
    close(holder->to);
    waitpid(holder->pid, NULL, 0);
}

int command_run(char *said, size_t bytes, const char *command)
{
    char line[700];
    FILE *pipe;
    size_t length;

    snprintf(line, sizeof(line), "{ %s; } 2>&1 </dev/null", command);
    pipe = popen(line, "re");
    if (!pipe)
        bail("popen: %s", strerror(errno));
    length = fread(said, 1, bytes - 1, pipe);
    said[length] = '\0';
    while (fread(line, 1, sizeof(line), pipe) > 0)
        ;
    return WEXITSTATUS(pclose(pipe));
}

int command_exists(const char *name)
{
    char line[100], said[10];

    snprintf(line, sizeof(line), "command -v %s", name);
    return command_run(said, sizeof(said), line) == 0;
}

int byte_locked(const char *path, int byte)
{
    struct flock lock;
    int fd = open(path, O_RDONLY | O_CLOEXEC), ret;

    memset(&lock, 0, sizeof(lock));
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = byte;
    lock.l_len = 1;
    ret = fcntl(fd, F_OFD_GETLK, &lock);
    if (fd < 0 || ret)
        bail("F_OFD_GETLK: %s", strerror(errno));
    close(fd);
    return lock.l_type != F_UNLCK;
}

const char *bytes_locked(const char *path)
{
    static char list[40];
    int byte;

    list[0] = '\0';
    for (byte = 100; byte < 204; byte++) {
        if (byte % 100 < 4 && byte_locked(path, byte))
            sprintf(list + strlen(list), "%s%d", *list ? " " : "", byte);
    }
    return list;
}
