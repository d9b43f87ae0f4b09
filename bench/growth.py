"""How the cost of a request grows with requests, handles or pieces; see scripts/bench --growth.

    python3 bench/growth.py [--smoke] --out PATH NAME=DISK...

Writes PATH.json, PATH.md and PATH.svg, and prints what PATH.md says. It OVERWRITES the disks.
"""

import argparse
import json
import math
import os
import statistics
import sys

import table
from chart import text
from compare import Cell, machine, say
from rows import CONCURRENT, EVENTFD, MODES, SERIAL
from tools import Ours

SIZES = {"4096 read": ["-s", "4096", "-S", "4096", "--order", "random"],
         "512 write": ["-w", "-s", "512", "-S", "4096", "--order", "random"]}
# With 1024 pieces, the most that an iovec may have, each is still one block: none is bounced.
LARGE = {"4 MiB read": ["-s", "4M", "-d", "4"], "4 MiB write": ["-w", "-s", "4M", "-d", "4"]}


class Series:
    """One number that grows; the option `option` of blkalign-bench sets it."""

    def __init__(self, name, title, option, amounts, works, columns, arguments=()):
        self.name, self.title, self.option, self.amounts = name, title, option, amounts
        self.works, self.columns, self.arguments = works, columns, arguments


SERIES = [
    Series("flight", "requests in flight", "-d", [16, 256, 4096], SIZES, [EVENTFD, SERIAL]),
    Series("handles", "handles of one object, 256 requests in flight", "--handles", [1, 16, 256],
           SIZES, [SERIAL, CONCURRENT], ["-d", "256"]),
    Series("pieces", "pieces of memory for a request of 4 MiB", "--iovecs", [1, 16, 256, 1024],
           LARGE, [EVENTFD, SERIAL]),
]
LINES = ["#0b62c4", "#c4560b", "#127a6b", "#8a4bb8"]
WIDTH, LEFT, PANEL, FOOT = 900, 60, 190, 70


class Point:
    """A cell with its place in a series."""

    def __init__(self, series, work, column, amount, disk, path, seconds):
        self.series, self.work, self.column, self.amount = series, work, column, amount
        self.disk = disk
        tool = Ours(*series.works[work], *series.arguments, series.option, str(amount),
                    completion=MODES[column])
        self.cell = Cell(tool, path, seconds)

    def calibrate(self, smoke):
        self.cell.calibrate(smoke)
        if self.series.name == "pieces":
            if smoke:
                self.cell.count = 20
        elif self.cell.count and not smoke:
            # Handles allocate memory for their first requests, which should be a small part.
            self.cell.count = max(self.cell.count, 16 * self.amount)

    def facts(self):
        facts = self.cell.facts()
        return {
            "disk": self.disk, "series": self.series.name, "work": self.work,
            "column": self.column, "amount": self.amount, **facts,
        }


def measure(disk, path, rounds, seconds, smoke):
    points = [
        Point(series, work, column, amount, disk, path, seconds)
        for series in SERIES for work in series.works
        for column in (series.columns[:1] if smoke else series.columns)
        for amount in (series.amounts[::len(series.amounts) - 1] if smoke else series.amounts)
    ]
    for at, point in enumerate(points):
        say(f"{disk}: getting ready, {at} of {len(points)}")
        point.calibrate(smoke)
    for turn in range(rounds):
        for point in points:
            say(f"{disk}: round {turn + 1} of {rounds}, {point.amount} {point.series.title}")
            point.cell.measure()
    say("")
    facts = [point.facts() for point in points]
    for each in facts:
        first = next(other for other in facts if all(
            other[key] == each[key] for key in ("series", "work", "column")))
        if "processor" in each and first.get("processor", {}).get("median"):
            each["growth"] = each["processor"]["median"] / first["processor"]["median"]
        if "rate" in each and "rate" in first:
            # Time for a request: the median of the ratios of single rounds.
            each["slower"] = statistics.median(
                a / b for a, b in zip(first["rate"]["rounds"], each["rate"]["rounds"]))
    return facts


