/* Other processes that have the same file open: of this library, and QEMU's.
 * */
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

/* Call before this program uses the library: the child must start without it.
 * */
void peer_start(struct peer *peer);
/* Opens one more handle in the child; returns 0 or -errno. */
int peer_open(struct peer *peer, const char *path, uint32_t flags);
/* The same in two steps, so that several children open at a time. */
void peer_open_begin(struct peer *peer, const char *path, uint32_t flags);
int peer_answer(struct peer *peer);
/* Closes the handle that was opened last. */
int peer_close(struct peer *peer);
/* Kills the child with all its handles. */
void peer_kill(struct peer *peer);

/* A shell command that keeps running, such as `exec qemu-io`; its standard
 * input is a pipe that ends with holder_stop(). */
struct holder {
    pid_t pid;
    int to;
};

/* Waits until `path` has a lock on `byte` (see byte_locked). */
int holder_start(struct holder *holder, const char *command,
                 const char *path, int byte);
void holder_stop(struct holder *holder);

/* Runs the command to its end; returns its exit status, and the beginning of
 * its output. */
int command_run(char *said, size_t bytes, const char *command);
int command_exists(const char *name);

/* Whether some process has an OFD lock on that byte of the file. */
int byte_locked(const char *path, int byte);
/* The locked bytes of 100 to 103 and 200 to 203, as "100 101 201". */
const char *bytes_locked(const char *path);

#endif
