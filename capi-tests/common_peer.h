/* Other processes that have the same file: of this library, and QEMU's. */
#ifndef COMMON_PEER_H
#define COMMON_PEER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A child that opens and closes handles when it is told to. */
struct peer {
    pid_t pid;
    int to, from;
    char words[400];            /* blkalign_errmsg() of its last answer */
};

/* Before this program uses the library: the child is to have it anew. */
void peer_start(struct peer *peer);
/* Opens one more handle there; 0 or -errno. */
int peer_open(struct peer *peer, const char *path, uint32_t flags);
/* The same in two steps, for several at a time. */
void peer_open_begin(struct peer *peer, const char *path, uint32_t flags);
int peer_answer(struct peer *peer);
/* Closes what was opened last. */
int peer_close(struct peer *peer);
/* It is killed with whatever it has. */
void peer_kill(struct peer *peer);

/* A shell command that runs on, such as `exec qemu-io`; its standard input
 * is a pipe that ends with holder_stop(). */
struct holder {
    pid_t pid;
    int to;
};

/* Waits until `path` has a lock on `byte` (see byte_locked). */
int holder_start(struct holder *holder, const char *command,
                 const char *path, int byte);
void holder_stop(struct holder *holder);

/* Runs it to its end; its exit status, and the begin of what it said. */
int command_run(char *said, size_t bytes, const char *command);
int command_exists(const char *name);

/* Whether somebody has an OFD lock on that byte of the file. */
int byte_locked(const char *path, int byte);
/* Those of 100 to 103 and 200 to 203, as "100 101 201". */
const char *bytes_locked(const char *path);

#endif
