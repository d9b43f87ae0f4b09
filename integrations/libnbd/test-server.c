/* Servers for the tests: see test-server.h.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */

#include "test-server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char folder[64];
static pid_t server, owner;

char last_words[BLKALIGN_NBD_WORDS];
struct told told;

double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int shell(const char *format, ...)
{
    char line[1024];
    va_list words;
    int status;

    va_start(words, format);
    vsnprintf(line, sizeof line, format, words);
    va_end(words);
    status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void stage_close(void)
{
    if (getpid() != owner)
        return;
    server_kill();
    shell("rm -rf '%s'", folder);
}

void stage_open(void)
{
    alarm(300);
    if (shell("nbdkit --filter=blocksize-policy --filter=error "
              "--filter=delay --filter=log --filter=fua --filter=multi-conn "
              "--filter=exitlast --dump-plugin memory >/dev/null 2>&1"))
        skip_all("no nbdkit, or not all of its filters");
    strcpy(folder, "/tmp/blkalign-libnbd-XXXXXX");
    if (!mkdtemp(folder))
        bail("mkdtemp: %s", strerror(errno));
    owner = getpid();
    atexit(stage_close);
}

const char *in_stage(const char *name)
{
    static char places[4][128];
    static int next;
    char *place = places[next++ % 4];

    snprintf(place, sizeof places[0], "%s/%s", folder, name);
    return place;
}

static const char *uri(void)
{
    static char text[160];

    snprintf(text, sizeof text, "nbd+unix:///?socket=%s/socket", folder);
    return text;
}

const char *server_uri(void)
{
    return uri();
}

static void run_server(const char *arguments)
{
    static char line[1024];
    char *argv[40] = { "nbdkit", "-f", "-P", "pid", "-U" }, *word;
    int argc = 5, null = open("/dev/null", O_RDWR);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (chdir(folder) < 0 || null < 0)
        _exit(1);
    dup2(null, 2);
    argv[argc++] = "socket";
    snprintf(line, sizeof line, "%s", arguments);
    for (word = strtok(line, " "); word && argc < 39;
         word = strtok(NULL, " "))
        argv[argc++] = word;
    execvp("nbdkit", argv);
    _exit(1);
}

void server_start(const char *arguments)
{
    int tries;

    if (!*arguments)
        arguments = "--filter=blocksize-policy memory 8M "
                    "blocksize-minimum=4096 blocksize-error-policy=error";
    server_kill();
    unlink(in_stage("socket"));
    unlink(in_stage("pid"));
    server = fork();
    if (server == 0)
        run_server(arguments);
    for (tries = 0; tries < 3000; tries++) {
        /* Written when the server listens; the socket is there before. */
        if (access(in_stage("pid"), F_OK) == 0)
            return;
        usleep(10000);
    }
    bail("nbdkit %s: did not start", arguments);
}

static void end_server(int number)
{
    if (server <= 0)
        return;
    kill(server, number);
    waitpid(server, NULL, 0);
    server = 0;
    unlink(in_stage("socket"));
}

void server_freeze(void)
{
    kill(server, SIGSTOP);
}

void server_kill(void)
{
    end_server(SIGKILL);
}

void server_stop(void)
{
    end_server(SIGTERM);
}

bool server_ended(void)
{
    int tries;

    for (tries = 0; tries < 1000; tries++) {
        if (waitpid(server, NULL, WNOHANG) == server) {
            server = 0;
            return true;
        }
        usleep(10000);
    }
    return false;
}

int try_open(const blkalign_nbd_options *nbd, uint32_t flags,
             blkalign_handle **out)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;

    options.flags = flags;
    return blkalign_nbd_open(uri(), nbd, &options, last_words, out);
}

blkalign_handle *open_rw(const blkalign_nbd_options *nbd)
{
    blkalign_handle *disk = NULL;

    if (try_open(nbd, BLKALIGN_O_RDWR | BLKALIGN_O_UNMAP, &disk) < 0)
        bail("cannot open: %s", last_words);
    return disk;
}

int lines_with(const char *file, const char *pattern)
{
    char line[512];
    FILE *count;
    int lines = -1;

    snprintf(line, sizeof line, "grep -cE '%s' '%s'", pattern,
             in_stage(file));
    count = popen(line, "r");
    if (!count || fscanf(count, "%d", &lines) != 1)
        lines = -1;
    if (count)
        pclose(count);
    return lines;
}

static void count_words(void *opaque, const char *words)
{
    struct told *count = opaque;
    int *counter = strstr(words, "given up")          ? &count->given_up
                   : strstr(words, "connected again") ? &count->again
                                                      : &count->lost;

    diag("%s", words);
    __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

blkalign_nbd_options with_reconnect(uint32_t patience)
{
    blkalign_nbd_options nbd = BLKALIGN_NBD_OPTIONS_INIT;

    memset(&told, 0, sizeof told);
    nbd.reconnect_s = patience;
    nbd.tell = count_words;
    nbd.tell_opaque = &told;
    return nbd;
}

void wait_for(const int *counter, int least)
{
    int tries;

    for (tries = 0; tries < 3000; tries++) {
        if (__atomic_load_n(counter, __ATOMIC_SEQ_CST) >= least)
            return;
        usleep(10000);
    }
    bail("waited in vain for %d", least);
}
