"""backfill.py --kinds as a process: clients, projects, tasks, invoices, and hours."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from benchmark.kinds import Size, play

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
    source: Path = ROOT
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

    def run(self, *options: str) -> Run:
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
            env=os.environ | self.world.environment() | {"PYTHONPATH": str(self.source)},
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


def test_each_drift_is_repaired_and_nothing_else_is_touched(company: Company) -> None:
    clockify, org = company.world.clockify, company.world.salesforce
    company.run(*ALL, "--apply")
    by_hand = org.add("Task", Subject="By hand", WhatId=company.projects()[company.support]["Id"])
    org.change("Opportunity", company.opportunity, Clockify_Hours__c=None)
    org.change("Task", company.task(0)["Id"], OwnerId=org.USER_ID)  # a person's choice
    clockify.edit_client(company.northwind, name="Northwind AG")  # the company's own Account
    clockify.edit_project(company.relaunch, name="Relaunch 2027", note="Phase two")
    clockify.edit_task(company.tasks[0], name="Concept", status="DONE")
    clockify.edit_task(company.tasks[1], name="Proofs")
    clockify.delete_task(company.tasks[0])
    extra = clockify.add_task("Launch", company.relaunch)
    clockify.edit_project(company.internal, archived=True)
    clockify.delete_project(company.internal)
    clockify.edit_invoice(company.invoices[0], lines=(Line(2, "Other", 100, 5, 5),))
    run = company.run(*ALL, "--apply")
    assert run.code == 0, run.err
    assert run.changes("clients") == (0, 0, 1, 0, 0)
    assert run.changes("projects") == (0, 1, 1, 1, 0)
    assert run.changes("tasks") == (1, 1, 0, 2, 0)
    assert run.changes("invoices") == (0, 2, 0, 0, 0)  # the client's name is on both
    assert re.search(r"^  hours +Opportunity 1$", run.out, re.M)
    relaunch = company.projects()[company.relaunch]
    assert (relaunch["Name"], relaunch["Note__c"]) == ("Relaunch 2027", "Phase two")
    assert company.projects()[company.internal]["Deleted__c"] is True
    assert company.projects()[company.internal]["Name"] == "Internal"
    tasks = company.held("Task", "Clockify_Task_Id__c")
    assert tasks.keys() == {company.tasks[1], company.tasks[2], extra}
    assert org.records["Task"][by_hand]["IsDeleted"] is False
    lines = company.held("Clockify_Invoice_Line__c", "Key__c")
    ids = (company.invoices[0], company.invoices[1])
    assert lines.keys() == {f"{ids[0]}-2", f"{ids[1]}-1", f"{ids[1]}-2"}
    assert lines[f"{ids[0]}-2"]["Description__c"] == "Other"
    assert org.records["Account"][company.account]["Name"] == "northwind  gmbh"
    again = company.run(*ALL, "--apply")
    assert [again.changes(kind)[:2] for kind in ("clients", "projects", "tasks", "invoices")] == [
        (0, 0)
    ] * 4
    assert again.changes("projects")[3] == 0


def killer(process: "subprocess.Popen[str]", path: str) -> Callable[[str, str], None]:
    """What ends a run once it has asked for such a path."""

    def kill(method: str, asked: str) -> None:
        if re.search(path, asked):
            process.kill()

    return kill


def test_run_that_is_killed_is_completed_by_the_next(company: Company) -> None:
    """Wherever it is killed; the tasks of a project that it had begun are looked at again."""
    clockify = company.world.clockify
    for number in range(30):
        project = clockify.add_project(f"Project {number}")
        clockify.add_task("Work", project)
    for path in (r"/tasks\?", r"reports/summary", r"/invoices/"):
        process = company.start(*ALL, "--apply")
        clockify.faults.meanwhile = killer(process, path)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    clockify.faults.meanwhile = None
    run = company.run(*ALL, "--apply")
    assert run.code == 0, run.err
    assert len(company.projects()) == 33
    assert len(company.held("Task", "Clockify_Task_Id__c")) == 34
    assert len(company.held("Clockify_Invoice_Line__c", "Key__c")) == 4


@pytest.mark.parametrize("kind", ["client", "project", "task", "invoice"])
def test_message_that_comes_while_it_writes_wins(company: Company, kind: str) -> None:
    """Its state has changed since the run began: the record is settled by itself."""
    clockify, org = company.world.clockify, company.world.salesforce
    ids = (company.northwind, company.support, company.tasks[2], company.invoices[0])
    record = dict(zip(("client", "project", "task", "invoice"), ids, strict=True))[kind]
    path = {"client": "/clients?", "project": "/summary", "task": "/tasks?", "invoice": record}

    def message(method: str, asked: str) -> None:
        """As if the function had just written what the run has read a moment ago."""
        if path[kind] not in asked or org.state(f"{kind}:{record}"):
            return
        org.add(
            "Clockify_State__c",
            Version__c=1,
            Based_On__c=0,
            Key__c=f"{kind}:{record}",
            State__c=None,
        )
        if kind == "project":
            clockify.edit_project(record, name="Support 2028")
        elif kind == "task":
            clockify.edit_task(record, name="More calls")
        elif kind == "invoice":
            clockify.edit_invoice(record, subject="Changed", lines=(Line(1, "Other", 100, 1, 1),))

    clockify.faults.meanwhile = message
    run = company.run(*ALL, "--apply")
    clockify.faults.meanwhile = None
    assert run.code == 0, run.err
    assert run.counts(f"{kind}s")["meanwhile"] == 1
    if kind == "project":
        assert company.projects()[record]["Name"] == "Support 2028"
    elif kind == "task":
        assert company.task(2)["Subject"] == "More calls"
    elif kind == "invoice":
        invoice = company.held("Clockify_Invoice__c", "Clockify_Invoice_Id__c")[record]
        lines = company.held("Clockify_Invoice_Line__c", "Key__c")
        assert invoice["Subject__c"] == "Changed"
        assert [key for key in lines if key.startswith(record)] == [f"{record}-1"]
        assert lines[f"{record}-1"]["Description__c"] == "Other"
    state = org.state(f"{kind}:{record}")
    assert state is not None
    assert state["Version__c"] > 1


def test_kind_without_metadata_is_left_out_and_told(company: Company) -> None:
    """Where nothing is left that was asked for, 1; everything else goes on."""
    company.world.salesforce.withdraw("data")
    run = company.run(*ALL, "--apply")
    assert run.code == 1
    told = "Left out: clients, projects, tasks, invoices: the org does not have what they need"
    assert told in run.err
    assert run.out == ""
    run = company.run("--kinds", "all", "--days", "2", "--apply")
    assert run.code == 0, run.err
    assert run.err.count(told) == 1
    assert "created" in run.out


def test_all_is_time_entries_too_which_find_their_projects(company: Company) -> None:
    entry = company.log(company.support, 1.0, days=1)
    run = company.run("--kinds", "all", "--days", "3", "--apply")
    assert run.code == 0, run.err
    event = company.world.salesforce.event(entry)
    assert event is not None
    assert event["WhatId"] == company.projects()[company.support]["Id"]


def test_field_that_is_hidden_keeps_its_kind_out_and_nobody_else(company: Company) -> None:
    company.world.salesforce.hidden |= {"Task.Clockify_Links__c", "Clockify_Invoice__c.Tax__c"}
    run = company.run("--kinds", "all", "--days", "2", "--apply")
    assert run.code == 0, run.err
    assert "Left out: projects, tasks: INVALID_FIELD Clockify_Links__c: deploy" in run.err
    assert "Left out: invoices: INVALID_FIELD Tax__c: deploy" in run.err
    assert run.changes("clients") == (0, 1, 0, 0, 0)


@pytest.mark.parametrize("status", [402, 403, 404])
def test_plan_without_invoices_keeps_nobody_from_the_rest(company: Company, status: int) -> None:
    company.world.clockify.invoices_status = status
    run = company.run("--kinds", "all", "--days", "2", "--apply")
    assert run.code == 0, run.err
    assert "Left out: invoices: Clockify" in run.err
    assert len(company.projects()) == 3


def test_invoice_with_a_bad_line_is_refused_as_a_whole(company: Company) -> None:
    """The others go on; the next run tries it again."""
    clockify = company.world.clockify
    lines = tuple(Line(number, "", 100, 1, 1) for number in range(1, 25))
    bad = clockify.add_invoice("2026-9", status="SENT", lines=(*lines, Line(25, "", amount=10**17)))
    run = company.run("--kinds", "invoices", "--apply")
    assert run.code == 3
    assert run.changes("invoices") == (2, 0, 0, 0, 1)
    assert f"invoice {bad}: " in run.err
    assert bad not in company.held("Clockify_Invoice__c", "Clockify_Invoice_Id__c")
    clockify.edit_invoice(bad, lines=lines)
    assert company.run("--kinds", "invoices", "--apply").changes("invoices") == (1, 0, 2, 0, 0)
    held = company.held("Clockify_Invoice_Line__c", "Key__c")
    assert sum(key.startswith(bad) for key in held) == 24


def choose(company: Company, text: str) -> None:
    """Have the runs of a company read a mapping.toml of its own."""
    shutil.copy(ROOT / "mapping.py", company.folder)
    for name in ("clockify_salesforce", "commands"):
        shutil.copytree(ROOT / name, company.folder / name)
    (company.folder / "mapping.toml").write_text(text)
    company.source = company.folder


def test_client_without_account_gets_one_where_that_is_wished(company: Company) -> None:
    choose(company, "[clients]\ncreate_accounts = true\n")
    run = company.run("--kinds", "clients", "--apply")
    assert (run.code, run.changes("clients")) == (0, (1, 1, 0, 0, 0)), run.err
    accounts = company.held("Account", "Clockify_Client_Id__c")
    assert accounts.keys() == {company.northwind, company.fabrikam}
    company.world.clockify.edit_client(company.fabrikam, name="Fabrikam Ltd")
    company.world.clockify.edit_client(company.northwind, name="Northwind AG")
    assert company.run("--kinds", "clients", "--apply").changes("clients") == (0, 1, 1, 0, 0)
    names = [each["Name"] for each in company.held("Account", "Clockify_Client_Id__c").values()]
    assert sorted(names) == ["Fabrikam Ltd", "northwind  gmbh"]


@pytest.mark.parametrize(("rule", "created"), [("alert", 1), ("block", 0)])
def test_duplicate_rule_is_passed_by_choice_where_it_only_alerts(
    company: Company, rule: Any, created: int
) -> None:
    """An Account of the same name that has another client's id already."""
    org = company.world.salesforce
    org.add("Account", Name="Fabrikam", Clockify_Client_Id__c="another")
    org.duplicate_rule = rule
    org.duplicates_on_edit = False
    choose(company, '[clients]\ncreate_accounts = true\nduplicate_alerts = "pass"\n')
    run = company.run("--kinds", "clients", "--apply")
    assert run.changes("clients") == (created, 1, 0, 0, 1 - created), run.err
    assert run.code == (0 if created else 3)
    assert ("DUPLICATES_DETECTED" in run.err) is not bool(created)


