"""What an outage of one of two upstreams costs: queries failed, the longest wait, and how much more the upstreams are asked.

A steady 1,000 queries a second that no cache has, for 12 seconds. After 3 seconds the upstream that is in use (the one
that was asked most) goes away in one of three ways, and after 8 it is back.
"""

import contextlib
import signal
import threading
import time

import servers

RATE = 1000  # queries a second
LENGTH_S, GONE_S, BACK_S = 12.0, 3.0, 8.0
ANSWER_US = 2000  # what an upstream takes: as near as a resolver in the same city
WINDOW = 8192  # of the load generator: as many as are asked while nobody answers


class Outage:
    """One upstream that can go and come back on the same port."""

    def __init__(self, bench, wrong):
        self.bench, self.wrong = bench, wrong
        self.process = servers.Upstream(bench, ["-d", str(ANSWER_US)])
        self.port, self.identity = self.process.port, self.process.identity
        self.earlier = 0  # queries that processes which are gone have seen

    def _replace(self, identity):
        self.earlier = self.queries()
        self.process.popen.kill()
        self.process.popen.wait()
        if identity is not None:
            options = ["-p", str(self.port), "-d", str(ANSWER_US)]
            self.process = servers.Upstream(self.bench, options, identity)

    def queries(self):
        if self.process.popen.poll() is not None:
            return self.earlier
        return self.earlier + self.process.counters()["queries"]

    def go(self, how):
        if how == "hung":
            self.process.popen.send_signal(signal.SIGSTOP)
        else:
            self._replace(self.wrong if how == "certificate" else None)

    def come_back(self, how):
        if how == "hung":
            self.process.popen.send_signal(signal.SIGCONT)
        else:
            self._replace(self.identity)

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.popen.send_signal(signal.SIGCONT)
        self.process.stop()


def let_one_go(pair, how, before, result):
    """Runs beside the load."""
    start = time.monotonic()
    time.sleep(GONE_S)
    used = max(pair, key=lambda u: u.queries() - before[u])
    used.go(how)
    time.sleep(max(0, start + BACK_S - time.monotonic()))
    used.come_back(how)
    result["at_return"], result["used"] = used.queries(), used


def measure(bench, server, pair, how):
    """One run: what the load saw, and what both upstreams were asked."""
    before, during = {u: u.queries() for u in pair}, {}
    thread = threading.Thread(target=let_one_go, args=(pair, how, before, during))
    thread.start()
    run = bench.load(server, "-f", bench.next_name, "-R", RATE, "-n", WINDOW, "-d", int(LENGTH_S * 1000))
    thread.join()
    bench.next_name += run["sent"]
    run["upstream_queries"] = sum(u.queries() - before[u] for u in pair)
    run["asked_again"] = during["used"].queries() - during["at_return"]
    run["failed"] = run["lost"] + run["late"] + run["rcode"]
    run["extra"] = 100 * (run["upstream_queries"] / run["sent"] - 1)
    return run


def run(bench, how):
    """All peers, one after the other, each behind a pair of its own. Returns the runs by label."""
    wrong = servers.Identity(bench.work, f"wrong-{how}")
    results = {}
    for peer in bench.peers:
        with contextlib.ExitStack() as stack:
            pair = [Outage(bench, wrong) for _ in range(2)]
            for one in pair:
                stack.callback(one.stop)
            server = peer(bench, pair[0], others=pair[1:])
            try:
                server.start()
            except servers.ServerFailed as e:
                bench.problems.append(f"{server.label}: {e}")
                continue
            stack.callback(server.stop)
            bench.load(server, "-f", bench.next_name, "-R", RATE, "-n", WINDOW, "-d", 2000)  # whom does it prefer?
            bench.next_name += 2 * RATE
            results[server.label] = [measure(bench, server, pair, how)]
    return results


def rows(results):
    return [[label, r["sent"], r["failed"], f"{r['p99_ms']:.1f}", f"{r['max_ms']:.0f}", f"{r['extra']:+.1f} %",
             r["asked_again"]] for label, (r,) in results.items()]


HEADINGS = ["", "queries", "failed", "p99 ms", "longest ms", "extra upstream queries", "to it once it was back"]
