/*
 * For the tests of the driver: servers, and one-line I/O. All is in a
 * temporary folder, which goes with the program, as do its servers.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef TEST_SERVER_H
#define TEST_SERVER_H

#include "blkalign-nbd.h"
#include "tap.h"

#include <stdbool.h>
#include <sys/types.h>

enum { BLOCK = 4096, DISK_BYTES = 8 << 20 };

/* Skips all where nbdkit or one of its filters is missing. */
void stage_open(void);
/* Path in the folder, in one of a few static places. */
const char *in_stage(const char *name);
/* nbdkit with these arguments, in one string split at blanks; "" is the one
 * with DISK_BYTES of memory that refuses what is not whole blocks. */
void server_start(const char *arguments);
/* SIGKILL, as a loss of power would; the socket is gone, too. */
void server_kill(void);
/* It answers no more, until it is killed. */
void server_freeze(void);
/* SIGTERM; waits for it. */
void server_stop(void);
/* Has ended by itself within ten seconds? */
bool server_ended(void);
const char *server_uri(void);

/* Opens, or bails out. `nbd` may be NULL. */
blkalign_handle *open_rw(const blkalign_nbd_options *nbd);
/* ... or returns what comes back; words are in `last_words`. */
int try_open(const blkalign_nbd_options *nbd, uint32_t flags,
             blkalign_handle **out);
extern char last_words[BLKALIGN_NBD_WORDS];

/* Do lines of `file` in the folder match? How many. */
int lines_with(const char *file, const char *pattern);
/* The shell's exit status. */
int shell(const char *format, ...) TAP_FORMAT(1);

/* Options with `tell` that counts, for waiting. */
struct told {
    int lost, again, given_up;          /* atomic */
};
extern struct told told;
blkalign_nbd_options with_reconnect(uint32_t seconds);
/* Until the counter is at least that, half a minute; bails out else. */
void wait_for(const int *counter, int least);
double seconds(void);

#endif
