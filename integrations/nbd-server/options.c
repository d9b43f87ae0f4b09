/*
 * The command line of blkalign-nbd.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "server.h"

#include "../../tools/common/throttle_option.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES_MAX = 4096, CONNECTIONS_MAX = 1024, USAGE = 2 };

static const char help[] =
    "usage: blkalign-nbd --socket PATH | --port N  --file PATH [options]\n"
    "\n"
    "Serves a file or block device over NBD, at any offset and length.\n"
    "\n"
    "  --socket PATH            listen on a socket of this name\n"
    "  --port N                 listen on a port of TCP\n"
    "  --address ADDRESS        ... of this address; default: 127.0.0.1\n"
    "  --file PATH              the file or block device\n"
    "  --export-name NAME       what clients ask for; default: none\n"
    "  --connections N          how many clients at once; default: 16\n"
    "  --read-only [auto]       auto: if the disk cannot be written to\n"
    "  --direct                 fail if there is no O_DIRECT\n"
    "  --buffered               use the page cache; default: if there is no\n"
    "                           O_DIRECT\n"
    "  --discard on|off         whether clients may deallocate; default: on\n"
    "  --engine auto|threads|io_uring\n"
    "  --lock on|off            lock the image as QEMU does; default: on\n"
    "  --throttle-bytes, --throttle-read-bytes, --throttle-write-bytes,\n"
    "  --throttle-requests, --throttle-read-requests,\n"
    "  --throttle-write-requests RATE[:BURST]\n"
    "                           all clients together, a second\n"
    "  --throttle-request-bytes N\n"
    "                           a request of more bytes counts as several\n"
    "  --verbose                more messages\n"
    "  --help, --version\n";

static void __attribute__((noreturn)) usage(const char *what)
{
    fprintf(stderr, "blkalign-nbd: %s\nTry blkalign-nbd --help.\n", what);
    exit(USAGE);
}

static bool is_on(const char *name, const char *value)
{
    if (strcmp(value, "on") == 0)
        return true;
    if (strcmp(value, "off") == 0)
        return false;
    fprintf(stderr, "blkalign-nbd: --%s: on or off\n", name);
    exit(USAGE);
}

static uint32_t engine_of(const char *value)
{
    if (strcmp(value, "auto") == 0)
        return BLKALIGN_ENGINE_AUTO;
    if (strcmp(value, "threads") == 0)
        return BLKALIGN_ENGINE_THREADS;
    if (strcmp(value, "io_uring") == 0)
        return BLKALIGN_ENGINE_IO_URING;
    usage("--engine: auto, threads or io_uring");
}

static unsigned connections_of(const char *value)
{
    char *end;
    unsigned long number = strtoul(value, &end, 10);

    if (value[0] < '0' || value[0] > '9' || *end || number < 1 ||
        number > CONNECTIONS_MAX)
        usage("--connections: a number from 1 to 1024");
    return (unsigned)number;
}

enum {
    SOCKET = 256, PORT, ADDRESS, FILE_, EXPORT_NAME, CONNECTIONS, READ_ONLY,
    DIRECT, BUFFERED, DISCARD, ENGINE, LOCK, THROTTLE, VERBOSE, HELP, VERSION
};

static const struct option names[] = {
    { "socket", required_argument, NULL, SOCKET },
    { "port", required_argument, NULL, PORT },
    { "address", required_argument, NULL, ADDRESS },
    { "file", required_argument, NULL, FILE_ },
    { "export-name", required_argument, NULL, EXPORT_NAME },
    { "connections", required_argument, NULL, CONNECTIONS },
    { "read-only", optional_argument, NULL, READ_ONLY },
    { "direct", no_argument, NULL, DIRECT },
    { "buffered", no_argument, NULL, BUFFERED },
    { "discard", required_argument, NULL, DISCARD },
    { "engine", required_argument, NULL, ENGINE },
    { "lock", required_argument, NULL, LOCK },
    { "throttle-bytes", required_argument, NULL, THROTTLE },
    { "throttle-read-bytes", required_argument, NULL, THROTTLE },
    { "throttle-write-bytes", required_argument, NULL, THROTTLE },
    { "throttle-requests", required_argument, NULL, THROTTLE },
    { "throttle-read-requests", required_argument, NULL, THROTTLE },
    { "throttle-write-requests", required_argument, NULL, THROTTLE },
    { "throttle-request-bytes", required_argument, NULL, THROTTLE },
    { "verbose", no_argument, NULL, VERBOSE },
    { "help", no_argument, NULL, HELP },
    { "version", no_argument, NULL, VERSION },
    { NULL, 0, NULL, 0 }
};

/* The value may be missing: of the words that follow, only `auto` belongs to
 * the option. */
