/*
 * The command line: that of `qemu-img bench`, and more.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "bench.h"
#include "help.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUEST_BYTES_MAX (INT64_C(1) << 30)

enum { DEPTH_MAX = 65536, THREADS_MAX = 256, IOVECS_MAX = 1024 };

struct word {
    const char *word;
    uint32_t value;
};

static const struct word orders[] = {
    { "seq", ORDER_SEQ }, { "random", ORDER_RANDOM },
    { "same", ORDER_SAME }, { "zipf", ORDER_ZIPF },
    { "sectors", ORDER_SECTORS }, { NULL, 0 },
};

static const struct word completions[] = {
    { "serial", BLKALIGN_COMPLETION_SERIAL },
    { "concurrent", BLKALIGN_COMPLETION_CONCURRENT },
    { "eventfd", BLKALIGN_COMPLETION_EVENTFD },
    { "sync", COMPLETION_SYNC }, { NULL, 0 },
};

static const struct word polls[] = {
    { "first", POLL_FIRST }, { "all", POLL_ALL }, { NULL, 0 },
};

static const struct word refills[] = {
    { "callback", REFILL_CALLBACK }, { "thread", REFILL_THREAD }, { NULL, 0 },
};

static const struct word engines[] = {
    { "auto", BLKALIGN_ENGINE_AUTO }, { "threads", BLKALIGN_ENGINE_THREADS },
    { "io_uring", BLKALIGN_ENGINE_IO_URING }, { NULL, 0 },
};

/* The cache modes of QEMU. */
static const struct word caches[] = {
    { "none", BLKALIGN_O_DIRECT },
    { "directsync", BLKALIGN_O_DIRECT | BLKALIGN_O_WRITETHROUGH },
    { "writeback", 0 },
    { "writethrough", BLKALIGN_O_WRITETHROUGH },
    { "unsafe", BLKALIGN_O_NO_FLUSH }, { NULL, 0 },
};

static const char *word_for(const struct word *words, uint32_t value)
{
    for (; words->word; words++) {
        if (words->value == value)
            return words->word;
    }
    return "unknown";
}

const char *order_word(enum order order)
{
    return word_for(orders, order);
}

const char *poll_word(enum poll poll)
{
    return word_for(polls, poll);
}

const char *refill_word(enum refill refill)
{
    return word_for(refills, refill);
}

const char *completion_word(uint32_t completion)
{
    return word_for(completions, completion);
}

const char *engine_word(uint32_t engine)
{
    return word_for(engines, engine);
}

/* ---- one option's argument; each function prints what is wrong ---- */

static bool take_word(const char *option, const struct word *words,
                      uint32_t *value)
{
    const struct word *each;

    for (each = words; each->word; each++) {
        if (strcmp(optarg, each->word) == 0) {
            *value = each->value;
            return true;
        }
    }
    complain("%s: no such word: '%s'", option, optarg);
    fputs("Known are:", stderr);
    for (each = words; each->word; each++)
        fprintf(stderr, " %s", each->word);
    putc('\n', stderr);
    return false;
}

/* A number in any base that C knows, with a suffix k, M, G or T. */
static bool take_number(const char *option, int64_t least, int64_t most,
                        int64_t *value)
{
    static const char suffixes[] = "bBkKmMgGtT";
    const char *suffix;
    char *end;
    long long number;
    unsigned shift = 0;

    errno = 0;
    number = strtoll(optarg, &end, 0);
    if (end != optarg && *end && !errno &&
        (suffix = strchr(suffixes, *end)) != NULL && !end[1]) {
        shift = (unsigned)(suffix - suffixes) / 2 * 10;
        end++;
    }
    if (end == optarg || *end) {
        complain("%s: '%s' is not a number", option, optarg);
        return false;
    }
    if (errno || number < least || number > most >> shift) {
        complain("%s: '%s' is not from %lld to %lld", option, optarg,
                 (long long)least, (long long)most);
        return false;
    }
    *value = number << shift;
    return true;
}

