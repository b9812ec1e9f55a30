#!/usr/bin/env python3
"""Draws the figures of one run of tests/bench/run as an SVG for README. Needs matplotlib, at development time only."""

import json
import statistics
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

# Case, title, key of its runs, and how a bar is labelled. Smaller is better in all of them.
CHARTS = [
    ("udp-hit", "UDP, in the cache: CPU µs a query", "cpu_us", "{:.1f}"),
    ("tcp-hit", "TCP, in the cache: CPU µs a query", "cpu_us", "{:.1f}"),
    ("dot-miss", "asked over DoT: CPU µs a query", "cpu_us", "{:.1f}"),
    ("memory", "memory after start: MiB", "pss", "{:.1f}"),
    ("start", "from exec to the first answer: ms", "ms", "{:.0f}"),
    ("outage-hung", "one of two upstreams hung for 5 s:\nfailed of 12,000 queries", "failed", "{:,.0f}"),
    ("outage-killed", "one of two upstreams killed for 5 s:\nfailed of 12,000 queries", "failed", "{:,.0f}"),
    ("outage-hung", "one of two upstreams hung:\nlongest answer, ms", "max_ms", "{:,.0f}"),
]
SERVERS = {"nodedot": "#2e7d46", "unbound": "#7d8ca3", "dnsdist": "#93a1b5", "knot-resolver": "#aab6c6", "echo": "#d5dbe3"}
SCALE = {"pss": 2**20}
COLUMNS = 4


def server_of(label):
    """Which of SERVERS a label stands for; None for another variant of one."""
    return next((s for s in SERVERS if label == s or (s == "echo" and label.startswith("echo"))), None)


def bars(runs_by_label, key):
    values = {}
    for label, runs in runs_by_label.items():
        server = server_of(label)
        measured = [run[key] / SCALE.get(key, 1) for run in runs if run.get(key) is not None]
        if server and measured:
            values[server] = statistics.median(measured)
    return {server: values[server] for server in SERVERS if server in values}


def draw_chart(axes, title, values, form):
    names = list(values)
    axes.barh(names, values.values(), color=[SERVERS[n] for n in names])
    axes.invert_yaxis()
    longest = max(values.values()) or 1
    for row, value in enumerate(values.values()):
        axes.text(value + longest * 0.02, row, form.format(value), va="center", fontsize=8)
    axes.set_xlim(0, longest * 1.25)
    axes.set_title(title, fontsize=9, loc="left")
    axes.tick_params(labelsize=8, length=0)
    axes.xaxis.set_visible(False)
    for side in axes.spines.values():
        side.set_visible(False)


def main(results_file, svg_file):
    with open(results_file, encoding="utf-8") as f:
        results = json.load(f)
    charts = [(title, bars(results["cases"][case], key), form) for case, title, key, form in CHARTS if case in results["cases"]]
    charts = [chart for chart in charts if chart[1]]
    if not charts:
        return
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "nodedot", "font.family": "DejaVu Sans"})
    rows = -(-len(charts) // COLUMNS)
    figure, grid = pyplot.subplots(rows, COLUMNS, figsize=(14, 2.1 * rows), squeeze=False)
    for axes in grid.flat[len(charts):]:
        axes.axis("off")
    for axes, (title, values, form) in zip(grid.flat, charts):
        draw_chart(axes, title, values, form)
    machine = results["machine"]
    figure.text(0.01, 0.01, f"{machine['cpu']}, Linux {machine['kernel']}; one thread each, one run, medians; shorter is better. "
                + ", ".join(f"{name} {version}" for name, version in results["versions"].items() if name != "nodedot"),
                fontsize=7, color="#555")
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(svg_file, metadata={"Date": None})
    print(f"drawn: {svg_file}")


if __name__ == "__main__":
    main(*sys.argv[1:])
