"""Runs the tools in turns, A B C A B C, on the disks it is given; see scripts/bench.

    python3 bench/compare.py [--smoke] --out PATH NAME=DISK...

Writes PATH.json, PATH.md and PATH.svg, and prints what PATH.md says. It OVERWRITES the disks. ROWS
in the environment names the rows that are measured; without it all rows are.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import sys

import chart
import table
from rows import COLUMNS, chosen, rows
from tools import Failed, is_there, version_of

# What a measurement may have: see tools.py.
MEASURES = ["rate", "processor", "p50", "p99", "p99.9"]
PEERS = {"blkalign": None, "qemu-img": "qemu-img", "fio": "fio"}


def say(words):
    """How far it is: on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{words}", end="", file=sys.stderr, flush=True)


def machine():
    def first(path, key):
        try:
            with open(path, encoding="utf-8") as lines:
                return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(key))
        except (OSError, StopIteration):
            return "unknown"

    return {
        "cpu": first("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": first("/proc/meminfo", "MemTotal"),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": os.getloadavg()[0],
    }


def length_of(disk):
    with open(disk, "rb") as opened:
        return opened.seek(0, os.SEEK_END)


class Cell:
    """One tool at one row's work on one disk, and what it measured, round by round."""

    def __init__(self, tool, disk, seconds):
        self.tool, self.disk, self.seconds = tool, disk, seconds
        self.count, self.measured, self.last, self.failed = None, [], None, None
        if not is_there(tool.needs):
            self.failed = "absent"

    def attempt(self, action):
        if self.failed:
            return
        try:
            action()
        except (Failed, ValueError, KeyError, TypeError) as why:
            self.failed = str(why) or type(why).__name__

    def calibrate(self, smoke):
        """Finds how many requests take about the time that a cell may take."""
        def find():
            self.count = 500
            if hasattr(self.tool, "prepare") and not smoke:
                self.tool.prepare(self.disk)
            for seconds in [] if smoke else [self.seconds / 10, self.seconds]:
                rate = self.tool.run(self.disk, self.count, self.seconds / 10)["rate"]
                self.count = max(500, int(rate * seconds))

        self.attempt(find)

    def measure(self):
        def run():
            self.last = self.tool.run(self.disk, self.count, self.seconds)
            self.measured.append(self.last)

        self.attempt(run)

    def facts(self):
        if self.failed or not self.measured:
            return {"failed": self.failed}
        facts = {}
        for measure in MEASURES:
            values = [each[measure] for each in self.measured if measure in each]
            if values:
                facts[measure] = {
                    "rounds": values, "median": statistics.median(values),
                    "min": min(values), "max": max(values),
                }
        for name in ("engine", "stats"):
            if self.last.get(name):
                facts[name] = self.last[name]
        return facts


def goal_facts(goal, row, disk, results):
    """The ratio of the medians; its spread is that of the rounds, taken one by one."""
    facts = {
        "column": goal.column, "factor": goal.factor_on(disk), "of": goal.of,
        "of_row": goal.row or row.name, "measure": goal.measure,
    }
    ours = results.get((disk, row.name, goal.column), {}).get(goal.measure)
    theirs = results.get((disk, facts["of_row"], goal.of), {}).get(goal.measure)
    if ours and theirs and theirs["median"] and all(theirs["rounds"]):
        ratios = [a / b for a, b in zip(ours["rounds"], theirs["rounds"])]
        facts["ratio"] = ours["median"] / theirs["median"]
        facts["ratio_min"], facts["ratio_max"] = min(ratios), max(ratios)
        if goal.measure == "rate":
            facts["met"] = facts["ratio"] >= facts["factor"]
        else:
            facts["met"] = facts["ratio"] <= facts["factor"]
    return facts


def measure_disk(name, disk, rounds, seconds, smoke):
    """All rows on one disk: the rounds go through all of it again and again."""
    todo = [
        row for row in chosen(rows(length_of(disk)), os.environ.get("ROWS", ""))
        if (name in row.disks or name == "file") and (row.smoke or not smoke)
    ]
    cells = {
        (row.name, column): Cell(row.tools[column], disk, seconds)
        for row in todo for column in COLUMNS if column in row.tools
    }
    for at, cell in enumerate(cells.values()):
        say(f"{name}: getting ready, {at} of {len(cells)}")
        cell.calibrate(smoke)
    for turn in range(rounds):
        for (row, column), cell in cells.items():
            say(f"{name}: round {turn + 1} of {rounds}, {row}, {column}")
            cell.measure()
    say("")
    results = {(name, *key): cell.facts() for key, cell in cells.items()}
    return [
        {
            "disk": name, "name": row.name, "title": row.title,
            "columns": {c: results[name, row.name, c] for c in COLUMNS if c in row.tools},
            "goals": [goal_facts(goal, row, name, results) for goal in row.goals
                      if goal.factor_on(name) is not None],
            "commands": {c: command_of(cells[row.name, c]) for c in row.tools},
        }
        for row in todo
    ]


def command_of(cell):
    amount = cell.seconds if cell.tool.needs == "fio" else cell.count or 0
    return " ".join(cell.tool.command("DISK", amount))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("disks", nargs="+", metavar="NAME=DISK")
    arguments = parser.parse_args()
    rounds = 1 if arguments.smoke else int(os.environ.get("ROUNDS", "5"))
    seconds = 0.1 if arguments.smoke else float(os.environ.get("CELL_SECONDS", "1"))
    ours = os.environ.get("BLKALIGN_BENCH", "build/tools/blkalign-bench")

    report = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "versions": {name: version_of(needs or ours) for name, needs in PEERS.items()},
        "rounds": rounds, "seconds": seconds, "smoke": arguments.smoke, "rows": [],
    }
    for each in arguments.disks:
        name, disk = each.split("=", 1)
        report["rows"] += measure_disk(name, disk, rounds, seconds, arguments.smoke)
    report["machine"]["load_after"] = os.getloadavg()[0]

    text = table.markdown(report)
    for suffix, content in {
        "json": json.dumps(report, indent=2) + "\n", "md": text, "svg": chart.svg(report),
    }.items():
        with open(f"{arguments.out}.{suffix}", "w", encoding="utf-8") as out:
            out.write(content)
    print(text, end="")
    broken = [row for row in report["rows"] for column, facts in row["columns"].items()
              if column.startswith("blkalign") and facts.get("failed")]
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
