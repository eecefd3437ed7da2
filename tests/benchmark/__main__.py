"""Measure the function, the floor and the recipe side by side, in rounds that take turns.

Real processes over loopback: what is compared, a Salesforce that knows its answers by heart, and
the load. Prints tables and targets, and writes them to build/benchmark.md, with a plot beside it.
Ends with 1 where a target is missed. Run: python -m tests.benchmark [--rounds N] [--messages N]
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from pathlib import Path

from sandbox.world import ROOT, World

from . import report
from .contenders import NAMES, THREADS, Contender, cpu_s
from .load import Heard, Load, post
from .report import Measure, Target, ratio
from .stand_in import StandIn

AT_ONCE = (1, 8, 32, 80)
# How long a turn takes, by the milliseconds that Salesforce does. Short ones, and more of them,
# where the processor is what counts: the machine may be busier in one second than in the next.
TURN_S = {0: 0.5, 200: 3.0}
TURNS = {0: 4, 200: 1}  # in a round
FULL = 3  # tenths of the messages
# What each import adds to a process that has what the floor has.
IMPORTS = """
import sys, time, functions_framework._http.gunicorn, requests
for name in sys.argv[1:]:
    began = time.perf_counter()
    __import__(name)
    print(time.perf_counter() - began)
"""
GOOGLE, LIBRARY = "google.cloud.secretmanager", "simple_salesforce"


class Bench:
    """Who takes part, and how one load is posted."""

    def __init__(self, world: World, stand_in: StandIn, pool: ProcessPoolExecutor) -> None:
        self.world, self.stand_in = world, stand_in
        self._pool = pool
        self._numbers = count(0, 1_000_000)

    def start(self, name: str, *, with_secrets: bool = True) -> Contender:
        """Start a contender as a new process."""
        return Contender(name, self.world, self.stand_in.port, with_secrets=with_secrets)

    def post(
        self,
        to: Contender,
        at_once: int,
        *,
        seconds: float = 600,
        messages: int = 1_000_000,
        stranger: bool = False,
    ) -> Heard:
        """Post from the load's process; an answer that nobody expects ends the benchmark."""
        signature, status = ("a stranger's", 401) if stranger else (to.signature, 200)
        load = Load(to.port, signature, next(self._numbers), at_once, seconds, messages)
        heard = self._pool.submit(post, load).result()
        if set(heard.statuses) != {status}:
            raise SystemExit(f"{to.name} answered {dict(heard.statuses)}:\n{to.function.raw_log}")
        return heard


def cold_starts(bench: Bench, rounds: int, *, with_secrets: bool) -> Measure:
    """From the start of the process to its first 200, in seconds."""
    where = "read from Secret Manager" if with_secrets else "in the environment"
    found = Measure(f"cold start, secrets {where}", "s", 2)
    for name in NAMES:  # so that nothing has to be compiled
        bench.start(name, with_secrets=with_secrets).function.stop()
    for _ in range(rounds):
        for name in NAMES:
            began = time.perf_counter()
            contender = bench.start(name, with_secrets=with_secrets)
            bench.post(contender, 1, messages=1)
            found.add(name, time.perf_counter() - began)
            contender.function.stop()
    return found


def imports(rounds: int, *names: str) -> list[float]:
    """What each module takes to import, one after the other, in seconds: the median."""
    times: list[list[float]] = []
    for _ in range(rounds):
        ran = subprocess.check_output([sys.executable, "-c", IMPORTS, *names], text=True)
        times.append([float(line) for line in ran.splitlines()])
    return [statistics.median(each) for each in zip(*times, strict=True)]


