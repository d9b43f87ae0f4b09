"""The tools that are compared: how each is told what to do, and what it answers.

A measurement is a dict with "rate" (requests a second) and, for ours, "stats".
"""

import json
import os
import re
import shutil
import signal
import subprocess

# What scripts/bench fills the disks with: 'Z'.
PATTERN = 0x5A

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
    """The tool is there, and did not do it."""


def output_of(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
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


class Ours:
    """blkalign-bench with a row's arguments."""

    needs = OURS

    def __init__(self, *arguments, completion="eventfd"):
        self.arguments = [*arguments, "--completion", completion]

    def command(self, disk, count):
        return [
            OURS, "--json", "-f", "raw", "-t", "none", f"--pattern={PATTERN}",
            "-c", str(count), *self.arguments, disk,
        ]

    def run(self, disk, count, _seconds):
        facts = json.loads(output_of(self.command(disk, count)))
        return {
            "rate": facts["requests_per_second"],
            "seconds": facts["seconds"],
            "engine": facts["engine"],
            "stats": {name: facts[name] / count for name in STATS},
        }


class Qemu:
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

    def command(self, disk, count):
        return [
            "qemu-img", "bench", "-f", "raw", "-t", "none", "-i", self.engine or "io_uring",
            f"--pattern={PATTERN}", "-c", str(count), *self.arguments, disk,
        ]

    def run(self, disk, count, _seconds):
        said = output_of(self.command(disk, count))
        seconds = float(re.search(r"Run completed in ([0-9.]+) seconds", said)[1])
        # It tells milliseconds.
        seconds = max(seconds, 0.001)
        return {"rate": count / seconds, "seconds": seconds, "engine": self.engine}


class Fio:
    """fio on whole blocks; `share` 0.5 counts a read with a write as one."""

    needs = "fio"

    def __init__(self, *arguments, share=1.0):
        self.arguments = arguments
        self.share = share

    def command(self, disk, seconds):
        return [
            "fio", "--name=bench", f"--filename={disk}", "--bs=4096", "--direct=1", "--thread",
            "--allow_file_create=0", "--time_based", f"--runtime={int(seconds * 1000)}ms",
            f"--buffer_pattern={PATTERN:#x}", "--output-format=json", *self.arguments,
        ]

    def run(self, disk, _count, seconds):
        said = output_of(self.command(disk, seconds))
        job = json.loads(said[said.index("{"):])["jobs"][0]
        if job.get("error"):
            raise Failed(os.strerror(job["error"]))
        rate = (job["read"]["iops"] + job["write"]["iops"]) * self.share
        return {"rate": rate, "seconds": job["job_runtime"] / 1000}


def is_there(needs):
    return shutil.which(needs) is not None


def version_of(needs):
    if not is_there(needs):
        return None
    said = output_of([needs, "--version"]).strip().splitlines()[0]
    return re.sub(r"^(blkalign-bench|qemu-img version|fio-)\s*", "", said)
