"""What is measured, and what is to be reached. `docs/PERFORMANCE.md` says why these rows."""

from tools import BATCHED, Fio, Ours, Qemu

# The columns, in the order of the table.
EVENTFD, SERIAL, QEMU, FIO = "blkalign eventfd", "blkalign serial", "qemu-img bench", "fio"
SYNC, FOUR = "blkalign sync", "blkalign eventfd, 4 threads"
# Each of the four polls, and goes on with what it finds; else the first polls for all.
FOUR_POLL = "blkalign eventfd, 4 threads poll"
COLUMNS = [EVENTFD, SERIAL, SYNC, FOUR, FOUR_POLL, QEMU, FIO]


class Goal:
    """`column` of this row is to reach `factor` times `of`: a column, perhaps of another row."""

    def __init__(self, factor, of, column=EVENTFD, row=None):
        self.factor, self.of, self.column, self.row = factor, of, column, row

    def factor_on(self, disk):
        factor = self.factor
        return factor.get(disk, factor["loop"]) if isinstance(factor, dict) else factor


class Row:
    def __init__(self, name, title, tools, goals, disks=("loop", "zram", "file"), smoke=False):
        self.name, self.title, self.tools, self.goals = name, title, tools, goals
        self.disks, self.smoke = disks, smoke


def at_depth_32(*ours, qemu=None, fio=None):
    """Our two ways of completion and the peers, all with 32 in flight."""
    arguments = ["-d", "32", *ours]
    tools = {
        EVENTFD: Ours(*arguments),
        SERIAL: Ours(*arguments, completion="serial"),
        QEMU: Qemu("-d", "32", *(qemu or ours)),
    }
    if fio:
        tools[FIO] = fio
    return tools


def rows(disk_bytes):
    """`qemu-img bench` stays in one place when its step is the length of the disk."""
    again = ["-S", str(disk_bytes)]
    small, spread = ["-s", "512"], ["-s", "512", "-S", "4096"]
    pairs = ["--rw=rw", "--rwmixread=50"]
    return [
        Row("read4096", "aligned 4096 read, depth 32",
            at_depth_32("-s", "4096", fio=Fio(*BATCHED, "--rw=read")),
            [Goal(0.95, FIO), Goal(1, QEMU)], smoke=True),
        Row("write4096", "aligned 4096 write, depth 32",
            at_depth_32("-w", "-s", "4096", fio=Fio(*BATCHED, "--rw=write")),
            [Goal(0.95, FIO), Goal(1, QEMU)]),
        Row("read512", "512 read, one per block, depth 32",
            at_depth_32(*spread),
            [Goal(0.9, EVENTFD, row="read4096"), Goal({"loop": 2.5, "zram": 3.5}, QEMU)]),
        Row("write512", "512 write, one per block, depth 32",
            at_depth_32("-w", *spread, fio=Fio(*BATCHED, *pairs, share=0.5)),
            [Goal(0.9, FIO), Goal({"loop": 1.5, "zram": 2.5}, QEMU)]),
        Row("seqwrite512", "512 sequential write, depth 32",
            at_depth_32("-w", *small), [Goal(30, QEMU)], smoke=True),
        Row("samewrite512", "512 write, the same sector, depth 32",
            at_depth_32("-w", *small, "--order", "same", qemu=["-w", *small, *again]),
            [Goal(20, QEMU)]),
        Row("fourread512", "512 read, one per block, depth 32, four threads on one handle",
            {FOUR: Ours("-d", "32", "--threads", "4", *spread),
             FOUR_POLL: Ours("-d", "32", "--threads", "4", "--poll", "all", *spread)},
            [Goal(1, EVENTFD, column=FOUR, row="read512"),
             Goal(1, EVENTFD, column=FOUR_POLL, row="read512")]),
        Row("fourwrite512", "512 write, one per block, depth 32, four threads on one handle",
            {FOUR: Ours("-w", "-d", "32", "--threads", "4", *spread),
             FOUR_POLL: Ours("-w", "-d", "32", "--threads", "4", "--poll", "all", *spread)},
            [Goal(1, EVENTFD, column=FOUR, row="write512"),
             Goal(1, EVENTFD, column=FOUR_POLL, row="write512")]),
        Row("syncread512", "512 read, one per block, depth 1",
            {SYNC: Ours(*spread, completion="sync"), QEMU: Qemu("-d", "1", *spread),
             FIO: Fio("--ioengine=psync", "--rw=read")},
            [Goal(10, QEMU, column=SYNC), Goal(0.8, FIO, column=SYNC)], ("zram",), smoke=True),
        Row("syncwrite512", "512 write, one per block, depth 1",
            {SYNC: Ours("-w", *spread, completion="sync"), QEMU: Qemu("-d", "1", "-w", *spread),
             FIO: Fio("--ioengine=psync", *pairs, share=0.5)},
            [Goal(8, QEMU, column=SYNC), Goal(0.8, FIO, column=SYNC)], ("zram",)),
    ]
