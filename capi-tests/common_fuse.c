/* A file system in user space: see common_fuse.h. */
#include "common_fuse.h"

#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_NODE 2
#define REQUEST_MAX (1 << 20)

struct server {
    int fd;
    struct fuse_bed *bed;
    size_t most;
};

static void answer(const struct server *server, uint64_t unique, int error,
                   const void *data, size_t bytes)
{
    struct fuse_out_header header = { 0, error, unique };
    struct iovec iov[2] = { { &header, sizeof(header) },
                            { (void *)data, bytes } };

    header.len = (uint32_t)(sizeof(header) + bytes);
    if (writev(server->fd, iov, bytes ? 2 : 1) < 0 && errno != ENOENT)
        _exit(1);
}

static struct fuse_attr attributes(const struct server *server,
                                   uint64_t node)
{
    struct fuse_attr attr;

    memset(&attr, 0, sizeof(attr));
    attr.ino = node;
    attr.nlink = 1;
    attr.mode = node == FILE_NODE ? S_IFREG | 0600 : S_IFDIR | 0700;
    attr.size = node == FILE_NODE ? server->bed->length : 0;
    attr.blocks = attr.size / 512;
    attr.blksize = 4096;
    return attr;
}

static void look_up(const struct server *server, uint64_t unique,
                    const char *name)
{
    struct fuse_entry_out out;

    memset(&out, 0, sizeof(out));
    out.nodeid = FILE_NODE;
    out.attr = attributes(server, FILE_NODE);
    if (strcmp(name, "disk") == 0)
        answer(server, unique, 0, &out, sizeof(out));
    else
        answer(server, unique, -ENOENT, NULL, 0);
}

/* How many bytes of a request are moved. */
static uint32_t part(const struct server *server, uint64_t offset,
                     uint32_t bytes)
{
    size_t left = offset < server->bed->length
                      ? server->bed->length - (size_t)offset : 0;
    size_t most = left < server->most ? left : server->most;

    return bytes < most ? bytes : (uint32_t)most;
}

static void move_bytes(const struct server *server, uint32_t opcode,
                       uint64_t unique, const void *in)
{
    const struct fuse_read_in *read_in = in;
    const struct fuse_write_in *write_in = in;
    struct fuse_write_out out = { 0, 0 };
    uint8_t *bytes = server->bed->bytes;

    if (opcode == FUSE_READ) {
        answer(server, unique, 0, bytes + read_in->offset,
               part(server, read_in->offset, read_in->size));
        return;
    }
    out.size = part(server, write_in->offset, write_in->size);
    memcpy(bytes + write_in->offset, write_in + 1, out.size);
    answer(server, unique, 0, &out, sizeof(out));
}

static void serve_one(const struct server *server,
                      const struct fuse_in_header *header, const void *in)
{
    struct fuse_init_out init;
    struct fuse_attr_out attr;
    struct fuse_open_out opened;
    struct fuse_statfs_out statfs;

    switch (header->opcode) {
    case FUSE_INIT:
        memset(&init, 0, sizeof(init));
        init.major = FUSE_KERNEL_VERSION;
        init.minor = 31;
        /* Not FUSE_ASYNC_DIO. */
        init.flags = FUSE_BIG_WRITES;
        init.max_write = 128 << 10;
        answer(server, header->unique, 0, &init, sizeof(init));
        break;
    case FUSE_LOOKUP:
        look_up(server, header->unique, in);
        break;
    case FUSE_GETATTR:
        memset(&attr, 0, sizeof(attr));
        attr.attr = attributes(server, header->nodeid);
        answer(server, header->unique, 0, &attr, sizeof(attr));
        break;
    case FUSE_OPEN:
        memset(&opened, 0, sizeof(opened));
        opened.open_flags = FOPEN_DIRECT_IO;
        answer(server, header->unique, 0, &opened, sizeof(opened));
        break;
    case FUSE_STATFS:
        memset(&statfs, 0, sizeof(statfs));
        statfs.st.bsize = statfs.st.frsize = 4096;
        answer(server, header->unique, 0, &statfs, sizeof(statfs));
        break;
    case FUSE_READ:
    case FUSE_WRITE:
        move_bytes(server, header->opcode, header->unique, in);
        break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        break;
    case FUSE_FLUSH:
    case FUSE_FSYNC:
    case FUSE_RELEASE:
        answer(server, header->unique, 0, NULL, 0);
        break;
    default:
        answer(server, header->unique, -ENOSYS, NULL, 0);
    }
}

static void serve(const struct server *server)
{
    uint8_t *request = aligned_memory(REQUEST_MAX);
    ssize_t bytes;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        bytes = read(server->fd, request, REQUEST_MAX);
        if (bytes < 0 && (errno == EINTR || errno == ENOENT))
            continue;
        if (bytes <= 0)
            _exit(0);
        serve_one(server, (const void *)request,
                  request + sizeof(struct fuse_in_header));
    }
}

static int cannot(struct fuse_bed *bed, const char *what)
{
    snprintf(bed->why_not, sizeof(bed->why_not), "no FUSE: %s: %s", what,
             strerror(errno));
    return -1;
}

int fuse_bed_make(struct fuse_bed *bed, size_t length, size_t most)
{
    struct server server = { -1, bed, most };
    char options[128];

    memset(bed, 0, sizeof(*bed));
    bed->length = length;
    server.fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (server.fd < 0)
        return cannot(bed, "/dev/fuse");
    bed->bytes = mmap(NULL, length, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    snprintf(bed->dir, sizeof(bed->dir), "/tmp/blkalign-fuse-XXXXXX");
    if (bed->bytes == MAP_FAILED || !mkdtemp(bed->dir))
        return cannot(bed, "/tmp");
    janitor_tell("dir", bed->dir);
    snprintf(bed->path, sizeof(bed->path), "%s/disk", bed->dir);
    snprintf(options, sizeof(options),
             "fd=%d,rootmode=40000,user_id=0,group_id=0,max_read=131072",
             server.fd);
    if (mount("blkalign-test", bed->dir, "fuse", MS_NOSUID | MS_NODEV,
              options))
        return cannot(bed, "mount");
    bed->server = fork();
    if (bed->server == 0)
        serve(&server);
    if (bed->server < 0)
        bail("fork: %s", strerror(errno));
    close(server.fd);
    return 0;
}

void fuse_bed_remove(struct fuse_bed *bed)
{
    umount2(bed->dir, MNT_DETACH);
    kill(bed->server, SIGKILL);
    waitpid(bed->server, NULL, 0);
    munmap(bed->bytes, bed->length);
}
