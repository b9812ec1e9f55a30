"""What a flood costs a client that has nothing to do with it.

The bystander asks 100 queries a second of cached names, first in peace, then while one other client misbehaves: the bad
clients of tests/blackbox/harness/flood.py, each in turn. The upstream takes its time, so that misses pile up. The flood
runs on the load generator's core and has the lowest priority there: what the bystander sees is the server's doing.
"""

import os
import statistics
import subprocess
import sys
import time

BLACKBOX = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "blackbox")
sys.path.insert(0, BLACKBOX)
from harness.flood import KINDS  # noqa: E402

RATE = 100
NAMES = 100
UPSTREAM_US = 1500000
PEACE = "in peace"
SOURCE = "127.0.0.2"
HEADINGS = ["", "p50 ms", "p99 ms", "lowest..highest", "x peace", "max ms", "lost"]
MARGIN_S = 0.3  # by which the flood outlasts the measurement on either side


def listen(bench, server):
    """The bystander, for the time of one measurement."""
    return bench.load(server, "-R", RATE, "-m", NAMES, *bench.duration())


def endure(bench, server, kind):
    seconds = bench.args.seconds + 2 * MARGIN_S

    def on_load_core():
        os.sched_setaffinity(0, {bench.load_cpu})
        os.nice(19)

    command = [sys.executable, "-m", "harness.flood", kind, "127.0.0.1", str(server.port), SOURCE, str(seconds)]
    with subprocess.Popen(command, cwd=BLACKBOX, stdout=subprocess.PIPE, text=True, preexec_fn=on_load_core,
                          env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}) as flood:
        try:
            time.sleep(MARGIN_S)
            result = listen(bench, server)
            result["flood"] = int(flood.communicate(timeout=60)[0])
        finally:
            flood.kill()
    return result


def run(bench, server):
    """Runs by what the other client does meanwhile."""
    results = {label: [] for label in (PEACE, *KINDS)}
    for _ in range(bench.args.rounds):
        results[PEACE].append(listen(bench, server))
        for kind in KINDS:
            results[kind].append(endure(bench, server, kind))
    return results


def lost(runs):
    return sum(r["lost"] + r["late"] + r["rcode"] for r in runs)


def p99(runs):
    return statistics.median(r["p99_ms"] for r in runs)


def worst(results):
    """The largest p99 of a flood, as a multiple of that in peace."""
    return max(p99(results[kind]) for kind in KINDS) / p99(results[PEACE])


def rows(results):
    for label, runs in results.items():
        values = [r["p99_ms"] for r in runs]
        yield [label.replace("_", " "), f"{statistics.median(r['p50_ms'] for r in runs):.3f}", f"{p99(runs):.3f}",
               f"{min(values):.3f}..{max(values):.3f}", f"{p99(runs) / p99(results[PEACE]):.1f}",
               f"{max(r['max_ms'] for r in runs):.2f}", lost(runs)]
