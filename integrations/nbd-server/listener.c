/*
 * The sockets that clients connect to: a path, or a port of TCP.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "server.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 64 };

/* The socket that this server has made. */
static dev_t made_device;
static ino_t made_inode;

static bool is_socket(const char *path, struct stat *found)
{
    return lstat(path, found) == 0 && S_ISSOCK(found->st_mode);
}

/* Whether nobody listens there any more: an earlier server was killed. What is
 * no socket refuses connections, too, and is somebody's file. */
static bool is_left_over(const struct sockaddr_un *address)
{
    struct stat found;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool refused = fd >= 0 && is_socket(address->sun_path, &found) &&
                   connect(fd, (const struct sockaddr *)address,
                           sizeof *address) < 0 &&
                   errno == ECONNREFUSED;

    if (fd >= 0)
        close(fd);
    return refused;
}

static int bind_path(int fd, const struct sockaddr_un *address)
{
    const struct sockaddr *where = (const struct sockaddr *)address;
    int result = bind(fd, where, sizeof *address);

    if (result < 0 && errno == EADDRINUSE) {
        if (!is_left_over(address)) {
            errno = EADDRINUSE;
            return -1;
        }
        unlink(address->sun_path);
        result = bind(fd, where, sizeof *address);
    }
    return result;
}

int listen_on_socket(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct stat made;
    int fd;

    if (strlen(path) >= sizeof address.sun_path) {
        say("%s: too long for a socket", path);
        return -1;
    }
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind_path(fd, &address) < 0 || listen(fd, BACKLOG) < 0) {
        say("%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    if (is_socket(path, &made)) {
        made_device = made.st_dev;
        made_inode = made.st_ino;
    }
    return fd;
}

void remove_socket(const char *path)
{
    struct stat found;

    if (is_socket(path, &found) && found.st_dev == made_device &&
        found.st_ino == made_inode)
        unlink(path);
}

static int try_address(const struct addrinfo *address)
{
    int fd = socket(address->ai_family,
                    address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                    address->ai_protocol), on = 1, number;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 &&
        listen(fd, BACKLOG) == 0)
        return fd;
    number = errno;
    close(fd);
    errno = number;
    return -1;
}

int listen_on_port(const char *address, const char *port)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_PASSIVE };
    struct addrinfo *found, *each;
    int fd = -1, result = getaddrinfo(address, port, &hints, &found);

    if (result != 0) {
        say("%s, port %s: %s", address, port, gai_strerror(result));
        return -1;
    }
    for (each = found; each && fd < 0; each = each->ai_next)
        fd = try_address(each);
    if (fd < 0)
        say("%s, port %s: %s", address, port, strerror(errno));
    freeaddrinfo(found);
    return fd;
}
