"""What is measured, and the goals. `docs/PERFORMANCE.md` explains the rows."""

import sys

from tools import BATCHED, Bare, Fio, Ours, Qemu

# The columns, in the order of the table.
EVENTFD, SERIAL, CONCURRENT = "blkalign eventfd", "blkalign serial", "blkalign concurrent"
SYNC, QEMU, FIO = "blkalign sync", "qemu-img bench", "fio"
# Each thread polls, and continues with what its poll completed. In EVENTFD the first polls for all.
ALL_POLL = "blkalign eventfd, all poll"
# Callbacks wake the thread that submits, as the waiting thread of the bare loop does.
WOKEN, BARE = "blkalign serial, woken submitter", "bare io_uring, waiting thread"
# Eight writes of 512 bytes become one of 4096, so 32 in flight are four.
BOUND = "8 x fio, depth 4"
COLUMNS = [
    EVENTFD, SERIAL, CONCURRENT, ALL_POLL, SYNC, WOKEN, BARE, QEMU, FIO, BOUND,
]
MODES = {EVENTFD: "eventfd", SERIAL: "serial", CONCURRENT: "concurrent"}


class Goal:
    """
    `column` of this row is to reach `factor` times `of`, a column of this row or of `row`. If
    `factor` is a dict, the goal holds on the disks that the dict names. `measure` is "rate", for
    which `factor` is the least ratio; or "processor", "p50", "p99" or "p99.9", for which it is the
    greatest.
    """

    def __init__(self, factor, of, column=EVENTFD, row=None, measure="rate"):
        self.factor, self.of, self.column, self.row = factor, of, column, row
        self.measure = measure

    def factor_on(self, disk):
        """None: there is no such goal on this disk."""
        return self.factor.get(disk) if isinstance(self.factor, dict) else self.factor


class Row:
    def __init__(self, name, title, tools, goals, disks=("loop", "zram", "file"), smoke=False):
        self.name, self.title, self.tools, self.goals = name, title, tools, goals
        self.disks, self.smoke = disks, smoke


def modes(*arguments):
    """Our three ways of completion."""
    return {column: Ours(*arguments, completion=word) for column, word in MODES.items()}


def at_depth_32(*ours, qemu=None, fio=None):
    """Our ways of completion and the peers, all with 32 in flight."""
    tools = {**modes("-d", "32", *ours), QEMU: Qemu("-d", "32", *(qemu or ours))}
    if fio:
        tools[FIO] = fio
    return tools


def callbacks():
    """Goals of every asynchronous row: callbacks on threads against the event loop."""
    return [
        Goal({"zram": 0.8}, EVENTFD, column=SERIAL),
        Goal({"zram": 1.3}, EVENTFD, column=SERIAL, measure="processor"),
        Goal({"zram": 1}, SERIAL, column=CONCURRENT),
    ]


def callbacks_and_qemu():
    """Goals of the rows with whole blocks."""
    factors = {"loop": 1, "zram": 2}
    return [Goal(factors, QEMU, column=SERIAL), Goal(factors, QEMU, column=CONCURRENT)]


SMALL, SPREAD = ["-s", "512"], ["-s", "512", "-S", "4096"]
RANDOM = [*SPREAD, "--order", "random"]
PAIRS = ["--rw=rw", "--rwmixread=50"]


def one_submitter(disk_bytes):
    """`qemu-img bench` stays in one place when its step is the length of the disk."""
    again = ["-S", str(disk_bytes)]
    bound = Fio("--ioengine=io_uring", "--iodepth=4", "--iodepth_batch_submit=4",
                "--iodepth_batch_complete_min=1", "--iodepth_batch_complete_max=4", "--rw=write",
                share=8)
    return [
        Row("read4096", "aligned 4096 read, depth 32",
            at_depth_32("-s", "4096", fio=Fio(*BATCHED, "--rw=read")),
            [Goal(0.95, FIO), Goal(1, QEMU), *callbacks_and_qemu(), *callbacks()], smoke=True),
        Row("write4096", "aligned 4096 write, depth 32",
            at_depth_32("-w", "-s", "4096", fio=Fio(*BATCHED, "--rw=write")),
            [Goal(0.95, FIO), Goal(1, QEMU), *callbacks_and_qemu(), *callbacks()]),
        Row("read512", "512 read, one per block, depth 32", at_depth_32(*SPREAD),
            [Goal(0.9, EVENTFD, row="read4096"), Goal({"loop": 2.5, "zram": 3.5}, QEMU),
             *callbacks()]),
        Row("write512", "512 write, one per block, depth 32",
            at_depth_32("-w", *SPREAD, fio=Fio(*BATCHED, *PAIRS, share=0.5)),
            [Goal(0.9, FIO), Goal({"loop": 1.5, "zram": 2.5}, QEMU), *callbacks()]),
        Row("seqwrite512", "512 sequential write, depth 32",
            {**at_depth_32("-w", *SMALL), BOUND: bound},
            [Goal({"loop": 0.95}, BOUND), Goal({"zram": 25}, QEMU), *callbacks()], smoke=True),
        Row("samewrite512", "512 write, the same sector, depth 32",
            at_depth_32("-w", *SMALL, "--order", "same", qemu=["-w", *SMALL, *again]),
            [Goal(20, QEMU), *callbacks()]),
        Row("randread512", "512 read, random blocks, depth 32", modes("-d", "32", *RANDOM),
            callbacks()),
        Row("randwrite512", "512 write, random blocks, depth 32",
            modes("-w", "-d", "32", *RANDOM), callbacks()),
    ]


