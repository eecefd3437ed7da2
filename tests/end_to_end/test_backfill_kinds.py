"""backfill.py --kinds as a process: clients, projects, tasks, invoices, and hours."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox.clockify import WORKSPACE, Line
from sandbox.world import ROOT, World

ALL = ("--kinds", "clients,projects,tasks,invoices")
NOW = datetime.now(UTC).replace(microsecond=0)
COUNTED = ("created", "updated", "unchanged", "deleted", "refused")


@dataclass(frozen=True)
class Run:
    """One run of backfill.py."""

    code: int
    out: str
    err: str

    def counts(self, kind: str) -> dict[str, int]:
        """What its table counts of a kind."""
        lines = self.out.splitlines()
        header = next(line.split() for line in lines if line.split()[:1] == ["created"])
        if header[-1] == "alone":
            header[-2:] = ["left alone"]
        row = next(line.split() for line in lines if line.split()[:1] == [kind])
        return dict(
            zip(
                (" ".join(header)).replace("left alone", "left_alone").split(),
                (int(each.replace(",", "")) for each in row[1:]),
                strict=True,
            )
        )

    def changes(self, kind: str) -> tuple[int, ...]:
        """Created, updated, unchanged, deleted, refused."""
        return tuple(self.counts(kind)[each] for each in COUNTED)


@dataclass
class Company:
    """A workspace with two clients, three projects, four tasks, two invoices; and an org."""

    world: World
    folder: Path
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def __post_init__(self) -> None:
        clockify, org = self.world.clockify, self.world.salesforce
        clockify.report_days = 100_000
        org.deploy("data", assign=("Clockify_Data",))
        self.ada = clockify.add_user("Ada Lindqvist", "ada@acme.example")
        self.ada_user = org.add("User", Name="Ada", Email="ada@acme.example")
        self.northwind = clockify.add_client("Northwind GmbH")
        self.fabrikam = clockify.add_client("Fabrikam")
        self.account = org.add("Account", Name="northwind  gmbh")
        self.relaunch = clockify.add_project(
            "Website relaunch", self.northwind, hourly_rate=9000, estimate=timedelta(hours=8)
        )
        self.support = clockify.add_project("Support", self.fabrikam)
        self.internal = clockify.add_project("Internal")
        self.opportunity = org.add(
            "Opportunity", Name="Relaunch", Clockify_Project_Id__c=self.relaunch
        )
        self.tasks = [
            clockify.add_task("Design", self.relaunch, assignees=(self.ada,)),
            clockify.add_task("Review", self.relaunch, status="DONE"),
            clockify.add_task("Calls", self.support),
            clockify.add_task("Chores", self.internal),
        ]
        self.invoices = [
            clockify.add_invoice(
                f"2026-{each}",
                self.northwind,
                status="SENT",
                issued=NOW,
                due=NOW + timedelta(days=30),
                tax=19.0,
                lines=tuple(
                    Line(number, f"Work {number}", 100, 1000, 1000) for number in range(1, 3)
                ),
            )
            for each in range(2)
        ]
        self.log(self.relaunch, 2.5, billable=True)
        self.log(self.relaunch, 1.0)
        self.log(self.support, 4.0)

    def log(self, project: str, hours: float, *, billable: bool = False, days: int = 400) -> str:
        """Have Ada log hours on a project, so many days ago; return the entry's id."""
        start = NOW - timedelta(days=days)
        _, body = self.world.clockify.add(
            self.ada, start, start + timedelta(hours=hours), project=project, billable=billable
        )
        return str(body["id"])

    def run(self, *options: str, world: World | None = None) -> Run:
        """Run the command to its end."""
        process = self.start(*options)
        out, err = process.communicate(timeout=120)
        return Run(process.returncode, out, err)

    def start(self, *options: str) -> "subprocess.Popen[str]":
        """Start it."""
        files = {"salesforce": self.folder / "salesforce", "clockify-api-key": self.folder / "key"}
        for name, file in files.items():
            file.write_text(self.world.secrets[name][-1])
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "commands.backfill", "--workspace", WORKSPACE),
                *("--salesforce-credentials-file", str(files["salesforce"])),
                *("--clockify-api-key-file", str(files["clockify-api-key"])),
                *options,
            ],
            cwd=self.folder,
            env=os.environ | self.world.environment() | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def held(self, name: str, field: str) -> dict[str, dict[str, Any]]:
        """The org's live records of an object, by a field."""
        return {
            record[field]: record
            for record in self.world.salesforce.records[name].values()
            if not record["IsDeleted"] and record.get(field)
        }

    def projects(self) -> dict[str, dict[str, Any]]:
        """The projects in Salesforce, by Clockify's ids."""
        return self.held("Clockify_Project__c", "Clockify_Project_Id__c")

    def task(self, number: int) -> dict[str, Any]:
        """A task in Salesforce."""
        return self.held("Task", "Clockify_Task_Id__c")[self.tasks[number]]

    def asked(self, path: str) -> int:
        """How many of Clockify's requests were to such a path."""
        return sum(re.search(path, each) is not None for _, each in self.world.clockify.requests)


