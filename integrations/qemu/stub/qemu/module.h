/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef STUB_MODULE_H
#define STUB_MODULE_H

/* Runs before main(), like the real one's registration. */
#define block_init(function) \
    static void __attribute__((constructor)) do_##function(void) \
    { \
        function(); \
    } \
    typedef int block_init_wants_a_semicolon

#endif