class Warm:
    """Latency, rate and CPU of contenders that have served before, and what a message costs."""

    def __init__(self, bench: Bench, rounds: int) -> None:
        self._bench, self._rounds = bench, rounds
        self.measures: list[Measure] = []
        self.calls = Measure("Salesforce calls per message", "", 3)
        self.first_handshakes = Measure("TLS handshakes in the first 1,000, 80 at once", "", 0)
        self.handshakes = Measure("TLS handshakes per 1,000 messages after these", "", 1)
        self.stand_in_cpu: list[float] = []
        self.load_cpu: list[float] = []
        self.contenders = [bench.start(name) for name in NAMES]
        bench.stand_in.delay.value = 0.2  # so that every thread needs a connection of its own
        for contender in self.contenders:
            before = bench.stand_in.handshakes.value
            bench.post(contender, THREADS, messages=1000)
            self.first_handshakes.add(contender.name, bench.stand_in.handshakes.value - before)

    def level(self, at_once: int, delay_ms: int) -> dict[str, Measure]:
        """Measure all of them at one level, in turns; by p50, p99, rate and cpu."""
        stand_in = self._bench.stand_in
        stand_in.delay.value = delay_ms / 1000
        where = f"{at_once} at once, Salesforce {delay_ms} ms"
        found = {
            "rate": Measure(f"{where}: messages", "/s", 0),
            "p50": Measure(f"{where}: p50", "ms", 1),
            "p99": Measure(f"{where}: p99", "ms", 1),
            "cpu": Measure(f"{where}: CPU per message", "ms", 2),
        }
        for contender in self._in_turns(delay_ms):
            calls, handshakes = stand_in.calls.value, stand_in.handshakes.value
            cpu, stand_in_cpu = contender.cpu_s(), cpu_s(stand_in.pid)
            heard = self._bench.post(contender, at_once, seconds=TURN_S[delay_ms])
            name, number = contender.name, len(heard.latencies)
            found["rate"].add(name, number / heard.seconds)
            found["p50"].add(name, 1000 * percentile(heard.latencies, 50))
            found["p99"].add(name, 1000 * percentile(heard.latencies, 99))
            found["cpu"].add(name, 1000 * (contender.cpu_s() - cpu) / number)
            self.calls.add(name, (stand_in.calls.value - calls) / number)
            self.handshakes.add(name, 1000 * (stand_in.handshakes.value - handshakes) / number)
            if delay_ms == 0:
                self.stand_in_cpu.append((cpu_s(stand_in.pid) - stand_in_cpu) / number)
                self.load_cpu.append(heard.cpu_s / number)
        stand_in.delay.value = 0
        self.measures += [found[each] for each in ("rate", "p50", "p99")]
        if delay_ms == 0:
            self.measures.append(found["cpu"])
        return found

    def refusals(self) -> tuple[Measure, Measure, int]:
        """What a wrong signature costs who looks at it, and the calls that it has caused."""
        rate = Measure("refusals of a wrong signature, 8 at once", "/s", 0)
        cpu = Measure("CPU per refusal", "ms", 2)
        calls = self._bench.stand_in.calls.value
        for contender in self._in_turns(0):
            if contender.name == "floor":  # it checks nothing
                continue
            before = contender.cpu_s()
            heard = self._bench.post(contender, 8, seconds=TURN_S[0], stranger=True)
            rate.add(contender.name, len(heard.latencies) / heard.seconds)
            cpu.add(contender.name, 1000 * (contender.cpu_s() - before) / len(heard.latencies))
        return rate, cpu, self._bench.stand_in.calls.value - calls

    def _in_turns(self, delay_ms: int) -> Iterator[Contender]:
        for _ in range(self._rounds * TURNS[delay_ms]):
            yield from self.contenders


def full(messages: int) -> int:
    """After so many of them, what is bounded is full: an instance remembers 4,096 records."""
    return messages * FULL // 10