def test_two_clients_of_one_name_do_not_share_an_account(company: Company) -> None:
    company.world.clockify.add_client("NORTHWIND GMBH")
    run = company.run("--kinds", "clients", "--apply")
    assert run.changes("clients") == (0, 1, 0, 0, 0)
    assert run.counts("clients")["unmatched"] == 2


def test_hour_of_the_free_plan_is_waited_for(company: Company) -> None:
    """Pages are large, tasks asked for once; where it must wait, that is told."""
    clockify = company.world.clockify
    clockify.faults.hourly, clockify.faults.hour_s = 5, 1.5
    run = company.run("--kinds", "clients,projects,tasks", "--apply")
    assert run.code == 0, run.err
    assert "Clockify asks to wait: going on in" in run.err
    assert run.changes("tasks") == (4, 0, 0, 0, 0)


def test_night_of_the_free_plan_leaves_tasks_to_the_next_one(company: Company) -> None:
    """Each run gets further, and none keeps the time entries waiting."""
    clockify = company.world.clockify
    for number in range(100):
        project = clockify.add_project(f"Project {number}")
        clockify.add_task("Work", project)
    entry = company.log(company.support, 1.0, days=1)
    clockify.faults.hourly, clockify.faults.hour_s = 10, 0.3
    held = []
    for _ in range(4):
        run = company.run("--kinds", "all", "--days", "2", "--apply")
        assert run.code == 0, run.err
        assert company.world.salesforce.event(entry) is not None
        held.append(len(company.held("Task", "Clockify_Task_Id__c")))
        if held[-1] == 104:
            break
        assert "projects and their tasks are left to the next run" in run.err
    assert held[-1] == 104
    assert held[0] < 104


