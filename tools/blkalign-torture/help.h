/*
 * The words of --help; for options.c alone.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef HELP_H
#define HELP_H

static const char usage_line[] =
    "Usage: blkalign-torture --destroy-data [OPTION]... TARGET\n"
    "       blkalign-torture --adapter broken:FAULT [OPTION]...\n"
    "       blkalign-torture --list\n";

static const char help_text_1[] =
    "Tests whether a block back end keeps its users' data, and prints TAP\n"
    "and a summary in words. It OVERWRITES the TARGET.\n"
    "\n"
    "  --destroy-data       confirms that the TARGET may be overwritten\n"
    "  --force              also if the TARGET is mounted, behind a loop\n"
    "                       device, or an image that a guest has open\n"
    "  -a, --adapter NAME   how to reach the TARGET (nbd for an URI,\n"
    "                       blkalign-rbd for rbd:..., else the first below)\n"
    "  -o OPTION[,OPTION]   options of the adapter\n"
    "  --case NAME          run this case only; may be repeated\n"
    "  --list               show the cases, and the faults of broken:FAULT\n"
    "  --seed N             seed of all random choices (the clock)\n"
    "  --rounds N           rounds of each race; the model does 20 times as\n"
    "                       many operations (300)\n"
    "  --seconds N          time for each case, instead of --rounds\n"
    "  --handles N          number of handles or connections, 1 to 16 (2)\n"
    "  --second TARGET      target of all handles but the first: the same\n"
    "                       storage by another name (TARGET)\n"
    "  --block BYTES        block size; small requests are smaller (what the\n"
    "                       target reports, else 4096)\n"
    "  --sector BYTES       length of a small request (512, or the least\n"
    "                       that the target takes)\n"
    "  --timeout SECONDS    limit for one request (30)\n"
    "  --version, -h, --help\n";

static const char help_text_2[] =
    "\n"
    "For the storage below the target:\n"
    "  --behind FILE        the file behind a server; its length is checked\n"
    "  --fault-on COMMAND, --fault-off COMMAND\n"
    "                       make reads below the target fail; end that\n"
    "  --flush-count COMMAND\n"
    "                       prints how many flushes arrived below so far\n"
    "\n"
    "Exit status: 0 no guarantee is broken, 1 one is, 2 wrong usage, 3 the\n"
    "target cannot be used.\n"
    "\n"
    "Adapters:\n";

#endif
