/*
 * blkalign-overlay: creates overlays, shows and checks them, and fills them
 * from their backing object. Uses the public header only.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "overlay.h"

#include "care.h"
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char usage_text[] =
    "Usage: blkalign-overlay create [--cluster BYTES] (--length BYTES | "
    "--like BACKING) PATH\n"
    "       blkalign-overlay info [--json] PATH\n"
    "       blkalign-overlay fill [--rate BYTES] [--progress] PATH BACKING\n"
    "       blkalign-overlay check [--read] PATH\n";

static const char help_text[] =
    "An overlay is a disk that takes from a backing object what it has not\n"
    "got yet: PATH has its data, PATH.map says what is there. BACKING is a\n"
    "file, a device or an NBD URI. BYTES may end in K, M, G or T.\n"
    "\n"
    "  create      a new overlay in which nothing is there\n"
    "    --length  of this length\n"
    "    --like    as long as this\n"
    "    --cluster what is copied at once: a power of two, 4K to 2M; 64K\n"
    "  info        how much is there\n"
    "    --json    for programs\n"
    "  fill        copy all that is absent; then PATH.map goes, and PATH is\n"
    "              an ordinary image. Stopped, it goes on the next time\n"
    "    --rate    copy so many bytes a second at most\n"
    "    --progress  tell how far it is, on standard error\n"
    "  check       whether the map is sound and fits PATH\n"
    "    --read    and all that is there can be read\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0, or 1 after a failure, or 2 if the usage is wrong.\n";

void complain(const char *format, ...)
{
    char words[4096];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    fputs("blkalign-overlay: ", stderr);
    put_text(stderr, words);
    putc('\n', stderr);
}

/* As a rule the library's words name the path already. */
void complain_of(const char *path, int result)
{
    const char *words = blkalign_errmsg();

    if (!words[0])
        words = strerror(-result);
    if (strncmp(words, path, strlen(path)) == 0)
        complain("%s", words);
    else
        complain("%s: %s", path, words);
}

static int64_t size_of(const char *text)
{
    static const char units[] = "KMGT";
    const char *unit;
    int64_t value = 0;
    int shift = 0;

    if (!*text)
        return -1;
    for (; *text >= '0' && *text <= '9'; text++) {
        if (value > (INT64_MAX - 9) / 10)
            return -1;
        value = value * 10 + (*text - '0');
    }
    if (*text) {
        unit = strchr(units, *text);
        if (!unit || text[1])
            return -1;
        shift = 10 * (int)(unit - units + 1);
    }
    return value > INT64_MAX >> shift ? -1 : value << shift;
}

struct command {
    const char *name;
    const char *options;        /* those that it takes, each after a blank */
    int operands;
    int (*run)(const struct choices *choices);
};

static const struct command COMMANDS[] = {
    { "create", " --cluster --length --like", 1, run_create },
    { "info", " --json", 1, run_info },
    { "fill", " --rate --progress", 2, run_fill },
    { "check", " --read", 1, run_check },
};

static int usage(const char *words, const char *what)
{
    complain("%s%s", words, what);
    fputs(usage_text, stderr);
    return EXIT_USAGE;
}

static const struct command *command_of(const char *name)
{
    size_t i;

    for (i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (strcmp(COMMANDS[i].name, name) == 0)
            return &COMMANDS[i];
    return NULL;
}

static bool takes(const struct command *command, const char *option)
{
    char word[32];
    const char *found;

    snprintf(word, sizeof word, " %s", option);
    found = strstr(command->options, word);
    return found && strchr(" ", found[strlen(word)]);
}

/* An option and what follows: how many arguments it is, or 0. */
static int option(struct choices *choices, const char *name, const char *next)
{
    int64_t *number = NULL;

    if (strcmp(name, "--json") == 0)
        return choices->json = true;
    if (strcmp(name, "--progress") == 0)
        return choices->progress = true;
    if (strcmp(name, "--read") == 0)
        return choices->read = true;
    if (strcmp(name, "--like") == 0) {
        choices->like = next;
        return next ? 2 : 0;
    }
    if (strcmp(name, "--length") == 0)
        number = &choices->length;
    else if (strcmp(name, "--cluster") == 0)
        number = &choices->cluster;
    else if (strcmp(name, "--rate") == 0)
        number = &choices->rate;
    if (!number || !next || (*number = size_of(next)) < 0)
        return 0;
    return 2;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct choices choices;
    const char *operands[2] = { NULL, NULL };
    int at = 0, count = 0, used;
    bool only_operands = false;

    memset(&choices, 0, sizeof choices);
    choices.length = -1;
    while (at < argc) {
        const char *argument = argv[at];

        if (only_operands || argument[0] != '-' || !argument[1]) {
            if (count == command->operands)
                return usage("too many arguments: ", argument);
            operands[count++] = argument;
            at++;
        } else if (strcmp(argument, "--") == 0) {
            only_operands = true;
            at++;
        } else {
            if (!takes(command, argument))
                return usage("no such option: ", argument);
            used = option(&choices, argument,
                          at + 1 < argc ? argv[at + 1] : NULL);
            if (!used)
                return usage("no usable value: ", argument);
            at += used;
        }
    }
    if (count < command->operands)
        return usage(count ? "which BACKING?" : "which PATH?", "");
    choices.path = operands[0];
    choices.backing = operands[1];
    if (command->run == run_create && (choices.length < 0) == !choices.like)
        return usage("create: either --length or --like", "");
    return command->run(&choices);
}

/* A failure to write the output, as on a full disk, is a failure. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    complain("standard output: %s", strerror(errno));
    return EXIT_FAILED;
}

int main(int argc, char **argv)
{
    const struct command *command;

    care_descriptors();
    if (argc < 2)
        return usage("what?", "");
    if (strcmp(argv[1], "--help") == 0) {
        printf("%s%s", usage_text, help_text);
        return finish(0);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("blkalign-overlay %s\n", blkalign_version());
        return finish(0);
    }
    command = command_of(argv[1]);
    if (!command)
        return usage("no such command: ", argv[1]);
    return finish(run(command, argc - 2, argv + 2));
}