def test_reports_of_a_month_are_left_to_the_weekly_run(company: Company) -> None:
    """Every night the hours of Clockify's list; what is billable stays until there is time."""
    company.world.clockify.report_days = 31
    run = company.run("--kinds", "all", "--days", "7", "--apply")
    assert run.code == 0, run.err
    assert "billable hours and amounts are left to a run over more than 31 days" in run.err
    relaunch = company.projects()[company.relaunch]
    assert (relaunch["Tracked_Hours__c"], relaunch.get("Billable_Hours__c")) == (3.5, None)
    run = company.run("--kinds", "all", "--days", "92", "--apply")
    assert run.code == 0, run.err
    relaunch = company.projects()[company.relaunch]
    assert (relaunch["Tracked_Hours__c"], relaunch["Billable_Hours__c"]) == (3.5, 2.5)
    opportunity = company.world.salesforce.records["Opportunity"][company.opportunity]
    assert opportunity["Clockify_Billable_Hours__c"] == 2.5


def test_report_that_the_key_may_not_have_costs_only_what_it_tells(company: Company) -> None:
    path = f"/v1/workspaces/{WORKSPACE}/reports/summary"
    company.world.clockify.canned["POST", path] = (403, {"message": "no", "code": 403}, {})
    run = company.run("--kinds", "projects", "--apply")
    assert (run.code, run.changes("projects")) == (0, (3, 0, 0, 0, 0)), run.err
    assert "Billable hours and amounts are left out: Clockify forbids" in run.err
    assert company.projects()[company.relaunch]["Tracked_Hours__c"] == 3.5


