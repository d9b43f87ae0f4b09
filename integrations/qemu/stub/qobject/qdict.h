/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef STUB_QDICT_H
#define STUB_QDICT_H

QDict *qdict_new(void);
void qdict_free(QDict *dict);
size_t qdict_size(const QDict *dict);
void qdict_put_str(QDict *dict, const char *key, const char *value);
const char *qdict_get_try_str(const QDict *dict, const char *key);
void qdict_del(QDict *dict, const char *key);

#endif
