"""Two builds of the library in turns, A B B A: which rows have moved? See scripts/bench-check.

    python3 bench/check.py --out PATH OLD NEW NAME=DISK...

OLD and NEW are directories with libblkalign.so.0. Both are measured by one blkalign-bench, that of
the tree. Prints a table, and writes it to PATH.md and PATH.json. It OVERWRITES the disks.

A row's ratio is NEW's median rate divided by OLD's. Its spread is that of the ratios of single
rounds, without the least and the greatest. A row has moved if its ratio differs from 1 by more than
TOLERANCE and the whole spread lies on the same side of 1. A row that has moved is measured again,
and counts only if it moves the same way a second time. With two equal builds and 9 rounds, 4 of 100
rows seem to move the first time, and 1 of 1000 both times; with 5 rounds 37 of 100 and 7 of 100.

Exit status: 0: no row has become slower; 1: one has, or fails with NEW but not with OLD; 2: the
usage is wrong, or no comparison is possible.
"""

import argparse
import copy
import json
import os
import statistics
import sys

import table
from compare import length_of, machine, say
from rows import chosen, rows
from tools import Failed, Ours

# The rows that matter most to callers or are likely to move; ROWS in the environment names others.
USUAL = ("read4096 write4096 read512 write512 seqwrite512 samewrite512 randwrite512 fourwrite512 "
         "fourhandleswrite512 syncread512 syncwrite512 latency1read")
OLD, NEW = 0, 1


class Pair:
    """One row's work in one mode on one disk, by both libraries."""

    def __init__(self, disk, path, row, column, libraries):
        self.disk, self.path, self.row, self.column = disk, path, row, column
        self.tools = [copy.copy(row.tools[column]) for _ in libraries]
        for tool, library in zip(self.tools, libraries):
            tool.library = library
        self.count, self.failed = 500, None
        self.forget()

    def forget(self):
        self.rates, self.processor = ([], []), ([], [])

    def run(self, which):
        try:
            return self.tools[which].run(self.path, self.count, None)
        except (Failed, ValueError, KeyError) as why:
            self.failed = self.failed or (which, str(why) or type(why).__name__)
            return None

    def calibrate(self, seconds):
        """Counts requests by the slower library, so that no round takes too long."""
        for part in (seconds / 10, seconds):
            done = [self.run(which) for which in (OLD, NEW)]
            if self.failed:
                return
            self.count = max(500, int(min(each["rate"] for each in done) * part))

    def round(self, turn):
        if self.failed:
            return
        for which in ((OLD, NEW), (NEW, OLD))[turn % 2]:
            done = self.run(which)
            if not done:
                return
            self.rates[which].append(done["rate"])
            self.processor[which].append(done["processor"])

    def facts(self, tolerance):
        if self.failed:
            return {"failed": f"{('old', 'new')[self.failed[0]]}: {self.failed[1]}",
                    "verdict": "broken" if self.failed[0] == NEW else "no old"}
        old, new = (statistics.median(rates) for rates in self.rates)
        ratios = sorted(b / a for a, b in zip(*self.rates))
        # With fewer than five rounds all ratios count.
        kept = ratios[1:-1] if len(ratios) >= 5 else ratios
        spent = [statistics.median(each) for each in self.processor]
        return {
            "old": old, "new": new, "ratio": new / old, "low": kept[0], "high": kept[-1],
            "processor": spent[NEW] / spent[OLD] if spent[OLD] else None,
            "verdict": verdict(new / old, kept[0], kept[-1], tolerance),
        }


def verdict(ratio, low, high, tolerance):
    """
    For example with a tolerance of 0.03: 0.95 with a spread of 0.90 .. 0.98 is slower; 0.95 with
    0.90 .. 1.01 is not, and neither is 0.98 with 0.97 .. 0.99.
    """
    if ratio < 1 - tolerance and high < 1:
        return "slower"
    if ratio > 1 + tolerance and low > 1:
        return "faster"
    return ""


def take_rounds(pairs, rounds, words):
    for turn in range(rounds):
        for pair in pairs:
            say(f"{words} {turn + 1} of {rounds}: {pair.disk}, {pair.row.name}, {pair.column}")
            pair.round(turn)
    say("")