def test_refused_hours_are_told_and_stop_nothing(company: Company) -> None:
    """A closed Opportunity, say, that a rule keeps as it is."""
    company.world.salesforce.read_only.add("Opportunity.Clockify_Hours__c")
    run = company.run("--kinds", "projects", "--apply")
    assert run.code == 0, run.err
    assert f"Opportunity {company.opportunity}: its hours were not written" in run.err
    assert re.search(r"^  hours +Opportunity refused 1$", run.out, re.M)


def test_tasks_of_every_project_are_read_where_that_is_wished(company: Company) -> None:
    """A Task whose task went without a message, of a project that looks as before."""
    clockify = company.world.clockify
    company.run(*ALL, "--apply")
    clockify.edit_task(company.tasks[2], status="DONE")
    clockify.delete_task(company.tasks[2])
    clockify.requests.clear()
    assert company.run("--kinds", "tasks", "--apply").changes("tasks") == (0, 0, 0, 0, 0)
    assert company.asked("/tasks") == 0
    run = company.run("--kinds", "tasks", "--apply", "--all-tasks")
    assert run.changes("tasks") == (0, 0, 3, 1, 0)
    assert company.tasks[2] not in company.held("Task", "Clockify_Task_Id__c")


def test_links_that_were_missing_are_set_by_the_next_run(company: Company) -> None:
    """A task before its project, a project and an invoice before their client."""
    org = company.world.salesforce
    run = company.run("--kinds", "projects,tasks,invoices", "--apply")
    assert run.code == 0, run.err
    assert company.projects()[company.relaunch]["Account__c"] is None
    assert company.run(*ALL, "--apply").code == 0
    assert company.projects()[company.relaunch]["Account__c"] == company.account
    invoices = company.held("Clockify_Invoice__c", "Clockify_Invoice_Id__c")
    assert {each["Account__c"] for each in invoices.values()} == {company.account}
    org.change("Opportunity", company.opportunity, Clockify_Project_Id__c=None)
    clockify = company.world.clockify
    clockify.edit_project(company.relaunch, note="Looked at again")
    assert company.run(*ALL, "--apply").changes("tasks") == (0, 2, 0, 0, 0)
    assert company.task(0)["WhatId"] == company.projects()[company.relaunch]["Id"]


