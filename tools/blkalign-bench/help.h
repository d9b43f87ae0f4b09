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

/* In three parts: ISO C guarantees no longer strings. */
static const char help_text_1[] =
    "Sends requests to a file or block device, an NBD URI (nbd://, "
    "nbd+unix://,\n"
    "..., if built with libnbd) or an image of Ceph (rbd:POOL/IMAGE, if "
    "built with\n"
    "librbd), and measures the time.\n"
    "With -w or --mix it OVERWRITES the FILE, unless others use the FILE.\n"
    "\n"
    "As in qemu-img bench:\n"
    "  -c COUNT     number of requests (75000)\n"
    "  -d DEPTH     requests in flight, of all threads together (64)\n"
    "  -f raw       the format; no other is accepted\n"
    "  -i ENGINE    threads, io_uring or auto (auto)\n"
    "  -n, -U       accepted, without effect\n"
    "  -o OFFSET    offset of the first request (0)\n"
    "  -q           print only the closing line\n"
    "  -s SIZE      bytes of a request, any number (4096)\n"
    "  -S STEP      bytes from one request to the next (0: SIZE); after the\n"
    "               end of the disk the offsets begin again\n"
    "  -t CACHE     none (O_DIRECT), directsync, writeback, writethrough or\n"
    "               unsafe (writeback)\n"
    "  -w           write instead of reading\n"
    "  --pattern=BYTE       the byte that is written (0)\n"
    "  --flush-interval=N   flush after N requests of a thread, when these\n"
    "                       are done\n"
    "  --no-drain           flush without waiting for these requests\n"
    "Sizes take a suffix k, M, G or T.\n";

static const char help_text_2[] =
    "\n"
    "Further options:\n"
    "  --order WORD         order of offsets: seq; random or zipf, in\n"
    "                       multiples of STEP; same; sectors: the sectors of\n"
    "                       SIZE bytes in the block of STEP bytes at OFFSET,\n"
    "                       which the threads share (seq)\n"
    "  --completion WORD    serial, concurrent: callbacks on threads of the\n"
    "                       library; eventfd: each thread polls; sync: each\n"
    "                       thread makes blocking calls, DEPTH has no effect\n"
    "                       (serial)\n"
    "  --refill WORD        serial, concurrent: callback, each callback\n"
    "                       submits the next request of its thread; thread,\n"
    "                       callbacks wake their thread, which submits\n"
    "                       (callback)\n"
    "  --batch N            submit N at a time (0: as many as completed, as\n"
    "                       after a kick of a virtual machine; 1: one by\n"
    "                       one)\n"
    "  --threads N          threads that submit (1)\n"
    "  --handles N          handles of FILE, which the threads share; more\n"
    "                       than threads only with serial, concurrent (1)\n"
    "  --iovecs N           memory of a request in N pieces (1)\n"
    "  --poll WORD          eventfd, more threads than handles: first, the\n"
    "                       first thread of a handle polls for the others\n"
    "                       and wakes them; all, each thread polls, and\n"
    "                       submits the next requests for those that it\n"
    "                       found completed (first)\n";

static const char help_text_3[] =
    "  --throttle N         let N requests a second go, of all handles\n"
    "                       together: blkalign_set_throttle\n"
    "  --notifier UNIT      with a before-write notifier that answers at\n"
    "                       once: blkalign_add_before_write\n"
    "  --mix PERCENT        share of reads; the others are writes\n"
    "  --verify             check every byte read and written; writes stamps\n"
    "                       instead of BYTE, and is slower\n"
    "  --force              write although FILE is mounted, behind a loop\n"
    "                       device, or an image that a guest has open\n"
    "  --no-merge           BLKALIGN_O_NO_MERGE\n"
    "  --registered         blkalign_register_buf; not with sync\n"
    "  --align N            override the alignment that the probe finds\n"
    "  --seed N             seed of random, zipf, mix and stamps\n"
    "  --latency            show percentiles; reads the clock twice for each\n"
    "                       request\n"
    "  --json               print one object with all results, nothing else\n"
    "  --help, --version    show this, or the version\n"
    "\n"
    "The time does not include start-up. Processor time is that of the\n"
    "process: of all its threads and of the kernel's workers for its\n"
    "io_uring.\n"
    "\n"
    "Exit status: 0: success; 1: a request failed, or --verify found damage;\n"
    "2: the usage is wrong.\n";

#endif
