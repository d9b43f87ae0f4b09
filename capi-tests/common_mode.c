/* The present engine and completion mode: see common_mode.h. */
#include "common_mode.h"

#include "common_aio.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

struct mode {
    uint32_t engine, completion;
    const char *words;
};

/* Neighbours differ in both, so that two in a row cover much. AUTO means
 * io_uring, except where the system has none. */
static const struct mode modes[MODES] = {
    { BLKALIGN_ENGINE_THREADS, BLKALIGN_COMPLETION_SERIAL,
      "threads, serial" },
    { BLKALIGN_ENGINE_AUTO, BLKALIGN_COMPLETION_EVENTFD,
      "io_uring, eventfd" },
    { BLKALIGN_ENGINE_THREADS, BLKALIGN_COMPLETION_CONCURRENT,
      "threads, concurrent" },
    { BLKALIGN_ENGINE_AUTO, BLKALIGN_COMPLETION_SERIAL,
      "io_uring, serial" },
    { BLKALIGN_ENGINE_THREADS, BLKALIGN_COMPLETION_EVENTFD,
      "threads, eventfd" },
    { BLKALIGN_ENGINE_AUTO, BLKALIGN_COMPLETION_CONCURRENT,
      "io_uring, concurrent" },
};

/* Changed by the main thread only, while no other thread runs. */
static unsigned now;

/* Whether the environment allows this pair: its words begin with the engine
 * and end with the completion. */
static int is_wanted(const struct mode *mode)
{
    const char *engine = getenv("BLKALIGN_TEST_ENGINE");
    const char *completion = getenv("BLKALIGN_TEST_COMPLETION");
    const char *comma = strchr(mode->words, ',');
    size_t bytes = (size_t)(comma - mode->words);

    if (engine && *engine &&
        (strlen(engine) != bytes || strncmp(engine, mode->words, bytes)))
        return 0;
    return !completion || !*completion || !strcmp(completion, comma + 2);
}

void mode_first(unsigned number)
{
    unsigned tried;

    for (tried = 0; tried < MODES; tried++) {
        now = (number + tried) % MODES;
        if (is_wanted(&modes[now]))
            return;
    }
    bail("no such BLKALIGN_TEST_ENGINE or BLKALIGN_TEST_COMPLETION");
}

void mode_next(void)
{
    mode_first(now + 1);
}

blkalign_open_options mode_options(uint32_t flags)
{
    blkalign_open_options options;

    mode_first(now);
    options = options_of(flags, modes[now].completion);
    options.engine = modes[now].engine;
    return options;
}

const char *mode_words(void)
{
    return modes[now].words;
}
