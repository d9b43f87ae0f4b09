/*
 * BLKALIGN_O_LOCK beside QEMU's own programs: the program that opens the image
 * first decides whether the other can open it.
 */
#include "common_aio.h"
#include "common_disk.h"
#include "common_peer.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define READER BLKALIGN_O_LOCK
#define WRITER (BLKALIGN_O_LOCK | BLKALIGN_O_RDWR)
#define BYTES (1 << 20)

static struct bed bed;
static char said[400];

static blkalign_handle *opened(uint32_t flags)
{
    blkalign_open_options options = options_of(flags, 0);
    blkalign_handle *handle = NULL;

    if (blkalign_open(bed.path, &options, &handle))
        bail("%s: %s", bed.path, blkalign_errmsg());
    return handle;
}

static int try_open(uint32_t flags)
{
    blkalign_open_options options = options_of(flags, 0);
    blkalign_handle *handle = NULL;
    int ret = blkalign_open(bed.path, &options, &handle);

    blkalign_close(handle);
    return ret;
}

/* A command for the image, whose name replaces the %s. */
static int qemu(const char *command)
{
    char line[400];

    snprintf(line, sizeof(line), command, bed.path);
    return command_run(said, sizeof(said), line);
}

static void refused(const char *command, const char *sentence)
{
    int status = qemu(command);

    if (!ok(status != 0 && strstr(said, "lock"), "%s: %s", bed.name,
            sentence))
        diag("%d: %s", status, said);
}

static void let_in(const char *command, const char *sentence)
{
    int status = qemu(command);

    if (!ok(status == 0, "%s: %s", bed.name, sentence))
        diag("%s", said);
}

static const char write_raw[] = "qemu-io -f raw -c 'write 0 512' %s";
static const char read_raw[] = "qemu-io -r -f raw -c 'read 0 512' %s";
static const char convert[] =
    "qemu-img convert -n -f raw --target-image-opts %s "
    "driver=null-co,size=1048576";
static void we_are_first(void)
{
    blkalign_handle *handle = opened(WRITER), *reader;

    refused(write_raw, "we write: qemu-io may not");
    refused(convert, "we write: qemu-img convert may not read");
    let_in("qemu-img info -U -f raw %s", "we write: -U may look");
    let_in(read_raw, "we write: who reads whatever there is may");
    blkalign_close(handle);
    let_in(write_raw, "after our close qemu-io may write");

    handle = opened(READER);
    refused(write_raw, "we read: qemu-io may not write");
    let_in(read_raw, "we read: qemu-io may, too");
    let_in(convert, "we read: qemu-img convert may, too");
    reader = opened(READER);
    blkalign_close(handle);
    refused(write_raw, "one of our two readers is closed: still not");
    blkalign_close(reader);
    let_in(write_raw, "after both qemu-io may write");

    handle = opened(BLKALIGN_O_RDWR);
    let_in(write_raw, "without BLKALIGN_O_LOCK nobody is kept out");
    blkalign_close(handle);
}

static void qemu_is_first(void)
{
    struct holder holder;
    char line[300];
    int ret;

    snprintf(line, sizeof(line), "exec qemu-io -f raw %s", bed.path);
    if (!ok(holder_start(&holder, line, bed.path, 101),
            "%s: qemu-io has it for writing", bed.name))
        return;
    ret = try_open(WRITER);
    is_int(ret, -EAGAIN, "%s: then we may not write", bed.name);
    ok(strstr(blkalign_errmsg(), "byte 101: another process uses the file "
              "for writing") != NULL, "%s: %s", bed.name, blkalign_errmsg());
    is_int(try_open(READER), -EAGAIN, "%s: nor read", bed.name);
    ok(strstr(blkalign_errmsg(), "byte 101") != NULL, "%s: %s", bed.name,
       blkalign_errmsg());
    is_int(try_open(BLKALIGN_O_RDWR), 0, "%s: unless without locks",
           bed.name);
    ok(strcmp(bytes_locked(bed.path), "100 101") == 0,
       "%s: nothing of ours is left: %s", bed.name, bytes_locked(bed.path));
    holder_stop(&holder);
    is_int(try_open(WRITER), 0, "%s: when it ends we may write", bed.name);

    snprintf(line, sizeof(line), "exec qemu-io -r -f raw %s", bed.path);
    ok(holder_start(&holder, line, bed.path, 100),
       "%s: qemu-io reads whatever there is", bed.name);
    is_int(try_open(WRITER), 0, "%s: we may write", bed.name);
    is_int(try_open(READER), 0, "%s: and read", bed.name);
    holder_stop(&holder);
}

/* A reader that excludes writers, as QEMU does for a qcow2 image. */
static void qemu_reads_what_nobody_writes(void)
{
    struct holder holder;
    char line[300];

    snprintf(line, sizeof(line), "qemu-img create -q -f qcow2 %s 1M",
             bed.path);
    if (command_run(said, sizeof(said), line)) {
        skip(said, "%s: a reader of qcow2", bed.name);
        return;
    }
    snprintf(line, sizeof(line), "exec qemu-io -r -f qcow2 %s", bed.path);
    ok(holder_start(&holder, line, bed.path, 203),
       "%s: qemu-io reads qcow2", bed.name);
    is_int(try_open(READER), 0, "%s: we may, too", bed.name);
    is_int(try_open(WRITER), -EAGAIN, "%s: but not write", bed.name);
    ok(strstr(blkalign_errmsg(), "byte 201: another process does not share "
              "writing") != NULL, "%s: %s", bed.name, blkalign_errmsg());
    holder_stop(&holder);

    snprintf(line, sizeof(line), "exec qemu-io -f qcow2 %s", bed.path);
    ok(holder_start(&holder, line, bed.path, 101),
       "%s: qemu-io writes qcow2", bed.name);
    is_int(try_open(READER), -EAGAIN, "%s: we may not read", bed.name);
    is_int(try_open(WRITER), -EAGAIN, "%s: nor write", bed.name);
    holder_stop(&holder);
}

int main(void)
{
    static const enum bed_kind kinds[] = { BED_FILE, BED_XFS, BED_LOOP };
    unsigned i;

    run_begin(100);
    if (!command_exists("qemu-io") || !command_exists("qemu-img"))
        skip_all("no qemu-io and qemu-img here (package qemu-utils)");
    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (bed_make(&bed, kinds[i], BYTES)) {
            skip(bed.why_not, "%s: image locks beside QEMU", bed.name);
            continue;
        }
        we_are_first();
        qemu_is_first();
        if (bed_is_file(&bed))
            qemu_reads_what_nobody_writes();
        bed_remove(&bed);
    }
    return done_testing();
}
