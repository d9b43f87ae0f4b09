"""The results as tables in Markdown, lined up so that they can be read as they are."""


def thousands(rate):
    return f"{rate / 1000:.1f}" if rate < 1e5 else f"{rate / 1000:.0f}"


def spread(facts):
    return f"{thousands(facts['min'])} .. {thousands(facts['max'])}"


def microseconds(facts):
    """The median; facts is None if this was not measured."""
    return f"{facts['median']:.3g}" if facts else "-"


def of_each(facts):
    """Our statistics, for each request: what explains the figure."""
    stats = facts.get("stats")
    if not stats:
        return facts.get("engine") or ""
    words = [facts["engine"]]
    for name, word in [
        ("storage_reads", "storage reads"), ("storage_writes", "storage writes"),
        ("merged", "merged"), ("waits", "waits"), ("bounced", "bounced"),
    ]:
        if stats[name] > 0:
            words.append(f"{stats[name]:.3g} {word}")
    return ", ".join(words)


def lined_up(header, lines):
    widths = [max(len(str(line[i])) for line in [header, *lines]) for i in range(len(header))]

    def line_of(cells):
        return "| " + " | ".join(str(c).ljust(w) for c, w in zip(cells, widths)) + " |\n"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|\n"
    return line_of(header) + rule + "".join(line_of(line) for line in lines)


def figures(report):
    lines = []
    for row in report["rows"]:
        for column, facts in row["columns"].items():
            if "rate" in facts:
                rate = facts["rate"]
                cells = [thousands(rate["median"]), spread(rate),
                         microseconds(facts.get("processor")), of_each(facts)]
            else:
                cells = ["-", "-", "-", facts["failed"]]
            lines.append([row["disk"], row["title"], column, *cells])
    return lined_up(["disk", "work", "tool", "thousand/s", "min .. max", "processor us",
                     "for each request"], lines)


def latencies(report):
    """Empty if no row measured latency."""
    lines = [
        [row["disk"], row["title"], column,
         *(microseconds(facts.get(share)) for share in ("p50", "p99", "p99.9"))]
        for row in report["rows"] for column, facts in row["columns"].items() if "p50" in facts
    ]
    if not lines:
        return ""
    return "\n" + lined_up(["disk", "work", "tool", "p50 us", "p99 us", "p99.9 us"], lines)


def goals(report):
    titles = {row["name"]: row["title"] for row in report["rows"]}
    lines = []
    for row in report["rows"]:
        for goal in row["goals"]:
            of = goal["of"]
            if goal["of_row"] != row["name"]:
                of = f"{of}, {titles.get(goal['of_row'], goal['of_row'])}"
            if "ratio" in goal:
                cells = [f"{goal['ratio']:.2f}x",
                         f"{goal['ratio_min']:.2f} .. {goal['ratio_max']:.2f}",
                         "met" if goal["met"] else "MISSED"]
            else:
                cells = ["-", "-", "not measured"]
            bound = ">=" if goal["measure"] == "rate" else "<="
            cells.insert(2, f"{bound} {goal['factor']}x")
            lines.append([row["disk"], row["title"], goal["column"], goal["measure"], of, *cells])
    return lined_up(["disk", "work", "tool", "measure", "against", "ratio", "min .. max", "goal",
                     ""], lines)


def markdown(report):
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" if version else f"{name} absent"
                         for name, version in report["versions"].items())
    text = (
        f"{report['date']}; {machine['cpu']}, {machine['cores']} cores, {machine['memory']}; "
        f"{machine['kernel']}\n{versions}\n"
        f"{report['rounds']} rounds in turns, {report['seconds']:g} s each; load average "
        f"{machine['load_before']:.2f} before, {machine['load_after']:.2f} after\n\n"
    )
    if machine["load_before"] > 0.3 * machine["cores"]:
        text += "The machine was busy with other things before: judge with care.\n\n"
    if report["smoke"]:
        text += "This only shows that it runs: the figures mean nothing.\n\n"
    return text + figures(report) + latencies(report) + "\n" + goals(report)