def measure(pairs, rounds, seconds, tolerance):
    """The facts of the pairs, in order. A verdict stands only if it came twice."""
    for at, pair in enumerate(pairs):
        say(f"getting ready, {at} of {len(pairs)}")
        pair.calibrate(seconds)
    take_rounds(pairs, rounds, "round")
    results = [pair.facts(tolerance) for pair in pairs]
    again = [at for at, facts in enumerate(results) if facts["verdict"] in ("slower", "faster")]
    for at in again:
        pairs[at].forget()
    take_rounds([pairs[at] for at in again], rounds, "once more, round")
    for at in again:
        facts = pairs[at].facts(tolerance)
        facts["first_ratio"] = results[at]["ratio"]
        if facts["verdict"] not in (results[at]["verdict"], "broken", "no old"):
            facts["verdict"] = ""
        results[at] = facts
    return results


def pairs_of(disks, libraries, words):
    return [
        Pair(disk, path, row, column, libraries)
        for disk, path in disks for row in chosen(rows(length_of(path)), words)
        if disk in row.disks
        for column, tool in row.tools.items() if isinstance(tool, Ours)
    ]


def markdown(report):
    lines = []
    for row in report["rows"]:
        if "failed" in row:
            cells = ["-", "-", "-", row["failed"], "-"]
        else:
            spent = row["processor"]
            cells = [table.thousands(row["old"]), table.thousands(row["new"]),
                     f"{row['ratio']:.2f}x", f"{row['low']:.2f} .. {row['high']:.2f}",
                     f"{spent:.2f}x" if spent else "-"]
        lines.append([row["disk"], row["title"], row["column"], *cells, row["verdict"].upper()])
    facts = report["machine"]
    moved = [f"{row['disk']}, {row['title']}, {row['column']}: {row['verdict']}"
             for row in report["rows"] if row["verdict"]]
    return (
        f"{facts['cpu']}, {facts['cores']} cores; {facts['kernel']}; load average "
        f"{facts['load_before']:.2f} before\n"
        f"{report['rounds']} rounds in turns, {report['seconds']:g} s each; rates in thousands a "
        "second, processor time for a request: new to old\n\n"
        + table.lined_up(["disk", "work", "tool", "old", "new", "ratio", "spread", "processor", ""],
                         lines)
        + "\n" + ("Moved beyond the spread:\n" + "".join(f"- {each}\n" for each in moved) if moved
                  else "No row moved beyond the spread.\n")
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("old", metavar="OLD")
    parser.add_argument("new", metavar="NEW")
    parser.add_argument("disks", nargs="+", metavar="NAME=DISK")
    arguments = parser.parse_args()
    rounds = int(os.environ.get("ROUNDS", "9"))
    seconds = float(os.environ.get("CELL_SECONDS", "0.3"))
    tolerance = float(os.environ.get("TOLERANCE", "0.03"))
    libraries = [os.path.abspath(each) for each in (arguments.old, arguments.new)]
    for library in libraries:
        if not os.path.exists(os.path.join(library, "libblkalign.so.0")):
            print(f"no libblkalign.so.0 in {library}", file=sys.stderr)
            return 2

    report = {"machine": machine(), "rounds": rounds, "seconds": seconds, "tolerance": tolerance}
    pairs = pairs_of([each.split("=", 1) for each in arguments.disks], libraries,
                     os.environ.get("ROWS") or USUAL)
    results = measure(pairs, rounds, seconds, tolerance)
    report["rows"] = [
        {"disk": pair.disk, "name": pair.row.name, "title": pair.row.title, "column": pair.column,
         "count": pair.count, **facts}
        for pair, facts in zip(pairs, results)
    ]
    text = markdown(report)
    for suffix, content in {"json": json.dumps(report, indent=2) + "\n", "md": text}.items():
        with open(f"{arguments.out}.{suffix}", "w", encoding="utf-8") as out:
            out.write(content)
    print(text, end="")
    if all("failed" in row for row in report["rows"]):
        return 2
    return 1 if any(row["verdict"] in ("slower", "broken") for row in report["rows"]) else 0


if __name__ == "__main__":
    sys.exit(main())