def markdown(report):
    facts = report["machine"]
    result = (f"{facts['cpu']}, {facts['cores']} cores; {facts['kernel']}; load average "
              f"{facts['load_before']:.2f} before; {report['rounds']} rounds in turns\n")
    if report["smoke"]:
        result += "\nThis only shows that it runs: the figures mean nothing.\n"
    for series in SERIES:
        lines = []
        for point in (each for each in report["points"] if each["series"] == series.name):
            if "rate" in point:
                rate = point["rate"]
                cells = [f"{1e6 / rate['median']:.3g}",
                         f"{1e6 / rate['max']:.3g} .. {1e6 / rate['min']:.3g}",
                         f"{point['slower']:.2f}x", table.microseconds(point.get("processor")),
                         f"{point['growth']:.2f}x" if "growth" in point else "-"]
            else:
                cells = [point["failed"], "-", "-", "-", "-"]
            lines.append([point["disk"], point["work"], point["column"], point["amount"], *cells])
        result += f"\n{series.title[0].upper()}{series.title[1:]}:\n\n" + table.lined_up(
            ["disk", "work", "tool", "how many", "us a request", "min .. max", "of the fewest",
             "processor us", "of the fewest"], lines)
    return result


def line_of(points, amounts, colour, top, most):
    """One work in one mode: processor time, divided by that with the smallest number."""
    step = (WIDTH - LEFT - 260) / (len(amounts) - 1)
    places = [
        (LEFT + amounts.index(point["amount"]) * step,
         top + PANEL * (1 - point["growth"] / most))
        for point in points if "growth" in point
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    out = f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>\n'
    return out + "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>\n'
                         for x, y in places)


def panel(series, disk, points, top):
    """All lines of a series on one disk, on an axis from 0."""
    most = max([2.0, *(point["growth"] for point in points if "growth" in point)])
    most = most if most == 2 else 4 * math.ceil(most / 4)
    step = (WIDTH - LEFT - 260) / (len(series.amounts) - 1)
    out = text(20, top - 12, f"{disk}: {series.title}", "disk")
    for at in range(5):
        y = top + PANEL * (1 - at / 4)
        out += (f'<line x1="{LEFT}" x2="{WIDTH - 250}" y1="{y:.1f}" y2="{y:.1f}" class="line"/>\n' +
                text(LEFT - 8, y + 4, f"{most * at / 4:.3g}x", "small", "end"))
    for at, amount in enumerate(series.amounts):
        out += text(LEFT + at * step, top + PANEL + 16, f"{amount}", "small", "middle")
    lines = [(work, column) for work in series.works for column in series.columns]
    for at, (work, column) in enumerate(lines):
        mine = [each for each in points if (each["work"], each["column"]) == (work, column)]
        drawn = line_of(mine, series.amounts, LINES[at], top, most)
        y = top + 14 + 18 * at
        out += drawn + f'<rect x="{WIDTH - 235}" y="{y - 9}" width="10" height="10" ' \
                       f'fill="{LINES[at]}"/>\n'
        out += text(WIDTH - 220, y, f"{work}, {column}", "small")
    return out


def svg(report):
    title = "Processor time for a request, divided by that with the fewest"
    body, top = text(20, 28, title, "title"), 90
    for disk in dict.fromkeys(point["disk"] for point in report["points"]):
        for series in SERIES:
            points = [each for each in report["points"]
                      if (each["disk"], each["series"]) == (disk, series.name)]
            body += panel(series, disk, points, top)
            top += PANEL + FOOT
    style = ("text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-size:16px;"
             "font-weight:600}.disk{font-weight:600}.small{font-size:11px}.line{stroke:#d8dee4}")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" '
            f'height="{top}" role="img" aria-label="Processor time for a request">\n'
            f'<style>{style}</style>\n<rect fill="#ffffff" width="{WIDTH}" height="{top}"/>\n'
            f"{body}</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("disks", nargs="+", metavar="NAME=DISK")
    arguments = parser.parse_args()
    rounds = 1 if arguments.smoke else int(os.environ.get("ROUNDS", "5"))
    seconds = 0.1 if arguments.smoke else float(os.environ.get("CELL_SECONDS", "0.5"))
    report = {"machine": machine(), "rounds": rounds, "seconds": seconds,
              "smoke": arguments.smoke, "points": []}
    for each in arguments.disks:
        disk, path = each.split("=", 1)
        report["points"] += measure(disk, path, rounds, seconds, arguments.smoke)
    said = markdown(report)
    for suffix, content in {
        "json": json.dumps(report, indent=2) + "\n", "md": said, "svg": svg(report),
    }.items():
        with open(f"{arguments.out}.{suffix}", "w", encoding="utf-8") as out:
            out.write(content)
    print(said, end="")
    return 1 if any(point.get("failed") for point in report["points"]) else 0


if __name__ == "__main__":
    sys.exit(main())
