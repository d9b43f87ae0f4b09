/*
 * blkalign-info: the alignments that a file or block device needs, and their
 * sources. Uses the public header only; opens read-only and writes nothing.
 *
 * Divisions: words for numbers, output for people, output for programs,
 * one path, the command line.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include <blkalign.h>

#include "care.h"
#include "text.h"
#include "watch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct choices {
    bool json, buffered, help, version;
    unsigned watch_seconds;         /* 0: facts only */
};

struct facts {
    const char *path;
    int64_t length;
    blkalign_limits limits;
};

/* Words for numbers. */

static const char *source_word(uint32_t source)
{
    switch (source) {
    case BLKALIGN_SOURCE_DEFAULT:
        return "default";
    case BLKALIGN_SOURCE_OVERRIDE:
        return "override";
    case BLKALIGN_SOURCE_STATX:
        return "statx";
    case BLKALIGN_SOURCE_DIOINFO:
        return "dioinfo";
    case BLKALIGN_SOURCE_BLKSSZGET:
        return "blksszget";
    case BLKALIGN_SOURCE_TRIAL:
        return "trial";
    case BLKALIGN_SOURCE_DRIVER:
        return "driver";
    case BLKALIGN_SOURCE_INTEGRITY:
        return "integrity";
    default:
        return "unknown";
    }
}

static const char *source_sentence(uint32_t source)
{
    switch (source) {
    case BLKALIGN_SOURCE_DEFAULT:
        return "assumed, no source";
    case BLKALIGN_SOURCE_STATX:
        return "from the kernel (statx)";
    case BLKALIGN_SOURCE_DIOINFO:
        return "from XFS (XFS_IOC_DIOINFO)";
    case BLKALIGN_SOURCE_BLKSSZGET:
        return "from the device (BLKSSZGET)";
    case BLKALIGN_SOURCE_TRIAL:
        return "found by trial reads";
    case BLKALIGN_SOURCE_INTEGRITY:
        return "from the disk's protection information (sysfs)";
    default:
        return source_word(source);
    }
}

static const char *engine_word(uint32_t engine)
{
    switch (engine) {
    case BLKALIGN_ENGINE_AUTO:
        return "auto";
    case BLKALIGN_ENGINE_THREADS:
        return "threads";
    case BLKALIGN_ENGINE_IO_URING:
        return "io_uring";
    default:
        return "unknown";
    }
}

/* Output for people. */

static void put_alignment(const char *what, uint32_t bytes, uint32_t source)
{
    printf("  %-21s%10" PRIu32 "  %s\n", what, bytes,
           source_sentence(source));
}

static void put_size(const char *what, uint32_t bytes, const char *if_zero)
{
    if (bytes)
        printf("  %-21s%10" PRIu32 "\n", what, bytes);
    else
        printf("  %-21s%10s  %s\n", what, "-", if_zero);
}

static void put_facts(const struct facts *facts)
{
    const blkalign_limits *limits = &facts->limits;

    put_text(stdout, facts->path);
    printf("\n  %-21s%10" PRId64 "\n", "length", facts->length);
    printf("  %-21s%10s\n", "direct I/O", limits->direct ? "yes" : "no");
    put_alignment("request alignment", limits->request_alignment,
                  limits->request_alignment_source);
    put_alignment("memory alignment", limits->mem_alignment,
                  limits->mem_alignment_source);
    put_alignment("segment alignment", limits->segment_alignment,
                  limits->segment_alignment_source);
    put_size("logical block", limits->logical_block_size, "unknown");
    put_size("physical block", limits->physical_block_size, "unknown");
    put_size("optimal transfer", limits->opt_transfer, "unknown");
    put_size("largest transfer", limits->max_transfer, "no limit known");
    put_size("most segments", limits->max_segments, "no limit known");
    put_size("discard alignment", limits->discard_alignment, "unknown");
    put_size("zeroes alignment", limits->write_zeroes_alignment, "unknown");
    put_size("largest atomic write", limits->atomic_write_unit_max,
             "nothing beyond the logical block");
    printf("  %-21s%10s\n", "engine", engine_word(limits->engine));
}

/* Output for programs. */

static void json_number(const char *name, int64_t value)
{
    printf(",\n    \"%s\": %" PRId64, name, value);
}

static void json_word(const char *name, const char *value)
{
    printf(",\n    \"%s\": \"%s\"", name, value);
}

static void json_facts(const struct facts *facts)
{
    const blkalign_limits *limits = &facts->limits;

    fputs("  {\n", stdout);
    json_path(facts->path, "    ");
    json_number("length", facts->length);
    printf(",\n    \"direct\": %s", limits->direct ? "true" : "false");
    json_number("request_alignment", limits->request_alignment);
    json_word("request_alignment_source",
              source_word(limits->request_alignment_source));
    json_number("mem_alignment", limits->mem_alignment);
    json_word("mem_alignment_source",
              source_word(limits->mem_alignment_source));
    json_number("segment_alignment", limits->segment_alignment);
    json_word("segment_alignment_source",
              source_word(limits->segment_alignment_source));
    json_number("logical_block_size", limits->logical_block_size);
    json_number("physical_block_size", limits->physical_block_size);
    json_number("opt_transfer", limits->opt_transfer);
    json_number("max_transfer", limits->max_transfer);
    json_number("max_segments", limits->max_segments);
    json_number("discard_alignment", limits->discard_alignment);
    json_number("write_zeroes_alignment", limits->write_zeroes_alignment);
    json_number("atomic_write_unit_max", limits->atomic_write_unit_max);
    json_word("engine", engine_word(limits->engine));
    fputs("\n  }", stdout);
}

