#!/usr/bin/env python3
"""Shows that every query of the dashboard returns data, and draws it.

Two nodedots with DoT upstreams, one of which has a certificate that is not its own, are kept busy by a few clients, and a
Prometheus scrapes them. Then the queries of every panel of helm/nodedot/dashboards/nodedot.json are put to it, as Grafana
would put them. With --screenshot FILE, what came back is drawn on the dashboard's own grid.
"""

import argparse
import contextlib
import datetime
import json
import math
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "blackbox"))

from harness import behaviours, wire  # noqa: E402
from harness.certificates import Authority  # noqa: E402
from harness.client import Udp  # noqa: E402
from harness.fake import FakeServer  # noqa: E402
from harness.network import Network  # noqa: E402
from harness.program import DNS_PORT, Nodedot  # noqa: E402
from harness.waiting import wait_until  # noqa: E402

DASHBOARD = ROOT / "helm" / "nodedot" / "dashboards" / "nodedot.json"
METRICS_PORT, PROMETHEUS_PORT = 9553, 9090
SCRAPE_S = 1
RATE_INTERVAL_S = 10  # what Grafana would put for $__rate_interval, at this rate of scraping at least four of them
READY_S = 30
CLUSTER = "cluster.test"


class Prometheus:
    """One that scrapes the given targets: {instance: address}."""

    def __init__(self, directory, address, targets):
        self.url = f"http://{address}:{PROMETHEUS_PORT}"
        scrapes = [{"targets": [f"{where}:{METRICS_PORT}"], "labels": {"instance": name}} for name, where in targets.items()]
        (directory / "prometheus.yml").write_text(json.dumps({  # JSON is YAML
            "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
            "rule_files": [str(ROOT / "helm" / "nodedot" / "files" / "alerts.yaml")],
            "scrape_configs": [{"job_name": "nodedot", "static_configs": scrapes}],
        }))
        with open(directory / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen(
                [shutil.which("prometheus"), f"--config.file={directory}/prometheus.yml",
                 f"--storage.tsdb.path={directory}/tsdb", f"--web.listen-address={address}:{PROMETHEUS_PORT}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def get(self, path, **parameters):
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def targets_up(self):
        with contextlib.suppress(OSError):
            return [t for t in self.get("targets")["activeTargets"] if t["health"] == "up"]
        return []

    def query(self, expression, start, end):
        """Series of the range: [(labels, [(time, value)])]; values that are no number are left out."""
        data = self.get("query_range", query=expression, start=start, end=end, step=SCRAPE_S)
        series = [(r["metric"], [(t, float(v)) for t, v in r["values"] if math.isfinite(float(v))]) for r in data["result"]]
        return [one for one in series if one[1]]

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


class Clients(threading.Thread):
    """Pods of one node: each an address of its own, some busier than others."""

    def __init__(self, program, sources, seed):
        super().__init__(daemon=True)
        self.random = random.Random(seed)
        self.sockets = [Udp(program.address, program.port, source).socket for source in sources]
        self.end = threading.Event()
        for s in self.sockets:
            s.setblocking(False)

    def name(self):
        kind = self.random.random()
        if kind < 0.75:
            return f"hot{int(100 * self.random.random() ** 2)}.demo.test"
        return f"n{self.random.getrandbits(32):08x}." + (CLUSTER if kind < 0.8 else "demo.test")

    def run(self):
        while not self.end.wait(0.02):
            for number, s in enumerate(self.sockets):
                for _ in range(self.random.randrange(0, len(self.sockets) - number + 1)):
                    qtype = self.random.choice([wire.A, wire.A, wire.A, wire.AAAA, wire.AAAA, wire.TXT, wire.PTR])
                    with contextlib.suppress(OSError):
                        s.send(wire.query(self.name() if self.random.random() > 0.01 else "bad.demo.test", qtype))
                with contextlib.suppress(BlockingIOError):
                    while True:
                        s.recv(65535)
        for s in self.sockets:
            s.close()


def expand(expression, window_s):
    """Grafana's variables, all values chosen."""
    for variable, value in {"$__rate_interval": f"{window_s}s", "$job": ".*", "$instance": ".*"}.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, f"a variable that this test does not know: {expression}"
    return expression


def ask_panels(prometheus, dashboard, start, end):
    """What each panel's queries return: {panel id: [series of a target, ...]}, and the panels that had no data."""
    data, empty = {}, []
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            continue
        data[panel["id"]] = [prometheus.query(expand(t["expr"], RATE_INTERVAL_S), start, end) for t in panel["targets"]]
        empty += [f"{panel['title']}: {t['expr']}" for t, series in zip(panel["targets"], data[panel["id"]]) if not series]
    return data, empty


def start_node(directory, network, upstreams, cluster, pins):
    config = {
        "server": {"listen": f"{network.address()}:{DNS_PORT}", "workers": 1},
        "cache": {"size": "1M"},
        "upstream office": {"address": [u.options()["address"] for u in upstreams], "name": "dot.test", "pin": pins,
                            "revalidate": 5},
        "upstream kube-dns": cluster.options("plain"),
        "zone .": {"upstream": "office"},
        f"zone {CLUSTER}": {"upstream": "kube-dns"},
    }
    address = config["server"]["listen"].rpartition(":")[0]
    config["metrics"] = {"listen": f"{address}:{METRICS_PORT}"}
    directory.mkdir()
    return Nodedot(directory, address, config).start()


def run(seconds, directory, stack):
    """Starts everything, waits, asks. Returns the dashboard and what its panels had."""
    network = Network()
    authority = Authority(directory, "Demo Root")
    certificates = [authority.issue("dot.test", "127.0.0.1") for _ in range(3)]
    upstreams = [FakeServer(network.address(), c) for c in certificates]
    cluster = FakeServer(network.address())
    for number, server in enumerate([*upstreams, cluster]):
        stack.callback(server.stop)
        server.default = behaviours.delay(0.004 * (number + 1), behaviours.proper(ttl=20))
        server.behave("bad.demo.test", behaviours.failure())
    pins = [c.pin for c in certificates[:2]]  # the third server's is not among them
    nodes = {f"node{i + 1}": start_node(directory / f"node{i + 1}", network, upstreams[i:], cluster, pins) for i in range(2)}
    for program in nodes.values():
        stack.callback(program.stop)
    prometheus = Prometheus(directory, network.address(), {name: p.address for name, p in nodes.items()})
    stack.callback(prometheus.stop)
    wait_until(lambda: len(prometheus.targets_up()) == len(nodes), READY_S, "Prometheus to have scraped both nodes")
    start = time.time()
    for number, program in enumerate(nodes.values()):
        clients = Clients(program, [network.address() for _ in range(5 - 2 * number)], number)
        clients.start()
        stack.callback(clients.join)
        stack.callback(clients.end.set)
    time.sleep(seconds)  # the history that the panels show is this long
    dashboard = json.loads(DASHBOARD.read_text())
    data, empty = ask_panels(prometheus, dashboard, start + RATE_INTERVAL_S, time.time())
    alerts = sorted({f"{a['labels']['alertname']} {a['state']}" for a in prometheus.get("alerts")["alerts"]})
    print("alerts meanwhile:", ", ".join(alerts) or "none")
    return dashboard, data, empty


# Drawing ------------------------------------------------------------------------------------------------------------------


def units(value, unit):
    """A number as Grafana writes it."""
    if unit == "s":
        for limit, size, word in ((1e-3, 1e-6, "µs"), (1, 1e-3, "ms"), (120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
            if abs(value) < limit:
                return f"{value / size:.3g} {word}"
        return f"{value / 86400:.3g} d"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    return f"{value:.4g}" + (" /s" if unit == "reqps" else "")


def legend(target, labels):
    text = target.get("legendFormat") or " ".join(labels.values())
    for name, value in labels.items():
        text = text.replace("{{" + name + "}}", value)
    return text


def colour_of(defaults, value):
    colour = "tab:blue"
    for step in defaults.get("thresholds", {}).get("steps", []):
        if step["value"] is None or value >= step["value"]:
            colour = {"blue": "#5794f2", "green": "#56a64b", "orange": "#ff9830", "red": "#e02f44"}[step["color"]]
    return colour


def draw_stat(axes, panel, data):
    value = data[0][0][1][-1][1]
    axes.set_facecolor(colour_of(panel["fieldConfig"]["defaults"], value))
    axes.text(0.5, 0.45, units(value, panel["fieldConfig"]["defaults"]["unit"]), ha="center", va="center", fontsize=15,
              color="white", weight="bold", transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])


def draw_lines(axes, panel, data):
    from matplotlib.ticker import FuncFormatter
    unit = panel["fieldConfig"]["defaults"]["unit"]
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    lines = [(legend(t, labels), values) for t, series in zip(panel["targets"], data) for labels, values in series]
    lines = sorted(lines, key=lambda line: -line[1][-1][1])[:8]
    if custom.get("stacking"):
        times = sorted({t for _, values in lines for t, _ in values})
        axes.stackplot([datetime.datetime.fromtimestamp(t) for t in times],
                       [[dict(values).get(t, 0) for t in times] for _, values in lines], labels=[n for n, _ in lines], alpha=0.7)
    else:
        for name, values in lines:
            axes.plot([datetime.datetime.fromtimestamp(t) for t, _ in values], [v for _, v in values], label=name, linewidth=1)
    if custom.get("scaleDistribution", {}).get("type") == "log":
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: units(value, unit)))
    axes.legend(fontsize=5.5, loc="upper left", framealpha=0.7)
    axes.grid(alpha=0.3)


def draw_states(axes, panel, data):
    names = {int(k): v for k, v in panel["fieldConfig"]["defaults"]["mappings"][0]["options"].items()}
    colours = {"blue": "#5794f2", "green": "#56a64b", "orange": "#ff9830", "red": "#e02f44"}
    for row, (labels, values) in enumerate(data[0]):
        for t, value in values:
            axes.barh(row, SCRAPE_S / 86400, left=datetime.datetime.fromtimestamp(t), height=0.7, color=colours[names[int(value)]["color"]])
        axes.text(datetime.datetime.fromtimestamp(values[0][0]), row, f" {legend(panel['targets'][0], labels)}: "
                  f"{names[int(values[-1][1])]['text']}", va="center", fontsize=6)
    axes.set_yticks([])


def draw_table(axes, panel, data):
    renamed = next(t for t in panel["transformations"] if t["id"] == "organize")["options"]["renameByName"]
    by_unit = {m["matcher"]["options"]: m["properties"][0] for m in panel["fieldConfig"]["overrides"]}
    titles = [renamed[f"Value #{t['refId']}"] for t in panel["targets"]]
    keys = list(data[0][0][0])
    rows = {tuple(labels.values()): {} for labels, _ in data[0]}
    for title, series in zip(titles, data):
        for labels, values in series:
            rows.setdefault(tuple(labels.values()), {})[title] = values[-1][1]
    cells = []
    for key, row in sorted(rows.items()):
        shown = []
        for title in titles:
            unit = "s" if any(title in m.split("|") and p.get("value") == "s" for m, p in by_unit.items()) else "short"
            shown.append(units(row[title], unit) if title in row else "")
        cells.append([*key, *shown])
    axes.axis("off")
    table = axes.table(cells, colLabels=[*(renamed.get(k, k) for k in keys), *titles], loc="upper left", cellLoc="left")
    table.auto_set_font_size(False)
    table.set_fontsize(6)
    table.auto_set_column_width(range(len(keys) + len(titles)))


DRAW = {"stat": draw_stat, "timeseries": draw_lines, "state-timeline": draw_states, "table": draw_table}


def draw(dashboard, data, file):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.dates
    from matplotlib import pyplot

    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in dashboard["panels"])
    figure = pyplot.figure(figsize=(17, height * 0.30), dpi=80)
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        left, bottom = at["x"] / 24, 1 - (at["y"] + at["h"]) / height
        if panel["type"] == "row":
            figure.text(left + 0.005, bottom + 0.3 / height, panel["title"], fontsize=12, weight="bold")
            continue
        axes = figure.add_axes([left + 0.03, bottom + 1.2 / height, at["w"] / 24 - 0.037, (at["h"] - 2.5) / height])
        axes.set_title(panel["title"], fontsize=8, loc="left", weight="bold")
        axes.tick_params(labelsize=6)
        DRAW[panel["type"]](axes, panel, data[panel["id"]])
        if panel["type"] in ("timeseries", "state-timeline"):
            axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M:%S"))
            axes.xaxis.set_major_locator(matplotlib.dates.AutoDateLocator(maxticks=5))
    figure.savefig(file, facecolor="white")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="of load before the panels are asked (30)")
    parser.add_argument("--screenshot", help="draw the dashboard into this PNG file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nodedot-dashboard-") as directory, contextlib.ExitStack() as stack:
        dashboard, data, empty = run(arguments.seconds, pathlib.Path(directory), stack)
    panels = sum(p["type"] != "row" for p in dashboard["panels"])
    for query in empty:
        print(f"dashboard: no data: {query}", file=sys.stderr)
    print(f"dashboard: {panels} panels, {sum(map(len, data.values()))} queries, {len(empty)} without data")
    if arguments.screenshot and not empty:
        draw(dashboard, data, arguments.screenshot)
    return 1 if empty else 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