def memory(bench: Bench, messages: int) -> tuple[Measure, Measure, Measure]:
    """What a new process holds at most, and its worker after FULL of the messages and after all."""
    most = Measure(f"peak memory in {messages:,} messages, both processes", "MB", 1)
    early = Measure(f"memory after {full(messages):,} messages, the worker", "MB", 1)
    late = Measure(f"memory after {messages:,} messages, the worker", "MB", 1)
    for name in NAMES:
        contender = bench.start(name)
        held = []
        for part in range(10):
            bench.post(contender, THREADS, messages=messages // 10)
            held.append(contender.memory_mb())
            if part == FULL - 1:
                early.add(name, contender.worker_mb())
        most.add(name, max(held))
        late.add(name, contender.worker_mb())
        contender.function.stop()
    return most, early, late


def percentile(numbers: list[float], percent: int) -> float:
    """The number below which so many percent lie."""
    return sorted(numbers)[len(numbers) * percent // 100]


def run(bench: Bench, rounds: int, messages: int) -> report.Report:
    """Measure everything."""
    say("cold starts")
    cold = cold_starts(bench, rounds, with_secrets=True)
    bare = cold_starts(bench, rounds, with_secrets=False)
    google_s, library_s = imports(rounds, GOOGLE, LIBRARY)
    (library_alone_s,) = imports(rounds, LIBRARY)
    warm = Warm(bench, rounds)
    levels = {}
    for delay_ms in TURN_S:
        for at_once in AT_ONCE:
            say(f"{at_once} at once, Salesforce {delay_ms} ms")
            levels[at_once, delay_ms] = warm.level(at_once, delay_ms)
    say("a stranger's messages")
    reads = len(bench.world.secret_manager.reads)
    refused, refusal_cpu, calls = warm.refusals()
    reads = len(bench.world.secret_manager.reads) - reads
    for contender in warm.contenders:
        contender.function.stop()
    say(f"memory, {messages:,} messages each")
    most, early, late = memory(bench, messages)

    at_8, slow, slow_1 = levels[8, 0], levels[80, 200], levels[1, 200]
    targets = [
        Target("throughput at 8 at once : floor", ratio(at_8["rate"]), at_least=0.85),
        Target("CPU per message : floor", ratio(at_8["cpu"]), at_most=1.25),
        Target(
            "p99 : p50 at 80 at once, Salesforce 200 ms",
            slow["p99"].median("function") / slow["p50"].median("function"),
            at_most=1.5,
        ),
        Target(
            "p50 at 80 at once : at 1, Salesforce 200 ms (no queue for threads)",
            slow["p50"].median("function") / slow_1["p50"].median("function"),
            at_most=1.2,
        ),
        Target(
            f"cold start less {LIBRARY} ({library_s:.2f} s) : floor, secrets read by both",
            (cold.median("function") - library_s) / cold.median("floor"),
            at_most=1.5,
        ),
        Target(
            f"cold start less {LIBRARY} ({library_alone_s:.2f} s) : floor, secrets there",
            (bare.median("function") - library_alone_s) / bare.median("floor"),
            at_most=1.5,
        ),
        Target("peak memory, MB", most.median("function"), at_most=128),
        Target(
            f"worker's memory after {messages:,} messages : after {full(messages):,}",
            late.median("function") / early.median("function"),
            at_most=1.05,
        ),
        Target(
            "CPU per refusal : CPU per message",
            refusal_cpu.median("function") / at_8["cpu"].median("function"),
            at_most=0.5,
        ),
        Target("calls to Salesforce for strangers", calls, at_most=0),
        Target(
            "TLS handshakes in the first 1,000 messages, 80 at once",
            warm.first_handshakes.median("function"),
            at_most=THREADS + 1,
        ),
        Target(
            "TLS handshakes per 1,000 messages after these, the most in a turn",
            max(warm.handshakes.values["function"]),
            at_most=THREADS + 1,
        ),
    ]
    costs = [
        warm.calls,
        warm.first_handshakes,
        warm.handshakes,
        refused,
        refusal_cpu,
        most,
        early,
        late,
    ]
    return report.Report(
        targets,
        [cold, bare, *warm.measures, *costs],
        panels={
            "Messages, Salesforce 0 ms": {f"{n} at once": levels[n, 0]["rate"] for n in AT_ONCE},
            "p99, Salesforce 200 ms": {f"{n} at once": levels[n, 200]["p99"] for n in AT_ONCE},
            "CPU per message": {f"{n} at once": levels[n, 0]["cpu"] for n in AT_ONCE},
            "Cold start to the first 200": {"with secrets": cold, "without": bare},
            "Memory": {"both processes": most, "the worker": late},
        },
        notes=[
            f"{os.cpu_count()} cores, on which four run at once: what is measured (one worker"
            f" process, in which one thread at a time runs Python), the load"
            f" ({1e3 * statistics.median(warm.load_cpu):.2f} ms of CPU per message), Salesforce's"
            f" stand-in ({1e3 * statistics.median(warm.stand_in_cpu):.2f} ms), and whatever else"
            f" the machine does: its load is {os.getloadavg()[1]:.1f}.",
            "The contenders take turns: each number is the median of its turns, each ratio the"
            " median of the turns' ratios, with the middle half of them in brackets. Memory counts"
            " each page of the two processes once.",
            f"Imports, on top of what the floor loads: {GOOGLE} {google_s:.2f} s (where secrets are"
            f" read, the floor loads it too), then {LIBRARY} {library_s:.2f} s; {LIBRARY} without"
            f" Google's client {library_alone_s:.2f} s, since the two share what they load.",
            f"Secret Manager was read {reads} times during the refusals: a new"
            " signature may mean a new secret, and one look in 10 seconds tells.",
        ],
    )


def say(what: str) -> None:
    """Tell the person who waits."""
    print(f"measuring: {what}", file=sys.stderr, flush=True)


def main() -> int:
    """Run it and return 0 where every target is met."""
    parser = argparse.ArgumentParser(prog="tests.benchmark", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=20_000, help="for the memory")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        ProcessPoolExecutor(1, mp_context=context) as pool,
    ):
        world = World(Path(folder))
        pem = world.internet.certificate.private_key_and_cert_chain_pem.bytes()
        stand_in = StandIn(context, pem)
        try:
            found = run(Bench(world, stand_in, pool), options.rounds, options.messages)
        finally:
            stand_in.close()
            world.close()
    found.write(ROOT / "build/benchmark")
    print(found.text())
    return 0 if all(target.is_met for target in found.targets) else 1


if __name__ == "__main__":
    sys.exit(main())
