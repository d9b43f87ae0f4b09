/* What blkalign.c uses of QEMU's basics, to compile it without QEMU.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef STUB_OSDEP_H
#define STUB_OSDEP_H

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef IOV_MAX
#define IOV_MAX 1024
#endif
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* QEMU is built without -Wunused-parameter. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

typedef struct AioContext AioContext;
typedef struct BlockDriver BlockDriver;
typedef struct BlockDriverState BlockDriverState;
typedef struct Coroutine Coroutine;
typedef struct Error Error;
typedef struct QDict QDict;

typedef struct QemuMutex {
    pthread_mutex_t lock;
} QemuMutex;

void qemu_mutex_init(QemuMutex *mutex);
void qemu_mutex_destroy(QemuMutex *mutex);
void qemu_mutex_lock(QemuMutex *mutex);
void qemu_mutex_unlock(QemuMutex *mutex);
uintptr_t qemu_real_host_page_size(void);

#endif
