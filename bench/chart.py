"""The results as a picture: for each work and tool the median as a bar, with its spread.

    python3 bench/chart.py RESULTS.json >CHART.svg

Plain SVG, light and dark by the reader's preference, on a background of its own.
"""

import json
import math
import sys
from xml.sax.saxutils import escape

COLOURS = {
    # column: (in light, in dark)
    "blkalign eventfd": ("#0b62c4", "#5aa9ff"),
    "blkalign serial": ("#6aa5e8", "#2f6db5"),
    "blkalign sync": ("#0b62c4", "#5aa9ff"),
    "blkalign concurrent": ("#9a8ae0", "#7d6bd6"),
    "blkalign eventfd, all poll": ("#127a6b", "#3fc4ae"),
    "blkalign serial, woken submitter": ("#a8c9ee", "#1f4a7a"),
    "bare io_uring, waiting thread": ("#8a6d3b", "#c9a86a"),
    "8 x fio, depth 4": ("#b0b7bf", "#5b646e"),
    "qemu-img bench": ("#c4560b", "#ff9d57"),
    "fio": ("#6e7781", "#9aa4af"),
}
DISKS = {
    "loop": "loop device, blocks of 4096 bytes", "zram": "RAM disk (zram), blocks of 4096 bytes",
    "file": "plain file",
}
WIDTH, LEFT, RIGHT, LANE, GAP = 900, 300, 90, 14, 12


def css():
    def rules(which):
        text, ground, line = [("#1f2328", "#ffffff", "#d8dee4"),
                              ("#e6edf3", "#0d1117", "#30363d")][which]
        rule = f".ground{{fill:{ground}}}text{{fill:{text}}}.line{{stroke:{line}}}"
        rule += f".whisker{{stroke:{text}}}"
        for column, colours in COLOURS.items():
            rule += f".{class_of(column)}{{fill:{colours[which]}}}"
        return rule

    return (f"text{{font:12px system-ui,sans-serif}}.title{{font-size:16px;font-weight:600}}"
            f".disk{{font-weight:600;font-size:13px}}.small{{font-size:11px}}{rules(0)}"
            f"@media(prefers-color-scheme:dark){{{rules(1)}}}")


def class_of(column):
    return "of-" + "".join(letter if letter.isalnum() else "-" for letter in column)


def text(x, y, words, style="", anchor="start"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">'
            f"{escape(words)}</text>\n")


class Scale:
    """Requests a second on a logarithmic axis, whole decades."""

    def __init__(self, rates):
        self.low = math.floor(math.log10(min(rates)))
        self.high = max(math.ceil(math.log10(max(rates))), self.low + 1)

    def x(self, rate):
        share = (math.log10(rate) - self.low) / (self.high - self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def ticks(self):
        return [(self.x(10 ** e), 10 ** e) for e in range(self.low, self.high + 1)]


def rate_words(rate):
    return f"{rate / 1000:.3g} k" if rate < 1e6 else f"{rate / 1e6:.3g} M"


def lanes(row, y, scale):
    """One bar for each tool, the spread of its rounds as a thin line over the end of it."""
    out = ""
    for column, facts in row["columns"].items():
        middle = y + LANE / 2
        if "rate" in facts:
            rate = facts["rate"]
            end = scale.x(rate["median"])
            low, high = scale.x(rate["min"]), scale.x(rate["max"])
            out += (f'<rect x="{LEFT}" y="{y + 1.5}" height="{LANE - 3}" width="{end - LEFT:.1f}" '
                    f'class="{class_of(column)}"><title>{escape(column)}: '
                    f"{rate['median']:.0f} a second</title></rect>\n")
            out += (f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" '
                    'class="whisker" stroke-width="1"/>\n')
            out += text(max(end, high) + 5, middle + 4, rate_words(rate["median"]), "small")
        else:
            out += text(LEFT + 5, middle + 4, f"{column}: {facts['failed']}"[:90], "small")
        y += LANE
    return out, y


def legend(columns, y):
    out, x = "", LEFT
    for column in columns:
        width = 24 + 6.6 * len(column)
        if x + width > WIDTH:
            x, y = LEFT, y + 18
        out += f'<rect x="{x}" y="{y - 9}" width="10" height="10" class="{class_of(column)}"/>\n'
        out += text(x + 15, y, column, "small")
        x += width
    return out, y


def title_lines(title):
    """A long title in two lines, parted at a comma."""
    parts = title.split(", ")
    if len(title) <= 40 or len(parts) == 1:
        return [title]
    head = parts.pop(0)
    while parts and len(head) + len(parts[0]) < 38:
        head += ", " + parts.pop(0)
    return [head + ",", ", ".join(parts)] if parts else [head]


def panels(report, y, scale):
    out = ""
    for disk in dict.fromkeys(row["disk"] for row in report["rows"]):
        y += 30
        out += text(20, y, DISKS.get(disk, disk), "disk")
        y, top = y + 10, y + 4
        for row in (each for each in report["rows"] if each["disk"] == disk):
            for number, line in enumerate(title_lines(row["title"])):
                out += text(LEFT - 12, y + 11 + 13 * number, line, "small", "end")
            bars, below = lanes(row, y, scale)
            out += bars
            y = max(below, y + 13 * len(title_lines(row["title"]))) + GAP
        for x, rate in scale.ticks():
            out = (f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{y}" class="line"/>\n' + out +
                   text(x, y + 12, rate_words(rate), "small", "middle"))
        y += 18
    return out, y


def svg(report):
    rates = [value for row in report["rows"] for facts in row["columns"].values()
             if "rate" in facts for value in (facts["rate"]["min"], facts["rate"]["max"])]
    columns = dict.fromkeys(c for row in report["rows"] for c in row["columns"])
    machine, versions = report["machine"], report["versions"]
    named = ", ".join(f"{name} {version or 'absent'}" for name, version in versions.items())
    body = text(20, 30, "Requests a second, by work and tool (more is better)", "title")
    body += text(20, 50, f"{machine['cpu']}, {machine['cores']} cores; {machine['kernel']}; "
                 f"{report['date']}", "small")
    body += text(20, 66, f"{named}; make bench: medians of {report['rounds']} rounds, thin lines "
                 "from least to most", "small")
    keys, y = legend(columns, 90)
    body += keys
    if rates:
        bars, y = panels(report, y, Scale(rates))
        body += bars
    y += 22
    body += text(LEFT, y, "requests a second, logarithmic; k = thousand", "small")
    height = y + 16
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
            f'width="{WIDTH}" height="{height:.0f}" role="img" '
            f'aria-label="Requests a second, by work and tool">\n<style>{css()}</style>\n'
            f'<rect class="ground" width="{WIDTH}" height="{height:.0f}"/>\n{body}</svg>\n')


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as results:
        print(svg(json.load(results)), end="")
