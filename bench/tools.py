"""The tools that are compared: the command of each, and how its output is read.

A measurement is a dict with "rate" (requests a second) and "processor" (microseconds of user and
system time for each request). A row with latency also has "p50", "p99" and "p99.9" (microseconds),
and one of blkalign-bench has "stats".

Processor time is that of the process, of all its threads and of the kernel's workers for its
io_uring. blkalign-bench and the yardstick print it for the measured time. For the other tools it is
that of the whole run, minus the cost of starting: that of a run of one request or one millisecond.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess

# What scripts/bench fills the disks with: 'Z'.
PATTERN = 0x5A

YARDSTICK = os.environ.get("YARDSTICK", "build/bench/yardstick")
OURS = os.environ.get("BLKALIGN_BENCH", "build/tools/blkalign-bench")
BATCHED = [
    "--ioengine=io_uring", "--iodepth=32", "--iodepth_batch_submit=16",
    "--iodepth_batch_complete_min=1", "--iodepth_batch_complete_max=32",
]
STATS = [
    "zero_copy", "bounced", "rmw", "rmw_reads", "rmw_reads_skipped", "merged",
    "waits", "storage_reads", "storage_writes",
]


class Failed(Exception):
    """The tool exists, but its run failed."""


def output_of(command, library=None):
    """`library`: the directory of the libblkalign.so.0 that is to be loaded."""
    environment = {**os.environ, "LD_LIBRARY_PATH": library} if library else None
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, env=environment)
    except FileNotFoundError:
        raise Failed("not there") from None
    except subprocess.TimeoutExpired:
        raise Failed("no end after 120 s") from None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        if done.returncode < 0:
            words = [signal.strsignal(-done.returncode)]
        raise Failed(words[0] if words else f"exit status {done.returncode}")
    return done.stdout


def spent_by_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class WholeRun:
    """A tool that does not print its processor time, which is measured from outside."""

    startup = 0.0

    def timed(self, command):
        """Its output, and its seconds of processor time without those of starting."""
        before = spent_by_children()
        said = output_of(command)
        return said, max(spent_by_children() - before - self.startup, 0.0)

    def take_startup(self, command):
        self.startup = 0.0
        self.startup = min(self.timed(command)[1] for _ in range(2))


def percentiles_of(nanoseconds):
    """From the member "latency_ns" of blkalign-bench."""
    if not nanoseconds:
        return {}
    return {f"p{share}": nanoseconds[share] / 1000 for share in ("50", "99", "99.9")}


class Ours:
    """blkalign-bench with a row's arguments."""

    needs = OURS
    library = None

    def __init__(self, *arguments, completion="eventfd"):
        self.arguments = [*arguments, "--completion", completion]

    def command(self, disk, count):
        return [
            OURS, "--json", "-f", "raw", "-t", "none", f"--pattern={PATTERN}",
            "-c", str(count), *self.arguments, disk,
        ]

    def run(self, disk, count, _seconds):
        facts = json.loads(output_of(self.command(disk, count), self.library))
        return {
            "rate": facts["requests_per_second"],
            "seconds": facts["seconds"],
            "processor": facts["processor_us_per_request"],
            **percentiles_of(facts.get("latency_ns")),
            "engine": facts["engine"],
            "stats": {name: facts[name] / count for name in STATS},
        }


class Bare:
    """bench/yardstick.c: io_uring by bare system calls, with a waiting thread."""

    needs = YARDSTICK

    def __init__(self, *arguments):
        self.arguments = arguments

    def command(self, disk, count):
        return [YARDSTICK, f"--pattern={PATTERN}", "-c", str(count), *self.arguments, disk]

    def run(self, disk, count, _seconds):
        facts = json.loads(output_of(self.command(disk, count)))
        return {
            "rate": facts["requests_per_second"],
            "seconds": facts["seconds"],
            "processor": facts["processor_us_per_request"],
            **percentiles_of(facts.get("latency_ns")),
        }


class Qemu(WholeRun):
    """qemu-img bench; the AIO engine that is faster here is chosen by `prepare`."""

    needs = "qemu-img"
    engines = ["io_uring", "native"]

    def __init__(self, *arguments):
        self.arguments = arguments
        self.engine = None

    def prepare(self, disk):
        def rate(engine):
            self.engine = engine
            try:
                return self.run(disk, 3000, None)["rate"]
            except Failed as why:
                self.why = why
                return 0

        rates = {engine: rate(engine) for engine in self.engines}
        if not any(rates.values()):
            raise self.why
        self.engine = max(rates, key=rates.get)
        self.take_startup(self.command(disk, 1))

    def command(self, disk, count):
        return [
            "qemu-img", "bench", "-f", "raw", "-t", "none", "-i", self.engine or "io_uring",
            f"--pattern={PATTERN}", "-c", str(count), *self.arguments, disk,
        ]

    def run(self, disk, count, _seconds):
        said, spent = self.timed(self.command(disk, count))
        seconds = float(re.search(r"Run completed in ([0-9.]+) seconds", said)[1])
        # qemu-img prints milliseconds.
        seconds = max(seconds, 0.001)
        return {
            "rate": count / seconds, "seconds": seconds, "engine": self.engine,
            "processor": spent * 1e6 / count,
        }


class Fio(WholeRun):
    """fio on whole blocks; `share` 0.5 counts a read with a write as one."""

    needs = "fio"
    percentiles = [
        "--clat_percentiles=0", "--lat_percentiles=1", "--percentile_list=50:99:99.9",
    ]

    def __init__(self, *arguments, share=1.0, latency=False):
        self.arguments = [*arguments, *(self.percentiles if latency else [])]
        self.share, self.latency = share, latency

    def prepare(self, disk):
        self.take_startup(self.command(disk, 0.001))

    def command(self, disk, seconds):
        return [
            "fio", "--name=bench", f"--filename={disk}", "--bs=4096", "--direct=1", "--thread",
            "--allow_file_create=0", "--time_based", f"--runtime={int(seconds * 1000)}ms",
            f"--buffer_pattern={PATTERN:#x}", "--output-format=json", *self.arguments,
        ]

    def run(self, disk, _count, seconds):
        said, spent = self.timed(self.command(disk, seconds))
        job = json.loads(said[said.index("{"):])["jobs"][0]
        if job.get("error"):
            raise Failed(os.strerror(job["error"]))
        rate = (job["read"]["iops"] + job["write"]["iops"]) * self.share
        done = (job["read"]["total_ios"] + job["write"]["total_ios"]) * self.share
        facts = {
            "rate": rate, "seconds": job["job_runtime"] / 1000,
            "processor": spent * 1e6 / max(done, 1),
        }
        if self.latency:
            way = max(job["read"], job["write"], key=lambda way: way["total_ios"])
            shares = way["lat_ns"]["percentile"]
            facts.update({f"p{float(share):g}": ns / 1000 for share, ns in shares.items()})
        return facts


def is_there(needs):
    return shutil.which(needs) is not None


def version_of(needs):
    if not is_there(needs):
        return None
    said = output_of([needs, "--version"]).strip().splitlines()[0]
    return re.sub(r"^(blkalign-bench|qemu-img version|fio-)\s*", "", said)
