/* A before-write notifier for tests: it notes what it is told, and answers as
 * it was told to. */
#ifndef COMMON_NOTIFIER_H
#define COMMON_NOTIFIER_H

#include <blkalign.h>
#include <pthread.h>
#include <stdint.h>

#define TOLD_MAX 64

struct told {
    uint32_t op;
    int64_t offset, bytes;
    blkalign_before_write_done_fn done;
    void *token;
};

struct notifier {
    pthread_mutex_t lock;
    pthread_cond_t came;
    blkalign_notifier *added;
    struct told told[TOLD_MAX];
    int count;                  /* how often it was called */
    int holds;                  /* it answers later, by notifier_answer() */
    int ret;                    /* else: what it answers */
    int by_return;              /* whether that is what it returns */
    void (*inside)(struct notifier *notifier);
    void *opaque;               /* for `inside` */
};

/* Adds it to the object of a handle; ends the program if that fails. */
void notifier_add(struct notifier *notifier, blkalign_handle *handle,
                  uint32_t unit);
void notifier_remove(struct notifier *notifier);
/* What blkalign_add_before_write() gets. */
int notifier_before(void *opaque, uint32_t op, int64_t offset, int64_t bytes,
                    blkalign_before_write_done_fn done, void *token);
/* Waits up to `ms` until it has been called so often; returns whether. */
int notifier_told(struct notifier *notifier, int count, int ms);
int notifier_count(struct notifier *notifier);
void notifier_answer(struct notifier *notifier, int number, int ret);
/* Whether call `number` was this one. */
int notifier_was(struct notifier *notifier, int number, uint32_t op,
                 int64_t offset, int64_t bytes);
/* From now on it answers at once with `ret`. */
void notifier_let_pass(struct notifier *notifier, int ret);

#endif