static bool take_unsigned(const char *option, int64_t least, int64_t most,
                          unsigned *value)
{
    int64_t number;

    if (!take_number(option, least, most, &number))
        return false;
    *value = (unsigned)number;
    return true;
}

/* ---- all of them ---- */

enum {
    LONG_FLUSH_INTERVAL = 256, LONG_PATTERN, LONG_NO_DRAIN, LONG_ORDER,
    LONG_COMPLETION, LONG_BATCH, LONG_THREADS, LONG_HANDLES, LONG_MIX,
    LONG_VERIFY, LONG_NO_MERGE, LONG_LATENCY, LONG_JSON, LONG_SEED,
    LONG_ALIGN, LONG_REGISTERED, LONG_POLL, LONG_REFILL, LONG_IOVECS,
    LONG_FORCE, LONG_THROTTLE, LONG_NOTIFIER, LONG_VERSION
};

static const struct option long_options[] = {
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, LONG_VERSION },
    { "flush-interval", required_argument, NULL, LONG_FLUSH_INTERVAL },
    { "no-drain", no_argument, NULL, LONG_NO_DRAIN },
    { "pattern", required_argument, NULL, LONG_PATTERN },
    { "force-share", no_argument, NULL, 'U' },
    { "quiet", no_argument, NULL, 'q' },
    { "order", required_argument, NULL, LONG_ORDER },
    { "completion", required_argument, NULL, LONG_COMPLETION },
    { "batch", required_argument, NULL, LONG_BATCH },
    { "threads", required_argument, NULL, LONG_THREADS },
    { "handles", required_argument, NULL, LONG_HANDLES },
    { "poll", required_argument, NULL, LONG_POLL },
    { "refill", required_argument, NULL, LONG_REFILL },
    { "iovecs", required_argument, NULL, LONG_IOVECS },
    { "throttle", required_argument, NULL, LONG_THROTTLE },
    { "notifier", required_argument, NULL, LONG_NOTIFIER },
    { "mix", required_argument, NULL, LONG_MIX },
    { "verify", no_argument, NULL, LONG_VERIFY },
    { "no-merge", no_argument, NULL, LONG_NO_MERGE },
    { "registered", no_argument, NULL, LONG_REGISTERED },
    { "latency", no_argument, NULL, LONG_LATENCY },
    { "json", no_argument, NULL, LONG_JSON },
    { "seed", required_argument, NULL, LONG_SEED },
    { "align", required_argument, NULL, LONG_ALIGN },
    { "force", no_argument, NULL, LONG_FORCE },
    { NULL, 0, NULL, 0 },
};

static bool take_raw(void)
{
    if (strcmp(optarg, "raw") == 0)
        return true;
    complain("-f: only raw, not '%s'", optarg);
    return false;
}

static bool take_order(struct settings *settings)
{
    uint32_t value = 0;

    if (!take_word("--order", orders, &value))
        return false;
    settings->order = (enum order)value;
    return true;
}

static bool take_poll(struct settings *settings)
{
    uint32_t value = 0;

    if (!take_word("--poll", polls, &value))
        return false;
    settings->poll = (enum poll)value;
    return true;
}

static bool take_refill(struct settings *settings)
{
    uint32_t value = 0;

    if (!take_word("--refill", refills, &value))
        return false;
    settings->refill = (enum refill)value;
    return true;
}

static bool take_cache(struct settings *settings)
{
    uint32_t value;

    if (!take_word("-t", caches, &value))
        return false;
    settings->open_flags &= ~(uint32_t)(BLKALIGN_O_DIRECT |
                                        BLKALIGN_O_WRITETHROUGH |
                                        BLKALIGN_O_NO_FLUSH);
    settings->open_flags |= value;
    return true;
}

