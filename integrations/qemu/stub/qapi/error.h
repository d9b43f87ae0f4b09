/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef STUB_ERROR_H
#define STUB_ERROR_H

void error_setg(Error **errp, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void error_setg_errno(Error **errp, int os_errno, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
const char *error_get_pretty(const Error *err);
void error_free(Error *err);

#endif
