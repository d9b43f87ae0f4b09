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
    "Tests whether a block back end keeps what its users rely on, and prints\n"
    "TAP and a summary in words. It OVERWRITES the TARGET.\n"
    "\n"
    "  --destroy-data       yes, overwrite the TARGET\n"
    "  --force              also if it is mounted, behind a loop device, or\n"
    "                       an image that a guest has open\n"
    "  -a, --adapter NAME   how to reach it (nbd for an URI, else the first\n"
    "                       of those below)\n"
    "  -o OPTION[,OPTION]   for the adapter\n"
    "  --case NAME          only this case; may be repeated\n"
    "  --list               the cases, and the faults of broken:FAULT\n"
    "  --seed N             of all that is random (the clock)\n"
    "  --rounds N           of each race; the model does 20 times as many\n"
    "                       operations (300)\n"
    "  --seconds N          instead: so long for each case\n"
    "  --handles N          handles or connections, 1 to 16 (2)\n"
    "  --second TARGET      what all handles but the first one open: the\n"
    "                       same storage by another name (TARGET)\n"
    "  --block BYTES        what small requests are smaller than (what the\n"
    "                       target says, else 4096)\n"
    "  --sector BYTES       a small request (512, or what the target takes)\n"
    "  --timeout SECONDS    for one request (30)\n"
    "  --version, -h, --help\n";

static const char help_text_2[] =
    "\n"
    "For what is below the target:\n"
    "  --behind FILE        the file behind a server: its length is watched\n"
    "  --fault-on COMMAND, --fault-off COMMAND\n"
    "                       make reads below the target fail, and stop that\n"
    "  --flush-count COMMAND\n"
    "                       prints how many flushes arrived below so far\n"
    "\n"
    "Exit status: 0 nothing is broken, 1 something is, 2 wrong usage, 3 the\n"
    "target cannot be used.\n"
    "\n"
    "Adapters:\n";

#endif