/* The options of `qemu-img bench`; -1: the option is none of these. */
static int take_qemu_option(int option, struct settings *settings)
{
    unsigned byte;

    switch (option) {
    case 'c':
        return take_number("-c", 1, INT64_MAX / 2, &settings->count);
    case 'd':
        return take_unsigned("-d", 1, DEPTH_MAX, &settings->depth);
    case 'f':
        return take_raw();
    case 'i':
        return take_word("-i", engines, &settings->engine);
    case 'n':
    case 'U':
        /* Linux AIO, and sharing despite locks: blkalign-bench has neither. */
        return true;
    case 'o':
        return take_number("-o", 0, INT64_MAX / 2, &settings->start_offset);
    case 'q':
        return settings->quiet = true;
    case 's':
        return take_number("-s", 1, REQUEST_BYTES_MAX,
                           &settings->request_bytes);
    case 'S':
        return take_number("-S", 0, INT64_MAX / 2, &settings->step_bytes);
    case 't':
        return take_cache(settings);
    case 'w':
        settings->read_percent = 0;
        return true;
    case LONG_FLUSH_INTERVAL:
        return take_number("--flush-interval", 0, INT64_MAX / 2,
                           &settings->flush_interval);
    case LONG_NO_DRAIN:
        settings->drain_on_flush = false;
        return true;
    case LONG_PATTERN:
        if (!take_unsigned("--pattern", 0, UCHAR_MAX, &byte))
            return false;
        settings->pattern = (unsigned char)byte;
        return true;
    default:
        return -1;
    }
}

static bool take_own_option(int option, struct settings *settings)
{
    int64_t number;

    switch (option) {
    case LONG_ORDER:
        return take_order(settings);
    case LONG_COMPLETION:
        return take_word("--completion", completions, &settings->completion);
    case LONG_BATCH:
        return take_unsigned("--batch", 0, DEPTH_MAX, &settings->batch);
    case LONG_THREADS:
        return take_unsigned("--threads", 1, THREADS_MAX, &settings->threads);
    case LONG_HANDLES:
        return take_unsigned("--handles", 1, THREADS_MAX, &settings->handles);
    case LONG_POLL:
        return take_poll(settings);
    case LONG_REFILL:
        return take_refill(settings);
    case LONG_IOVECS:
        return take_unsigned("--iovecs", 1, IOVECS_MAX, &settings->iovecs);
    case LONG_THROTTLE:
        return take_number("--throttle", 1, INT64_MAX, &settings->throttle);
    case LONG_NOTIFIER:
        return take_number("--notifier", 1, 1 << 30, &settings->notifier);
    case LONG_MIX:
        return take_unsigned("--mix", 0, 100, &settings->read_percent);
    case LONG_VERIFY:
        return settings->verify = true;
    case LONG_REGISTERED:
        settings->request_flags |= BLKALIGN_REQ_REGISTERED_BUF;
        return true;
    case LONG_NO_MERGE:
        settings->open_flags |= BLKALIGN_O_NO_MERGE;
        return true;
    case LONG_LATENCY:
        return settings->latency = true;
    case LONG_JSON:
        return settings->json = true;
    case LONG_FORCE:
        return settings->force = true;
    case LONG_SEED:
        if (!take_number("--seed", 1, INT64_MAX, &number))
            return false;
        settings->seed = (uint64_t)number;
        return true;
    case LONG_ALIGN:
        return take_unsigned("--align", 1, 1 << 20, &settings->alignment);
    default:
        return false;
    }
}

/* Gives a value to what no option has set. */
static void fill_in(struct settings *settings)
{
    bool sync = settings->completion == COMPLETION_SYNC;
    bool eventfd = settings->completion == BLKALIGN_COMPLETION_EVENTFD;

    if (!settings->step_bytes)
        settings->step_bytes = settings->request_bytes;
    if (settings->read_percent < 100)
        settings->open_flags |= BLKALIGN_O_RDWR;
    /* With the stamps of an earlier run a lost write would not show. */
    if (!settings->seed)
        settings->seed = settings->verify ? clock_ns() >> 10 : 1;
    if (!settings->refill)
        settings->refill = sync || eventfd ? REFILL_THREAD : REFILL_CALLBACK;
}