static void json_error(const char *path, int error, const char *words)
{
    fputs("  {\n", stdout);
    json_path(path, "    ");
    json_number("errno", error);
    fputs(",\n    \"error\": ", stdout);
    json_string(words);
    fputs("\n  }", stdout);
}

/* One path. */

/* Returns 0 or -errno, like the library. */
static int gather(const char *path, bool buffered, unsigned watch_seconds,
                  struct facts *facts)
{
    blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    blkalign_limits limits = BLKALIGN_LIMITS_INIT;
    blkalign_handle *handle;
    int result;

    options.flags = buffered ? 0 : BLKALIGN_O_DIRECT;
    result = blkalign_open(path, &options, &handle);
    if (result < 0)
        return result;
    facts->path = path;
    facts->limits = limits;
    facts->length = blkalign_getlength(handle);
    result = facts->length < 0 ? (int)facts->length : 0;
    if (result == 0)
        result = blkalign_get_limits(handle, &facts->limits);
    if (result == 0 && watch_seconds) {
        put_facts(facts);
        result = watch(handle, facts->length, watch_seconds);
    }
    blkalign_close(handle);
    return result;
}

/* As a rule the library's words name the path already. */
static void complain(const char *path, const char *words)
{
    size_t length = strlen(path);

    fputs("blkalign-info: ", stderr);
    if (strncmp(words, path, length) != 0 || words[length] != ':') {
        put_text(stderr, path);
        fputs(": ", stderr);
    }
    put_text(stderr, words);
    putc('\n', stderr);
}

static bool show(const char *path, const struct choices *choices)
{
    struct facts facts;
    char words[4096];
    int result = gather(path, choices->buffered, choices->watch_seconds,
                        &facts);

    if (result >= 0) {
        if (choices->json)
            json_facts(&facts);
        else if (!choices->watch_seconds)
            put_facts(&facts);
        return true;
    }
    snprintf(words, sizeof words, "%s", blkalign_errmsg());
    if (!words[0])
        snprintf(words, sizeof words, "%s", strerror(-result));
    complain(path, words);
    if (choices->json)
        json_error(path, -result, words);
    if (result == -EINVAL && !choices->buffered &&
        gather(path, true, 0, &facts) >= 0)
        fputs("blkalign-info: hint: --buffered opens it without O_DIRECT\n",
              stderr);
    return false;
}

/* The command line. */

static const char usage_line[] =
    "Usage: blkalign-info [--json] [--buffered] [--watch=SECONDS] PATH...\n";

static const char help_text[] =
    "Shows the alignments that files and block devices need, and their\n"
    "sources. Opens each PATH for reading only, with O_DIRECT.\n"
    "\n"
    "  --buffered  open without O_DIRECT\n"
    "  --json      an array with one object for each PATH; 0: unknown, or no\n"
    "              limit; for a path that is not UTF-8 also path_hex; for a\n"
    "              path that failed errno and error instead of facts\n"
    "  --watch=SECONDS  besides, read a block every 10 ms, and show each\n"
    "              second how long that took: median, 99 of 100, longest\n"
    "  --help      show this\n"
    "  --version   show the version\n"
    "\n"
    "Exit status: 0, or 1 if any PATH failed, or 2 if the usage is wrong.\n";

static bool parse_seconds(const char *text, struct choices *choices)
{
    char *end = NULL;
    unsigned long seconds = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || !seconds || seconds > 86400) {
        fputs("blkalign-info: --watch wants 1 to 86400 seconds\n", stderr);
        return false;
    }
    choices->watch_seconds = (unsigned)seconds;
    return true;
}

/* Returns the index of the first path, or -1. */
static int parse(int argc, char **argv, struct choices *choices)
{
    int i;

    for (i = 1; i < argc; i++) {
        const char *argument = argv[i];

        if (strcmp(argument, "--") == 0)
            return i + 1;
        if (argument[0] != '-' || !argument[1])
            return i;
        if (strcmp(argument, "--json") == 0) {
            choices->json = true;
        } else if (strcmp(argument, "--buffered") == 0) {
            choices->buffered = true;
        } else if (strncmp(argument, "--watch=", 8) == 0) {
            if (!parse_seconds(argument + 8, choices))
                return -1;
        } else if (strcmp(argument, "--help") == 0) {
            choices->help = true;
        } else if (strcmp(argument, "--version") == 0) {
            choices->version = true;
        } else {
            fputs("blkalign-info: no such option: ", stderr);
            put_text(stderr, argument);
            putc('\n', stderr);
            return -1;
        }
    }
    return i;
}

/* A failure to write the output, as on a full disk, is a failure. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    perror("blkalign-info: standard output");
    return EXIT_FAILED;
}

int main(int argc, char **argv)
{
    struct choices choices = { false, false, false, false, 0 };
    int first, i, status = 0;

    care_descriptors();
    first = parse(argc, argv, &choices);
    if (first > 0 && choices.help) {
        printf("%s%s", usage_line, help_text);
        return finish(0);
    }
    if (first > 0 && choices.version) {
        printf("blkalign-info %s\n", blkalign_version());
        return finish(0);
    }
    if (first < 0 || first >= argc) {
        if (first >= argc)
            fputs("blkalign-info: which PATH?\n", stderr);
        fprintf(stderr, "%s", usage_line);
        return EXIT_USAGE;
    }
    if (choices.json && choices.watch_seconds) {
        fputs("blkalign-info: --json and --watch exclude each other\n",
              stderr);
        return EXIT_USAGE;
    }
    for (i = first; i < argc; i++) {
        if (choices.json)
            fputs(i > first ? ",\n" : "[\n", stdout);
        if (!show(argv[i], &choices))
            status = EXIT_FAILED;
    }
    if (choices.json)
        fputs("\n]\n", stdout);
    return finish(status);
}
