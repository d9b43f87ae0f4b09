/*
 * The words of --help; for options.c alone.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef HELP_H
#define HELP_H

static const char usage_line[] =
    "Usage: blkalign-bench [-w] [-c COUNT] [-d DEPTH] [-s SIZE] [-S STEP] "
    "[OPTION]... FILE\n";

/* In three parts: ISO C promises no longer strings. */
static const char help_text_1[] =
    "Sends requests to a file or block device, or an NBD URI (nbd://, "
    "nbd+unix://,\n"
    "..., if built with libnbd), and tells how long they took.\n"
    "With -w or --mix it OVERWRITES what is there, unless others use it.\n"
    "\n"
    "As in qemu-img bench:\n"
    "  -c COUNT     requests (75000)\n"
    "  -d DEPTH     requests in flight, of all threads together (64)\n"
    "  -f raw       accepted\n"
    "  -i ENGINE    threads, io_uring or auto (auto)\n"
    "  -n, -U       accepted and without effect\n"
    "  -o OFFSET    of the first request (0)\n"
    "  -q           print only the closing line\n"
    "  -s SIZE      bytes of a request (4096); any size will do\n"
    "  -S STEP      bytes from one request to the next (0: SIZE); at the end\n"
    "               of the disk it begins again\n"
    "  -t CACHE     none (O_DIRECT), directsync, writeback, writethrough or\n"
    "               unsafe (writeback)\n"
    "  -w           write instead of reading\n"
    "  --pattern=BYTE       what is written (0)\n"
    "  --flush-interval=N   flush after N requests of a thread, when those\n"
    "                       are done\n"
    "  --no-drain           flush without waiting for it\n"
    "Sizes take a suffix k, M, G or T.\n";

static const char help_text_2[] =
    "\n"
    "Besides:\n"
    "  --order WORD         seq; random or zipf, in multiples of STEP; same;\n"
    "                       sectors: those of SIZE bytes in the one block of\n"
    "                       STEP bytes at OFFSET, dealt out to the threads\n"
    "                       (seq)\n"
    "  --completion WORD    serial, concurrent: callbacks on threads of the\n"
    "                       library; eventfd: each thread polls; sync: each\n"
    "                       thread makes blocking calls, DEPTH has no effect\n"
    "                       (serial)\n"
    "  --refill WORD        serial, concurrent: callback, each callback\n"
    "                       submits the next request of its thread; thread,\n"
    "                       callbacks wake their thread, which submits\n"
    "                       (callback)\n"
    "  --batch N            submit N at a time (0: all that completed, as a\n"
    "                       virtual machine's kick would; 1: one by one)\n"
    "  --threads N          threads that submit (1)\n"
    "  --handles N          handles of FILE, dealt out to the threads; more\n"
    "                       than threads only with serial, concurrent (1)\n"
    "  --iovecs N           memory of a request in N pieces (1)\n"
    "  --poll WORD          eventfd, more threads than handles: first,\n"
    "                       the first of a handle polls for the others\n"
    "                       and wakes them; all, each polls and goes on with\n"
    "                       what it found done, whoever sent it (first)\n";

static const char help_text_3[] =
    "  --mix PERCENT        so many reads, the others writes\n"
    "  --verify             check every byte read and written; writes stamps\n"
    "                       instead of BYTE and is slower\n"
    "  --force              write although FILE is mounted, behind a loop\n"
    "                       device, or an image that a guest has open\n"
    "  --no-merge           BLKALIGN_O_NO_MERGE\n"
    "  --registered         blkalign_register_buf; not with sync\n"
    "  --align N            override the alignment that the probe finds\n"
    "  --seed N             of random, zipf, mix and stamps\n"
    "  --latency            percentiles; off by default, since it reads the\n"
    "                       clock twice for each request\n"
    "  --json               one object with all of it, and nothing else\n"
    "  --help, --version    show this, or the version\n"
    "\n"
    "Start-up does not count as time. Processor time is that of the process:\n"
    "all threads, and the kernel's workers for its io_uring.\n"
    "\n"
    "Exit status: 0; 1: a request failed, or --verify found damage; 2: the\n"
    "usage is wrong.\n";

#endif