/* False, with a message: the ways to complete and to submit exclude each
 * other. */
static bool modes_fit(const struct settings *settings)
{
    bool sync = settings->completion == COMPLETION_SYNC;
    bool eventfd = settings->completion == BLKALIGN_COMPLETION_EVENTFD;
    bool poll_all = settings->poll == POLL_ALL;

    if (poll_all && !eventfd)
        complain("--poll all is for --completion eventfd");
    else if (poll_all && settings->flush_interval)
        complain("--poll all has no --flush-interval: its threads do not "
                 "wait for requests of their own");
    else if (settings->refill == REFILL_CALLBACK && (sync || eventfd))
        complain("--refill callback is for --completion serial and "
                 "concurrent");
    else if (settings->handles > settings->threads && (sync || eventfd))
        complain("%u handles, but only %u threads to use them",
                 settings->handles, settings->threads);
    else
        return true;
    return false;
}

/* False, with a message: some thread or handle would get no request. */
static bool shares_fit(const struct settings *settings)
{
    bool sync = settings->completion == COMPLETION_SYNC;

    if (!sync && settings->depth < settings->threads)
        complain("%u threads cannot share a depth of %u", settings->threads,
                 settings->depth);
    else if (!sync && settings->depth < settings->handles)
        complain("%u handles cannot share a depth of %u", settings->handles,
                 settings->depth);
    else if (settings->count < settings->threads)
        complain("%u threads cannot share %lld requests", settings->threads,
                 (long long)settings->count);
    else if (!sync && settings->batch > settings->depth / settings->threads)
        complain("a batch of %u does not fit into the depth of a thread, %u",
                 settings->batch, settings->depth / settings->threads);
    else
        return true;
    return false;
}

/* Options that are right by themselves may exclude each other. */
static bool fits(const struct settings *settings)
{
    if (settings->flush_interval && settings->read_percent == 100)
        complain("--flush-interval is for writes: -w or --mix");
    else if (settings->iovecs > settings->request_bytes)
        complain("%u elements cannot share %lld bytes", settings->iovecs,
                 (long long)settings->request_bytes);
    else if (settings->order == ORDER_SECTORS &&
             (settings->step_bytes % settings->request_bytes ||
              settings->step_bytes / settings->request_bytes > UINT16_MAX))
        complain("--order sectors: a block of %lld bytes (-S) is not some "
                 "sectors of %lld (-s)", (long long)settings->step_bytes,
                 (long long)settings->request_bytes);
    else
        return modes_fit(settings) && shares_fit(settings);
    return false;
}

int parse_options(int argc, char **argv, struct settings *settings)
{
    int option, taken;

    opterr = 0;
    while ((option = getopt_long(argc, argv, ":hc:d:f:i:no:qs:S:t:wU",
                                 long_options, NULL)) != -1) {
        if (option == 'h') {
            printf("%s%s%s%s", usage_line, help_text_1, help_text_2,
                   help_text_3);
            return 0;
        }
        if (option == LONG_VERSION) {
            printf("blkalign-bench %s\n", blkalign_version());
            return 0;
        }
        if (option == '?' || option == ':') {
            complain(option == ':' ? "%s needs an argument"
                                   : "no such option: %s", argv[optind - 1]);
            fputs(usage_line, stderr);
            return EXIT_USAGE;
        }
        taken = take_qemu_option(option, settings);
        if (taken < 0)
            taken = take_own_option(option, settings);
        if (!taken)
            return EXIT_USAGE;
    }
    if (optind != argc - 1) {
        complain(optind < argc ? "only one FILE" : "which FILE?");
        fputs(usage_line, stderr);
        return EXIT_USAGE;
    }
    settings->path = argv[optind];
    fill_in(settings);
    return fits(settings) ? -1 : EXIT_USAGE;
}
