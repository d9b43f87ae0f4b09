/*
 * The command line.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "help.h"
#include "torture.h"

#ifndef TORTURE_STANDALONE
#include <blkalign.h>
#endif

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 300, TIMEOUT_S = 30, DEPTH = 32 };

void complain(const char *format, ...)
{
    va_list arguments;

    fputs("blkalign-torture: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    putc('\n', stderr);
}

/* ---- one option's argument; each function prints what is wrong ---- */

static bool take_number(const char *option, uint64_t least, uint64_t most,
                        uint64_t *value)
{
    unsigned long long number;
    char *end;

    errno = 0;
    number = strtoull(optarg, &end, 0);
    if (end == optarg || *end || *optarg == '-') {
        complain("%s: '%s' is not a number", option, optarg);
        return false;
    }
    if (errno || number < least || number > most) {
        complain("%s: '%s' is not from %llu to %llu", option, optarg,
                 (unsigned long long)least, (unsigned long long)most);
        return false;
    }
    *value = number;
    return true;
}

static bool take_unsigned(const char *option, unsigned least, unsigned most,
                          unsigned *value)
{
    uint64_t number;

    if (!take_number(option, least, most, &number))
        return false;
    *value = (unsigned)number;
    return true;
}

static bool take_adapter(struct settings *settings)
{
    size_t length = strcspn(optarg, ":");
    unsigned i;

    for (i = 0; adapters[i]; i++) {
        if (strncmp(adapters[i]->name, optarg, length) == 0 &&
            !adapters[i]->name[length])
            break;
    }
    settings->adapter = adapters[i];
    settings->place.kind = optarg[length] ? optarg + length + 1 : NULL;
    if (!settings->adapter)
        complain("no such adapter: '%s'", optarg);
    return settings->adapter != NULL;
}

static bool take_case(struct settings *settings)
{
    unsigned i, count = 0;

    while (settings->only[count])
        count++;
    for (i = 0; cases[i].name && strcmp(cases[i].name, optarg) != 0; i++)
        ;
    if (!cases[i].name)
        complain("no such case: '%s'; --list shows them", optarg);
    else if (count < CASES_MAX - 1)
        settings->only[count] = optarg;
    return cases[i].name != NULL;
}

/* ---- all of them ---- */

enum {
    LONG_DESTROY = 256, LONG_CASE, LONG_LIST, LONG_SEED, LONG_ROUNDS,
    LONG_SECONDS, LONG_HANDLES, LONG_BLOCK, LONG_SECTOR, LONG_TIMEOUT,
    LONG_BEHIND, LONG_FAULT_ON, LONG_FAULT_OFF,
    LONG_FLUSH_COUNT, LONG_SECOND, LONG_FORCE, LONG_VERSION
};

static const struct option long_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, LONG_VERSION },
    { "destroy-data", no_argument, NULL, LONG_DESTROY },
    { "force", no_argument, NULL, LONG_FORCE },
    { "adapter", required_argument, NULL, 'a' },
    { "case", required_argument, NULL, LONG_CASE },
    { "list", no_argument, NULL, LONG_LIST },
    { "seed", required_argument, NULL, LONG_SEED },
    { "rounds", required_argument, NULL, LONG_ROUNDS },
    { "seconds", required_argument, NULL, LONG_SECONDS },
    { "handles", required_argument, NULL, LONG_HANDLES },
    { "second", required_argument, NULL, LONG_SECOND },
    { "block", required_argument, NULL, LONG_BLOCK },
    { "sector", required_argument, NULL, LONG_SECTOR },
    { "timeout", required_argument, NULL, LONG_TIMEOUT },
    { "behind", required_argument, NULL, LONG_BEHIND },
    { "fault-on", required_argument, NULL, LONG_FAULT_ON },
    { "fault-off", required_argument, NULL, LONG_FAULT_OFF },
    { "flush-count", required_argument, NULL, LONG_FLUSH_COUNT },
    { NULL, 0, NULL, 0 },
};

static bool take_switch(int option, struct settings *settings)
{
    switch (option) {
    case LONG_DESTROY:
        return settings->destroy_data = true;
    case LONG_FORCE:
        return settings->force = true;
    case LONG_LIST:
        return settings->list = true;
    default:
        return false;
    }
}

