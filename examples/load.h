/* A guest's load for backup.c: one thread that overwrites sectors here and
 * there; and a line of progress.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef LOAD_H
#define LOAD_H

#include <blkalign.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct load {
    blkalign_handle *disk;
    pthread_t thread;
    atomic_int ends;
    atomic_long writes;
};

static void *load_run(void *opaque)
{
    struct load *load = opaque;
    int64_t sectors = blkalign_getlength(load->disk) / 512;
    uint64_t dice = 1;
    char sector[512];

    memset(sector, 'b', sizeof sector);
    while (sectors > 0 && !atomic_load(&load->ends)) {
        dice = dice * 6364136223846793005u + 1442695040888963407u;
        if (blkalign_pwrite(load->disk,
                            (int64_t)((dice >> 33) % (uint64_t)sectors) * 512,
                            sizeof sector, sector, 0) < 0) {
            fprintf(stderr, "a write: %s\n", blkalign_errmsg());
            exit(EXIT_FAILURE);
        }
        atomic_fetch_add(&load->writes, 1);
    }
    return NULL;
}

static void load_begin(struct load *load, blkalign_handle *disk)
{
    memset(load, 0, sizeof *load);
    load->disk = disk;
    if (pthread_create(&load->thread, NULL, load_run, load) != 0)
        exit(EXIT_FAILURE);
}

static long load_writes(struct load *load)
{
    return atomic_load(&load->writes);
}

static void load_end(struct load *load)
{
    atomic_store(&load->ends, 1);
    pthread_join(load->thread, NULL);
}

static void show_progress(int64_t units, int64_t count, long writes)
{
    printf("\r%3d %% copied, %ld writes meanwhile%s",
           (int)(units * 100 / count), writes, units == count ? "\n" : "");
    fflush(stdout);
}

#endif
