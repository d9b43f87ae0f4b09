/*
 * blkalign-torture: does a block back end keep its users' data? Concurrent
 * small writes, edges that cannot be read, odd ends, flushes, and random
 * operations against a copy. It works with any back end: see adapter.h.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "broken.h"
#include "memory.h"
#include "torture.h"

#include <care.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void list_all(void)
{
    const struct test_case *each;
    const struct fault_text *fault;

    puts("Cases:");
    for (each = cases; each->name; each++)
        printf("  %-20s  %s\n", each->name, each->promise);
    puts("\nFaults of --adapter broken:FAULT:");
    for (fault = fault_texts; fault->name; fault++)
        printf("  %-20s  %s\n", fault->name, fault->words);
}

static bool is_chosen(const struct settings *settings,
                      const struct test_case *test_case)
{
    unsigned i;

    for (i = 0; settings->only[i]; i++) {
        if (strcmp(settings->only[i], test_case->name) == 0)
            return true;
    }
    return i == 0;
}

struct targets {
    struct target plain;
    struct target faulty;       /* on a memory disk, if possible */
    bool has_faulty;
    struct memory_disk *memory;
};

static bool open_targets(struct targets *targets,
                         const struct settings *settings)
{
    const struct adapter *adapter = settings->adapter;
    char why[WHY_BYTES];

    if (adapter->takes_memory) {
        targets->memory = memory_disk_new(adapter->own_memory
                                              ? OWN_MEMORY_BYTES
                                              : MEMORY_BYTES);
        if (!targets->memory) {
            complain("no memory");
            return false;
        }
    }
    if (target_open(&targets->plain, settings,
                    adapter->own_memory ? targets->memory : NULL, why)) {
        complain("%s", why);
        return false;
    }
    if (adapter->own_memory || !adapter->takes_memory)
        return true;
    if (target_open(&targets->faulty, settings, targets->memory, why)) {
        complain("on a memory disk: %s", why);
        return false;
    }
    targets->has_faulty = true;
    return true;
}

static void run_case(struct trial *trial, const struct test_case *test_case,
                     const struct settings *settings,
                     struct targets *targets)
{
    trial_start(trial, test_case, settings,
                test_case->faults && targets->has_faulty ? &targets->faulty
                                                         : &targets->plain);
    if (trial->handles > trial->target->handle_count)
        trial_say(trial, STATE_SKIPPED, "--handles %u", settings->handles);
    else
        test_case->run(trial);
    if (trial->target->strayed[0])
        trial_say(trial, STATE_BROKEN, "%s", trial->target->strayed);
    trial->target->strayed[0] = '\0';
}

static int run_all(const struct settings *settings, struct targets *targets)
{
    static struct trial trials[CASES_MAX];
    const struct test_case *each;
    unsigned count = 0, done = 0;

    for (each = cases; each->name; each++)
        count += is_chosen(settings, each);
    report_plan(settings, &targets->plain, count);
    for (each = cases; each->name; each++) {
        if (!is_chosen(settings, each))
            continue;
        run_case(&trials[done], each, settings, targets);
        report_case(&trials[done], done + 1);
        done++;
    }
    return report_summary(settings, trials, count);
}

static bool may_write(const char *path, const struct settings *settings)
{
    char why[96];

    if (path && care_zoned(path)) {
        complain("%s is zoned: not for random writes", path);
        return false;
    }
    if (!path || settings->adapter->own_memory || settings->force ||
        !care_in_use(path, why, sizeof why))
        return true;
    complain("%s %s: --force overwrites it anyway", path, why);
    return false;
}

/* A failure to write the output, as on a full disk, is a failure. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    perror("blkalign-torture: standard output");
    return EXIT_CANNOT;
}

int main(int argc, char **argv)
{
    static struct settings settings;
    static struct targets targets;
    int status;

    care_descriptors();
    status = parse_options(argc, argv, &settings);
    if (status >= 0)
        return finish(status);
    if (settings.list) {
        list_all();
        return finish(0);
    }
    /* A server that goes away must become a message, not a SIGPIPE. */
    signal(SIGPIPE, SIG_IGN);
    status = EXIT_CANNOT;
    if (may_write(settings.place.target, &settings) &&
        open_targets(&targets, &settings))
        status = run_all(&settings, &targets);
    if (targets.has_faulty)
        target_close(&targets.faulty);
    target_close(&targets.plain);
    memory_disk_free(targets.memory);
    return finish(status);
}