@pytest.fixture
def company(world: World, tmp_path: Path) -> Iterator[Company]:
    company = Company(world, tmp_path)
    yield company
    for process in company.started:
        process.kill()
        process.communicate()


def test_dry_run_counts_and_writes_nothing(company: Company) -> None:
    run = company.run(*ALL)
    assert (run.code, "nothing is changed" in run.out) == (0, True)
    assert run.changes("clients") == (0, 1, 0, 0, 0)
    assert run.changes("projects") == (3, 0, 0, 0, 0)
    assert run.changes("tasks") == (4, 0, 0, 0, 0)
    assert run.changes("invoices") == (2, 0, 0, 0, 0)
    writes = {method for method, path in company.world.salesforce.requests if path != "composite"}
    assert writes == {"GET"}
    assert company.projects() == {}


def test_first_import_then_nothing(company: Company) -> None:
    run = company.run(*ALL, "--apply")
    assert run.code == 0, run.err
    assert run.changes("clients") == (0, 1, 0, 0, 0)
    assert run.counts("clients")["unmatched"] == 1
    assert run.changes("projects") == (3, 0, 0, 0, 0)
    assert run.changes("tasks") == (4, 0, 0, 0, 0)
    assert run.changes("invoices") == (2, 0, 0, 0, 0)
    accounts = company.held("Account", "Clockify_Client_Id__c")
    assert accounts[company.northwind]["Name"] == "northwind  gmbh"
    relaunch = company.projects()[company.relaunch]
    assert relaunch["Account__c"] == company.account
    assert (relaunch["Tracked_Hours__c"], relaunch["Billable_Hours__c"]) == (3.5, 2.5)
    assert (relaunch["Amount__c"], relaunch["Estimate_Hours__c"]) == (225.0, 8.0)
    assert company.projects()[company.internal]["Tracked_Hours__c"] == 0.0
    assert company.task(0)["WhatId"] == company.opportunity
    assert company.task(0)["OwnerId"] == company.ada_user
    assert [company.task(each)["IsClosed"] for each in range(4)] == [False, True, False, False]
    assert company.task(2)["WhatId"] == company.projects()[company.support]["Id"]
    lines = company.held("Clockify_Invoice_Line__c", "Key__c")
    assert len(lines) == 4
    assert {each["Amount__c"] for each in lines.values()} == {10.0}
    for name, record_id in (("Opportunity", company.opportunity), ("Account", company.account)):
        record = company.world.salesforce.records[name][record_id]
        assert (record["Clockify_Hours__c"], record["Clockify_Billable_Hours__c"]) == (3.5, 2.5)

    company.world.salesforce.requests.clear()
    company.world.clockify.requests.clear()
    run = company.run(*ALL, "--apply")
    assert run.code == 0
    assert run.changes("projects") == (0, 0, 3, 0, 0)
    assert run.changes("invoices") == (0, 0, 2, 0, 0)
    assert run.changes("tasks") == (0, 0, 0, 0, 0)
    assert "hours" not in run.out
    methods = {method for method, path in company.world.salesforce.requests if path != "composite"}
    assert methods == {"GET"}
    # Two clients and so on: a page of each list, two reports; no task, no single invoice.
    assert len(company.world.clockify.requests) == 5
