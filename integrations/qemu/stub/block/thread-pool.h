/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef STUB_THREAD_POOL_H
#define STUB_THREAD_POOL_H

typedef int ThreadPoolFunc(void *opaque);

int coroutine_fn thread_pool_submit_co(ThreadPoolFunc *function, void *arg);

#endif
