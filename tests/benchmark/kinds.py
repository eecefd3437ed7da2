"""Measure backfill.py --kinds: 10,000 projects, 2,000 clients, 20,000 tasks and 5,000 invoices.

Imported, compared, and repaired where something differs. Prints counts, calls, seconds and peak
memory; ends with 1 where a count is not exact or memory grows. A first import takes as long as
Clockify's pace of 45 requests a second: 10,000 for the tasks, 5,000 for the invoices, six minutes
in all. Run: python -m tests.benchmark.kinds, or with --scale 0.1
"""

import argparse
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sandbox.clockify import Entry, Line
from sandbox.world import World

from .running import backfill

MEMORY_MB = 150
FIRST = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=310)
KINDS = ("clients", "projects", "tasks", "invoices")
COUNTED = ("created", "updated", "unchanged", "deleted", "refused")


@dataclass(frozen=True)
class Size:
    """How much there is; an Account for every second client."""

    clients: int
    projects: int
    tasks: int
    invoices: int

    @classmethod
    def of(cls, scale: float) -> "Size":
        """A part of what is promised, or more."""
        return cls(*(max(10, round(number * scale)) for number in (2_000, 10_000, 20_000, 5_000)))


@dataclass(frozen=True)
class Measured:
    """One run: its table's counts, seconds, peak memory and calls."""

    code: int
    counts: dict[str, tuple[int, ...]]
    seconds: float
    peak_mb: float
    calls: int  # to Salesforce
    clockify: int
    told: str


class Company:
    """A workspace and an org of a certain size."""

    def __init__(self, world: World, size: Size) -> None:
        self.world, self.size = world, size
        clockify, org = world.clockify, world.salesforce
        clockify.report_days = 100_000
        org.deploy("data", assign=("Clockify_Data",))
        user = clockify.add_user("Ada")
        self.clients = [clockify.add_client(f"Client {each}") for each in range(size.clients)]
        for each in range(0, size.clients, 2):
            org.add("Account", Name=f"CLIENT {each}")
        self.projects = [
            clockify.add_project(f"Project {each}", self.clients[each % size.clients])
            for each in range(size.projects)
        ]
        for project in self.projects[:100]:
            org.add("Opportunity", Name=project, Clockify_Project_Id__c=project)
        self.tasks = [
            clockify.add_task(f"Task {each}", self.projects[each % size.projects])
            for each in range(size.tasks)
        ]
        lines = tuple(Line(number, "Work", 100, 1000, 1000) for number in range(1, 4))
        self.invoices = [
            clockify.add_invoice(
                f"2026-{each}",
                self.clients[each % size.clients],
                status="SENT",
                issued=FIRST,
                due=FIRST,
                lines=lines[: each % 4],
            )
            for each in range(size.invoices)
        ]
        clockify.import_entries(
            Entry(
                f"5a0ab5acb079{each:012x}",
                user,
                FIRST + timedelta(minutes=each),
                FIRST + timedelta(minutes=each + 90),
                project=project,
            )
            for each, project in enumerate(self.projects)
        )

    def drift(self, share: int) -> dict[str, tuple[int, ...]]:
        """Change so many of each kind; return the counts that a repair must tell."""
        clockify, size = self.world.clockify, self.size
        for project in self.projects[:share]:
            clockify.edit_project(project, note="Changed")
        for task in self.tasks[:share]:
            clockify.edit_task(task, name=f"{task} changed")
        for invoice in self.invoices[:share]:
            clockify.edit_invoice(invoice, lines=(Line(1, "Other", 100, 7, 7),))
        for project in self.projects[-share:]:
            clockify.edit_project(project, archived=True)
            clockify.delete_project(project)
        of_projects = Counter(each % size.projects for each in range(size.tasks))
        looked_at = sum(of_projects[each] for each in range(share))
        gone = sum(of_projects[size.projects - 1 - each] for each in range(share))
        there = -(-size.clients // 2)
        return {
            "clients": (0, 0, there, 0, 0),
            "projects": (0, share, size.projects - 2 * share, share, 0),
            "tasks": (0, share, looked_at - share, gone, 0),
            "invoices": (0, share, size.invoices - share, 0, 0),
        }


def measure(world: World, folder: Path, *options: str) -> Measured:
    """Run backfill.py --apply over all kinds."""
    run = backfill(world, folder, "--kinds", ",".join(KINDS), *options)
    rows = re.findall(r"^  (\w+) +([\d, ]+)$", run.out, re.M)
    counts = {
        name: tuple(int(each.replace(",", "")) for each in numbers.split()[: len(COUNTED)])
        for name, numbers in rows
        if name in KINDS
    }
    return Measured(
        run.code,
        counts,
        run.seconds,
        run.peak_mb,
        run.calls,
        run.clockify,
        run.out + run.told,
    )


def play(world: World, folder: Path, size: Size) -> list[str]:
    """Import, compare, drift, repair, compare; print the table, return what is not as promised."""
    failures: list[str] = []
    company = Company(world, size)
    there = -(-size.clients // 2)
    share = max(1, size.clients // 100)
    show = ("{:<14}" + "{:<10}" + "{:>10}" * 5 + "{:>9}" * 4).format
    print(show("run", "kind", *COUNTED, "s", "SF calls", "Clockify", "peak MB"))

    def run(title: str, expected: Mapping[str, tuple[int, ...]]) -> None:
        result = measure(world, folder)
        calls = (str(result.calls), str(result.clockify))
        spent = (f"{result.seconds:.1f}", *calls, f"{result.peak_mb:.0f}")
        for kind in KINDS:
            counts = result.counts.get(kind, ())
            print(show(title, kind, *counts, *spent) if counts else f"{title}: no {kind}")
            title, spent = "", ("", "", "", "")
            if counts != expected[kind]:
                failures.append(f"{kind}: {counts} and not {expected[kind]}")
        if result.code or result.peak_mb > MEMORY_MB:
            told = result.told[-2000:]
            failures.append(f"exit code {result.code}, {result.peak_mb:.0f} MB: {told}")

    nothing = {
        "clients": (0, 0, there, 0, 0),
        "projects": (0, 0, size.projects, 0, 0),
        "tasks": (0, 0, 0, 0, 0),
        "invoices": (0, 0, size.invoices, 0, 0),
    }
    first = {
        "clients": (0, there, 0, 0, 0),
        "projects": (size.projects, 0, 0, 0, 0),
        "tasks": (size.tasks, 0, 0, 0, 0),
        "invoices": (size.invoices, 0, 0, 0, 0),
    }
    run("first import", first)
    run("again", nothing)
    run("1 % of drift", company.drift(share))
    run("again", nothing | {"projects": (0, 0, size.projects - share, 0, 0)})
    return failures


def main() -> int:
    """Measure, print the table, and tell whether all is as promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="a part of it, or more")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        try:
            failures = play(world, Path(name), Size.of(arguments.scale))
        finally:
            world.close()
    for failure in failures:
        print(f"FAILED {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
