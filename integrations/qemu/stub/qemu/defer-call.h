/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef STUB_DEFER_CALL_H
#define STUB_DEFER_CALL_H

/* Once at the end of this thread's outermost section, or at once. */
void defer_call(void (*function)(void *), void *opaque);
void defer_call_begin(void);
void defer_call_end(void);

#endif