static bool is_auto(char **argv)
{
    if (!optarg && argv[optind] && strcmp(argv[optind], "auto") == 0)
        optarg = argv[optind++];
    if (optarg && strcmp(optarg, "auto") != 0)
        usage("--read-only is auto, or has no value");
    return optarg != NULL;
}

static void set_disk_option(struct arguments *arguments, int which)
{
    blkalign_open_options *options = &arguments->server.options;

    switch (which) {
    case DIRECT:
        options->flags |= BLKALIGN_O_DIRECT;
        options->flags &= ~(uint32_t)BLKALIGN_O_BUFFERED_OK;
        break;
    case BUFFERED:
        options->flags &= ~(uint32_t)(BLKALIGN_O_DIRECT |
                                      BLKALIGN_O_BUFFERED_OK);
        break;
    case DISCARD:
        arguments->server.discards = is_on("discard", optarg);
        break;
    case ENGINE:
        options->engine = engine_of(optarg);
        break;
    case LOCK:
        arguments->lock = is_on("lock", optarg);
        break;
    }
}

static void set_limit(struct arguments *arguments, const struct option *option)
{
    const char *name = option->name + strlen("throttle-");

    if (throttle_option(&arguments->limits, name, optarg) == THROTTLE_TAKEN)
        return;
    fprintf(stderr, "blkalign-nbd: --%s: not RATE or RATE:BURST\n",
            option->name);
    exit(USAGE);
}

static void set_option(struct arguments *arguments, int which, char **argv)
{
    struct server *server = &arguments->server;

    switch (which) {
    case SOCKET:
        arguments->socket = optarg;
        break;
    case PORT:
        arguments->port = optarg;
        break;
    case ADDRESS:
        arguments->address = optarg;
        break;
    case FILE_:
        server->path = optarg;
        break;
    case EXPORT_NAME:
        server->export_name = optarg;
        break;
    case CONNECTIONS:
        arguments->connections_max = connections_of(optarg);
        break;
    case READ_ONLY:
        server->writable = arguments->read_only_auto = is_auto(argv);
        break;
    case VERBOSE:
        arguments->verbose = true;
        break;
    case HELP:
        fputs(help, stdout);
        exit(EXIT_SUCCESS);
    case VERSION:
        printf("blkalign-nbd %s\n", blkalign_version());
        exit(EXIT_SUCCESS);
    case '?':
        usage("such options are not taken");
    default:
        set_disk_option(arguments, which);
    }
}

void arguments_parse(struct arguments *arguments, int argc, char **argv)
{
    const blkalign_open_options options = BLKALIGN_OPEN_OPTIONS_INIT;
    struct server *server = &arguments->server;
    const blkalign_throttle_limits limits = BLKALIGN_THROTTLE_LIMITS_INIT;
    int which, index;

    memset(arguments, 0, sizeof *arguments);
    arguments->address = "127.0.0.1";
    arguments->connections_max = 16;
    arguments->lock = true;
    arguments->limits = limits;
    server->export_name = "";
    server->writable = server->discards = true;
    server->options = options;
    server->options.flags = BLKALIGN_O_DIRECT | BLKALIGN_O_BUFFERED_OK;
    server->options.completion = BLKALIGN_COMPLETION_EVENTFD;
    server->options.queue_depth = REQUESTS_MAX;
    while ((which = getopt_long(argc, argv, "", names, &index)) != -1) {
        if (which == THROTTLE)
            set_limit(arguments, &names[index]);
        else
            set_option(arguments, which, argv);
    }
    arguments->throttles = throttle_limits_any(&arguments->limits);
    if (optind < argc)
        usage("an argument that belongs to no option");
    if (!arguments->socket == !arguments->port)
        usage("either --socket or --port");
    if (!server->path)
        usage("--file is missing");
    if (strlen(server->export_name) > NAME_BYTES_MAX)
        usage("--export-name: at most 4096 bytes");
}
