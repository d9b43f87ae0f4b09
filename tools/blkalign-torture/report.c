/*
 * TAP, and a summary in words.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "text.h"
#include "torture.h"

#include <stdio.h>
#include <string.h>

void report_plan(const struct settings *settings, const struct target *target,
                 unsigned count)
{
    fputs("# ", stdout);
    put_text(stdout, settings->place.target ? settings->place.target
                                            : "in memory");
    printf(", adapter %s%s%s%s%s\n# ", settings->adapter->name,
           settings->place.kind ? ":" : "",
           settings->place.kind ? settings->place.kind : "",
           settings->place.options ? " -o " : "",
           settings->place.options ? settings->place.options : "");
    put_text(stdout, target->facts.words);
    printf("\n# %lld bytes, blocks of %u, small requests of %u, %u handles, "
           "seed %llu\n", (long long)target->length,
           (unsigned)target->block, (unsigned)target->sector,
           target->handle_count, (unsigned long long)settings->seed);
    printf("1..%u\n", count);
    fflush(stdout);
}

void report_case(const struct trial *trial, unsigned number)
{
    const char *line = trial->notes, *end;

    printf("%sok %u - %s%s", trial->state == STATE_BROKEN ? "not " : "",
           number, trial->test_case->name,
           trial->state == STATE_SKIPPED ? " # SKIP " : ": ");
    put_text(stdout, trial->words);
    putchar('\n');
    for (; *line; line = end + 1) {
        end = strchr(line, '\n');
        if (!end)
            break;
        printf("#   %.*s\n", (int)(end - line), line);
    }
    fflush(stdout);
}

static unsigned list(const struct trial *trials, unsigned count,
                     enum state state, const char *title)
{
    unsigned i, found = 0;

    for (i = 0; i < count; i++) {
        const struct trial *trial = &trials[i];
        const char *promise = trial->test_case->promise;

        if (trial->state != state)
            continue;
        if (!found++)
            printf("#\n# %s\n", title);
        printf("#   %s: %s: ", trial->test_case->name, promise);
        put_text(stdout, trial->words);
        putchar('\n');
    }
    return found;
}

int report_summary(const struct settings *settings,
                   const struct trial *trials, unsigned count)
{
    unsigned broken;

    list(trials, count, STATE_HOLDS, "What holds:");
    list(trials, count, STATE_FACT, "Facts:");
    list(trials, count, STATE_SKIPPED, "What could not be tested:");
    broken = list(trials, count, STATE_BROKEN, "What DOES NOT HOLD:");
    printf("#\n# %s\n", broken ? "Not all guarantees hold."
                               : "No guarantee that was tested is broken.");
    if (broken)
        printf("# Again: --seed %llu --rounds %u, with the same options.\n",
               (unsigned long long)settings->seed, settings->rounds);
    return broken ? EXIT_BROKEN : 0;
}