static bool take_option(int option, struct settings *settings)
{
    switch (option) {
    case 'a':
        return take_adapter(settings);
    case 'o':
        settings->place.options = optarg;
        return true;
    case LONG_CASE:
        return take_case(settings);
    case LONG_SEED:
        return take_number("--seed", 0, UINT64_MAX, &settings->seed);
    case LONG_ROUNDS:
        return take_unsigned("--rounds", 1, 1 << 24, &settings->rounds);
    case LONG_SECONDS:
        return take_unsigned("--seconds", 1, 1 << 20, &settings->seconds);
    case LONG_HANDLES:
        return take_unsigned("--handles", 1, HANDLES_MAX,
                             &settings->handles);
    case LONG_BLOCK:
        return take_unsigned("--block", 2, 1 << 20, &settings->block);
    case LONG_SECTOR:
        return take_unsigned("--sector", 1, 1 << 20, &settings->sector);
    case LONG_TIMEOUT:
        return take_unsigned("--timeout", 1, 1 << 20, &settings->timeout_s);
    case LONG_SECOND:
        settings->second = optarg;
        return true;
    case LONG_BEHIND:
        settings->behind = optarg;
        return true;
    case LONG_FAULT_ON:
        settings->fault_on = optarg;
        return true;
    case LONG_FAULT_OFF:
        settings->fault_off = optarg;
        return true;
    case LONG_FLUSH_COUNT:
        settings->flush_count = optarg;
        return true;
    default:
        return take_switch(option, settings);
    }
}

/* Each of the adapter's options must be one that it has. */
static bool options_are_known(const struct settings *settings)
{
    const char *at = settings->place.options;
    char name[64];

    while (at && *at) {
        int length = (int)strcspn(at, ",=");

        snprintf(name, sizeof name, " %.*s ", length, at);
        if (!strstr(settings->adapter->option_names, name)) {
            complain("-o: adapter %s has no option '%.*s'",
                     settings->adapter->name, length, at);
            return false;
        }
        at += strcspn(at, ",");
        at += *at == ',';
    }
    return true;
}

static const struct adapter *adapter_for(const char *target)
{
    const char *name = !target                           ? NULL
                       : strncmp(target, "rbd:", 4) == 0 ? "blkalign-rbd"
                       : strstr(target, "://")           ? "nbd"
                                                         : NULL;
    unsigned i;

    for (i = 0; name && adapters[i]; i++) {
        if (strcmp(adapters[i]->name, name) == 0)
            return adapters[i];
    }
    return adapters[0];
}

/* Options that are right by themselves may exclude each other. */
static bool fits(struct settings *settings, int left)
{
    if (!settings->adapter)
        settings->adapter = adapter_for(settings->place.target);
    if (!options_are_known(settings))
        return false;
    if (left > 1)
        complain("only one TARGET");
    else if (settings->adapter->own_memory && left)
        complain("%s has no TARGET", settings->adapter->name);
    else if (!settings->adapter->own_memory && !left)
        complain("which TARGET?");
    else if (!settings->adapter->own_memory && settings->place.kind)
        complain("%s has no kinds", settings->adapter->name);
    else if (!settings->fault_on != !settings->fault_off)
        complain("--fault-on and --fault-off go together");
    else if (!settings->adapter->own_memory && !settings->destroy_data)
        complain("this overwrites %s: confirm with --destroy-data",
                 settings->place.target);
    else
        return true;
    return false;
}

static void print_help(void)
{
    const char *line;
    unsigned i;

    printf("%s%s%s", usage_line, help_text_1, help_text_2);
    for (i = 0; adapters[i]; i++) {
        printf("  %-10s ", adapters[i]->name);
        for (line = adapters[i]->help; *line; line++) {
            putchar(*line);
            if (*line == '\n')
                printf("%13s", "");
        }
        putchar('\n');
    }
}

static void print_version(void)
{
#ifdef TORTURE_STANDALONE
    puts("blkalign-torture, without libblkalign");
#else
    printf("blkalign-torture %s\n", blkalign_version());
#endif
}

static void set_defaults(struct settings *settings)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    settings->seed = (uint64_t)now.tv_sec * 1000 +
                     (uint64_t)now.tv_nsec / 1000000;
    settings->rounds = ROUNDS;
    settings->timeout_s = TIMEOUT_S;
    settings->handles = 2;
    settings->place.depth = DEPTH;
}

int parse_options(int argc, char **argv, struct settings *settings)
{
    int option;

    set_defaults(settings);
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":ha:o:", long_options,
                                 NULL)) != -1) {
        if (option == 'h')
            return print_help(), 0;
        if (option == LONG_VERSION)
            return print_version(), 0;
        if (option == '?' || option == ':') {
            complain(option == ':' ? "%s needs an argument"
                                   : "no such option: %s", argv[optind - 1]);
            fputs(usage_line, stderr);
            return EXIT_USAGE;
        }
        if (!take_option(option, settings))
            return EXIT_USAGE;
    }
    if (settings->list)
        return -1;
    settings->place.target = argv[optind];
    return fits(settings, argc - optind) ? -1 : EXIT_USAGE;
}
