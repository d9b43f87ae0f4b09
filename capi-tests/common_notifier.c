#include "common_notifier.h"
#include "common_run.h"
#include "tap.h"

#include <string.h>

int notifier_before(void *opaque, uint32_t op, int64_t offset, int64_t bytes,
                    blkalign_before_write_done_fn done, void *token)
{
    struct notifier *notifier = opaque;
    int holds, ret, by_return;

    pthread_mutex_lock(&notifier->lock);
    if (notifier->count < TOLD_MAX) {
        struct told *told = &notifier->told[notifier->count];

        told->op = op;
        told->offset = offset;
        told->bytes = bytes;
        told->done = done;
        told->token = token;
    }
    notifier->count++;
    holds = notifier->holds;
    ret = notifier->ret;
    by_return = notifier->by_return;
    pthread_cond_broadcast(&notifier->came);
    pthread_mutex_unlock(&notifier->lock);
    if (notifier->inside) {
        notifier->inside(notifier);
    }
    if (holds) {
        return 0;
    }
    if (by_return) {
        return ret;
    }
    done(token, ret);
    return 0;
}

void notifier_add(struct notifier *notifier, blkalign_handle *handle,
                  uint32_t unit)
{
    int ret;

    pthread_mutex_init(&notifier->lock, NULL);
    pthread_cond_init(&notifier->came, NULL);
    ret = blkalign_add_before_write(handle, unit, notifier_before, notifier,
                                    &notifier->added);
    if (ret < 0) {
        bail("blkalign_add_before_write: %s", blkalign_errmsg());
    }
}

void notifier_remove(struct notifier *notifier)
{
    is_int(blkalign_remove_before_write(notifier->added), 0, "removed");
}

int notifier_count(struct notifier *notifier)
{
    int count;

    pthread_mutex_lock(&notifier->lock);
    count = notifier->count;
    pthread_mutex_unlock(&notifier->lock);
    return count;
}

int notifier_told(struct notifier *notifier, int count, int ms)
{
    int64_t end = now_ms() + (int64_t)ms * run_slowness();

    while (notifier_count(notifier) < count) {
        if (now_ms() >= end) {
            return 0;
        }
        sleep_ms(1);
    }
    return 1;
}

void notifier_answer(struct notifier *notifier, int number, int ret)
{
    struct told told;

    pthread_mutex_lock(&notifier->lock);
    told = notifier->told[number];
    pthread_mutex_unlock(&notifier->lock);
    told.done(told.token, ret);
}

int notifier_was(struct notifier *notifier, int number, uint32_t op,
                 int64_t offset, int64_t bytes)
{
    struct told told;

    pthread_mutex_lock(&notifier->lock);
    told = notifier->told[number];
    pthread_mutex_unlock(&notifier->lock);
    if (told.op != op || told.offset != offset || told.bytes != bytes) {
        diag("call %d was operation %u of [%lld, +%lld)", number,
             (unsigned)told.op, (long long)told.offset,
             (long long)told.bytes);
        return 0;
    }
    return 1;
}

void notifier_let_pass(struct notifier *notifier, int ret)
{
    pthread_mutex_lock(&notifier->lock);
    notifier->holds = 0;
    notifier->ret = ret;
    pthread_mutex_unlock(&notifier->lock);
}
