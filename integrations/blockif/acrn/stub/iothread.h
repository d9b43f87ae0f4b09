/*
 * What ACRN's iothread.h declares that block_if.h names, as commit d61d98c of
 * August 2025 has it. For compiling here; not for use with ACRN.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef _iothread_CTX_H_
#define _iothread_CTX_H_

/* As there: what it takes for granted is the includer's to bring. */
struct iothread_ctx {
    pthread_t tid;
    int epfd;
    bool started;
    pthread_mutex_t mtx;
    int idx;
    cpu_set_t cpuset;
    char name[16];
};

struct iothreads_info {
    struct iothread_ctx *ioctx_base;
    int num;
};

#endif