TAG = """
from clockify_salesforce.decisions import Record
from clockify_salesforce.kinds.kind import Body, Kind
from clockify_salesforce.kinds.project import PROJECT


def read(body: Body, gone: bool) -> Record:
    fields = {
        "Name": body.name("name"),
        "Deleted__c": gone,
        "Clockify_Workspace_Id__c": body.reference("workspaceId"),
    }
    return Record("tag", body.id, PROJECT, fields, gone=gone)


KIND = Kind(
    name="tag",
    writes=frozenset({"NEW_TAG", "TAG_UPDATED"}),
    deletes=frozenset({"TAG_DELETED"}),
    target=PROJECT,
    read=read,
    keys=frozenset({"id", "workspaceId", "name"}),
    path="tags/{id}",
    sample=("name", "Webhook Test Tag"),
)
"""


def test_kind_of_ones_own_is_imported_by_its_list(company: Company) -> None:
    """One module and one line in the table: its list is where its path says."""
    choose(company, "")
    package = company.folder / "clockify_salesforce/kinds"
    (package / "tag.py").write_text(TAG)
    table = (package / "__init__.py").read_text()
    table = table.replace("project, task\n", "project, tag, task\n", 1)
    (package / "__init__.py").write_text(table.replace("invoice.KIND)", "invoice.KIND, tag.KIND)"))
    ids = [f"64c777ddd3fcab07cfbb9{number:03d}" for number in range(3)]
    tags = [{"id": each, "name": f"Tag {each}", "workspaceId": WORKSPACE} for each in ids]
    canned, path = company.world.clockify.canned, f"/workspaces/{WORKSPACE}/tags"
    canned["GET", path] = (200, tags, {"Last-Page": "true"})
    run = company.run("--kinds", "tags", "--apply")
    assert (run.code, run.changes("tags")) == (0, (3, 0, 0, 0, 0)), run.err
    tags[0]["name"] = "Renamed"
    canned["GET", path] = (200, tags[:2], {"Last-Page": "true"})
    assert company.run("--kinds", "tags", "--apply").changes("tags") == (0, 1, 1, 1, 0)
    held = company.projects()
    assert [held[each]["Deleted__c"] for each in ids] == [False, False, True]
    assert held[ids[0]]["Name"] == "Renamed"
    assert company.run("--kinds", "tags", "--apply").changes("tags") == (0, 0, 2, 0, 0)


def test_wrong_call_is_told(company: Company) -> None:
    for options in (("--kinds", "tags"), ("--kinds", ""), ("--kinds", "all"), ("--kinds", "x,all")):
        run = company.run(*options)
        assert (run.code, "usage:" in run.err) == (2, True)
    assert company.world.clockify.requests == []


def test_more_deletions_than_allowed_touch_nothing(company: Company) -> None:
    company.run("--kinds", "projects", "--apply")
    for project in (company.support, company.internal):
        company.world.clockify.edit_project(project, archived=True)
        company.world.clockify.delete_project(project)
    run = company.run("--kinds", "projects", "--apply", "--most-deletions", "1")
    assert (run.code, run.counts("projects")["surplus"]) == (1, 2)
    assert "none is touched" in run.err
    assert not any(each["Deleted__c"] for each in company.projects().values())


def test_hundreds_of_each_kind_are_counted_exactly(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A small part of what `python -m tests.benchmark.kinds` plays; memory as flat."""
    failures = play(world, tmp_path, Size.of(0.02))
    assert failures == [], capsys.readouterr().out


def test_hundreds_of_names_each_find_their_own_account(company: Company) -> None:
    """LIKE finds more than is meant, where a name has a blank, and in more than one call."""
    clockify, org = company.world.clockify, company.world.salesforce
    accounts = {}
    for number in range(300):
        client = clockify.add_client(f"Client {number}")
        accounts[client] = org.add("Account", Name=f"CLIENT{' ' * (number % 3)}{number}")
    clockify.add_client("100% O'Neill_\\ & Co")
    org.add("Account", Name="100 percent O'Neill & Co")
    run = company.run("--kinds", "clients", "--apply")
    assert run.changes("clients") == (0, 301, 0, 0, 0), run.err
    held = company.held("Account", "Clockify_Client_Id__c")
    assert {client: held[client]["Id"] for client in accounts} == accounts
