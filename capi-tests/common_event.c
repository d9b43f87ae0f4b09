/* Handles of EVENTFD mode: see common_event.h. */
#include "common_event.h"

#include "common_mode.h"
#include "common_run.h"
#include "tap.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

static const struct {
    enum bed_kind bed;
    uint32_t engine;
    const char *words;
} kinds[EVENT_KINDS] = {
    { BED_FILE, BLKALIGN_ENGINE_THREADS, "file, threads" },
    { BED_FILE, BLKALIGN_ENGINE_AUTO, "file, io_uring" },
    { BED_SIM_SYNC, BLKALIGN_ENGINE_AUTO, "synchronous driver" },
    { BED_SIM_ASYNC, BLKALIGN_ENGINE_AUTO, "asynchronous driver" },
    { BED_SIM_AT_ONCE, BLKALIGN_ENGINE_AUTO, "driver that answers at once" }
};

blkalign_open_options event_options(const struct event_bed *event)
{
    blkalign_open_options options =
        options_of(0, BLKALIGN_COMPLETION_EVENTFD);

    options.engine = kinds[event->kind].engine;
    options.request_alignment = 4096;
    return options;
}

void event_begin(struct event_bed *event, enum event_kind kind)
{
    blkalign_open_options options;

    memset(event, 0, sizeof(*event));
    event->kind = kind;
    event->words = kinds[kind].words;
    if (bed_make(&event->bed, kinds[kind].bed, 64 * 4096))
        bail("%s: %s", event->words, event->bed.why_not);
    options = event_options(event);
    event->handle = bed_open(&event->bed, &options);
    event->fd = blkalign_get_event_fd(event->handle);
    if (event->fd < 0)
        bail("get_event_fd: %d %s", event->fd, blkalign_errmsg());
}

void event_end(struct event_bed *event)
{
    is_int(blkalign_close(event->handle), 0, "%s: close", event->words);
    if (event->bed.sim)
        ok(!*sim_violation(event->bed.sim), "%s: nothing to refuse %s",
           event->words, sim_violation(event->bed.sim));
    bed_remove(&event->bed);
}

int readable(int fd, int ms)
{
    struct pollfd look = { fd, POLLIN, 0 };
    int ret;

    do {
        ret = poll(&look, 1, ms);
    } while (ret < 0 && errno == EINTR);
    return ret == 1 && (look.revents & POLLIN);
}

int collect(blkalign_handle *handle, int max, int timeout_ms, int want)
{
    int64_t end = now_ms() + 10000 * run_slowness();
    int ran, total = 0;

    while (total < want && now_ms() < end) {
        ran = blkalign_poll(handle, max, timeout_ms);
        if (ran < 0 || ran > max)
            bail("poll of %d: %d %s", max, ran, blkalign_errmsg());
        total += ran;
    }
    return total;
}
