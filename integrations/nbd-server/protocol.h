/*
 * The numbers of the NBD protocol that this server uses, by the names of its
 * specification (https://github.com/NetworkBlockDevice/nbd, doc/proto.md), and
 * how numbers lie in messages: big-endian.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stdint.h>

/* ---- handshake ---- */

#define NBD_MAGIC               UINT64_C(0x4e42444d41474943)  /* NBDMAGIC */
#define NBD_OPTION_MAGIC        UINT64_C(0x49484156454f5054)  /* IHAVEOPT */
#define NBD_OPTION_REPLY_MAGIC  UINT64_C(0x3e889045565a9)

/* Of the server, and with the same values of the client. */
#define NBD_FLAG_FIXED_NEWSTYLE 1u
#define NBD_FLAG_NO_ZEROES      2u

enum {
    NBD_OPT_EXPORT_NAME = 1, NBD_OPT_ABORT = 2, NBD_OPT_LIST = 3,
    NBD_OPT_INFO = 6, NBD_OPT_GO = 7
};

#define NBD_REP_ACK             1u
#define NBD_REP_SERVER          2u
#define NBD_REP_INFO            3u
#define NBD_REP_ERR_UNSUP       0x80000001u
#define NBD_REP_ERR_INVALID     0x80000003u
#define NBD_REP_ERR_UNKNOWN     0x80000006u
#define NBD_REP_ERR_TOO_BIG     0x80000009u

enum { NBD_INFO_EXPORT = 0, NBD_INFO_BLOCK_SIZE = 3 };

/* ---- what the export can do ---- */

#define NBD_FLAG_HAS_FLAGS          (1u << 0)
#define NBD_FLAG_READ_ONLY          (1u << 1)
#define NBD_FLAG_SEND_FLUSH         (1u << 2)
#define NBD_FLAG_SEND_FUA           (1u << 3)
#define NBD_FLAG_SEND_TRIM          (1u << 5)
#define NBD_FLAG_SEND_WRITE_ZEROES  (1u << 6)
#define NBD_FLAG_CAN_MULTI_CONN     (1u << 8)
#define NBD_FLAG_SEND_FAST_ZERO     (1u << 11)

/* ---- requests and replies ---- */

#define NBD_REQUEST_MAGIC       0x25609513u
#define NBD_SIMPLE_REPLY_MAGIC  0x67446698u

enum { NBD_REQUEST_BYTES = 28, NBD_REPLY_BYTES = 16 };

enum {
    NBD_CMD_READ = 0, NBD_CMD_WRITE = 1, NBD_CMD_DISC = 2, NBD_CMD_FLUSH = 3,
    NBD_CMD_TRIM = 4, NBD_CMD_WRITE_ZEROES = 6
};

#define NBD_CMD_FLAG_FUA        (1u << 0)
#define NBD_CMD_FLAG_NO_HOLE    (1u << 1)
#define NBD_CMD_FLAG_FAST_ZERO  (1u << 4)

enum {
    NBD_SUCCESS = 0, NBD_EPERM = 1, NBD_EIO = 5, NBD_ENOMEM = 12,
    NBD_EINVAL = 22, NBD_ENOSPC = 28, NBD_EOVERFLOW = 75, NBD_ENOTSUP = 95,
    NBD_ESHUTDOWN = 108
};

/* ---- numbers in messages ---- */

static inline uint64_t get_number(const unsigned char *from, int bytes)
{
    uint64_t number = 0;

    while (bytes-- > 0)
        number = number << 8 | *from++;
    return number;
}

/* Returns where the next one goes. */
static inline unsigned char *put_number(unsigned char *to, uint64_t number,
                                        int bytes)
{
    int i;

    for (i = bytes - 1; i >= 0; i--, number >>= 8)
        to[i] = (unsigned char)(number & 0xff);
    return to + bytes;
}

#endif