def four_threads(kind, ours):
    """On one handle and on four; `kind` is "read" or "write"."""
    arguments = [*ours, "-d", "32", "--threads", "4", *RANDOM]
    alone = f"rand{kind}512"
    return [
        Row(f"four{kind}512", f"512 {kind}, random blocks, depth 32, four threads on one handle",
            {**modes(*arguments), ALL_POLL: Ours(*arguments, "--poll", "all")},
            [Goal(1, column, column=column, row=alone) for column in MODES] +
            [Goal(1, EVENTFD, column=ALL_POLL, row=alone)]),
        Row(f"fourhandles{kind}512",
            f"512 {kind}, random blocks, depth 32, four threads with a handle each",
            modes(*arguments, "--handles", "4"),
            [Goal({"zram": 1.5}, SERIAL, column=SERIAL, row=alone),
             Goal({"zram": 1.2}, SERIAL, column=CONCURRENT)], smoke=kind == "read"),
    ]


def sectors_of_a_block():
    arguments = ["-w", "-d", "32", "--order", "sectors", *SPREAD]
    return [
        Row("sectors", "512 write, the eight sectors of one block, depth 32, one handle",
            modes(*arguments), []),
        Row("eightsectors",
            "512 write, the eight sectors of one block, depth 32, eight handles with one each",
            modes(*arguments, "--threads", "8", "--handles", "8"),
            [Goal(0.8, column, column=column, row="sectors") for column in MODES]),
    ]


def blocking():
    def sync(*arguments):
        return Ours(*arguments, completion="sync")

    return [
        Row("syncread512", "512 read, one per block, depth 1",
            {SYNC: sync(*SPREAD), QEMU: Qemu("-d", "1", *SPREAD),
             FIO: Fio("--ioengine=psync", "--rw=read")},
            [Goal(10, QEMU, column=SYNC), Goal(0.8, FIO, column=SYNC)], ("zram",), smoke=True),
        Row("syncwrite512", "512 write, one per block, depth 1",
            {SYNC: sync("-w", *SPREAD), QEMU: Qemu("-d", "1", "-w", *SPREAD),
             FIO: Fio("--ioengine=psync", *PAIRS, share=0.5)},
            [Goal(8, QEMU, column=SYNC), Goal(0.8, FIO, column=SYNC)], ("zram",)),
        Row("syncwrite4096", "aligned 4096 write, depth 1",
            {SYNC: sync("-w", "-s", "4096"), FIO: Fio("--ioengine=psync", "--rw=write")},
            [Goal(0.9, FIO, column=SYNC)], ("zram",)),
    ]


def latency(kind, ours):
    """From submit to callback; with fio from submit to completion."""
    one, many = ["-d", "1", "--latency", *ours], ["-d", "32", "--latency", *ours]
    lone = Fio("--ioengine=io_uring", "--iodepth=1", f"--rw={kind}", latency=True)
    return [
        Row(f"latency1{kind}", f"aligned 4096 {kind}, depth 1, latency",
            {**modes(*one), WOKEN: Ours(*one, "--refill", "thread", completion="serial"),
             BARE: Bare(*one), FIO: lone},
            [Goal({"zram": 1.3}, BARE, column=WOKEN, measure="p50"),
             Goal({"zram": 2}, BARE, column=WOKEN, measure="p99"),
             Goal({"zram": 3}, EVENTFD, column=SERIAL, measure="p50")], smoke=kind == "read"),
        Row(f"latency32{kind}", f"aligned 4096 {kind}, depth 32, latency",
            {**modes(*many), BARE: Bare(*many),
             FIO: Fio(*BATCHED, f"--rw={kind}", latency=True)},
            [Goal({"zram": 1.5}, EVENTFD, column=SERIAL, measure="p99")]),
    ]


def rows(disk_bytes):
    return [
        *one_submitter(disk_bytes), *four_threads("read", []), *four_threads("write", ["-w"]),
        *sectors_of_a_block(), *blocking(), *latency("read", []), *latency("write", ["-w"]),
    ]


def chosen(all_rows, words):
    """The rows whose names are in `words`, with spaces or commas; all rows if `words` is empty."""
    names = words.replace(",", " ").split()
    unknown = set(names) - {row.name for row in all_rows}
    if unknown:
        print(f"no such row: {', '.join(sorted(unknown))}; there are: "
              f"{', '.join(row.name for row in all_rows)}", file=sys.stderr)
        sys.exit(2)
    return [row for row in all_rows if not names or row.name in names]
