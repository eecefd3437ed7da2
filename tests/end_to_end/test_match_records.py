"""match_records.py: which matches are proposed, and what the command writes and does not."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands.match_records import Item, Proposal, Record, propose, unknown
from sandbox.clockify import WORKSPACE
from sandbox.internet import Answer, Request
from sandbox.salesforce import HOST
from sandbox.world import ROOT, World

ADA = Item("ada", "Ada Lindqvist", "Ada@acme.example")
RELAUNCH = Item("relaunch", "Website relaunch", client_id="northwind")


def user(
    record_id: str, name: str, email: str, clockify_id: str = "", active: bool = True
) -> Record:
    return Record(record_id, name, clockify_id, email, is_active=active)


def states(*proposals: Proposal) -> list[tuple[str, str]]:
    return [(each.state, each.record.id if each.record else "") for each in proposals]


# What is proposed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], ("none", "")),
        ([user("u1", "A. L.", "ada@ACME.example")], ("exact", "u1")),
        ([user("u1", "A. L.", "ada@acme.example", active=False)], ("none", "")),
        ([user("u1", "Ada Lindqvist", "ada@home.example")], ("similar", "u1")),
        ([user("u1", "Lindqvist, Ada", "ada@home.example")], ("similar", "u1")),
        ([user("u1", "Ben Okafor", "ben@acme.example")], ("none", "")),
        # Matched is matched, whoever else would suit.
        (
            [
                user("u1", "Ada Lindqvist", "ada@acme.example"),
                user("u2", "Somebody", "x@acme.example", "ada"),
            ],
            ("matched", "u2"),
        ),
        ([user("u1", "Ada", "ada@acme.example", "ada", active=False)], ("matched", "u1")),
        # Two with the same e-mail address, one of whom is matched with somebody else, or both.
        (
            [
                user("u1", "Ada Lindqvist", "ada@acme.example"),
                user("u2", "Ada Lindqvist", "ada@acme.example"),
            ],
            ("ambiguous", ""),
        ),
        ([user("u1", "Ada Lindqvist", "ada@acme.example", "other")], ("conflict", "")),
        # Two names that are about as alike.
        (
            [
                user("u1", "Ada Lindquist", "a@home.example"),
                user("u2", "Ada Lindqist", "b@home.example"),
            ],
            ("ambiguous", ""),
        ),
    ],
)
def test_person_is_matched_by_email_and_proposed_by_name(
    records: list[Record], expected: tuple[str, str]
) -> None:
    assert states(*propose([ADA], records, {})) == [expected]


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("Northwind GmbH", "exact"),
        (" northwind  GMBH", "exact"),
        ("Northwind", "similar"),
        ("Northwind Traders GmbH", "similar"),
        ("Südwind AG", "none"),
        ("", "none"),
        ("—", "none"),
    ],
)
def test_client_is_exact_only_by_the_same_name(name: str, state: str) -> None:
    (found,) = propose([Item("northwind", "Northwind GmbH")], [Record("a1", name)], {})
    assert found.state == state
    assert ("of 100 alike" in found.why) is (state == "similar")


def test_project_is_matched_within_its_clients_account() -> None:
    of_northwind = Record("o1", "Website relaunch", account_id="a1")
    of_another = Record("o2", "Website relaunch", account_id="a2")
    accounts = {"northwind": "a1"}
    both = [of_northwind, of_another]
    assert states(*propose([RELAUNCH], both, {})) == [("ambiguous", "")]
    assert states(*propose([RELAUNCH], both, accounts)) == [("exact", "o1")]
    assert states(*propose([RELAUNCH], [of_another], accounts)) == [("none", "")]


def test_two_items_never_get_one_record() -> None:
    twins = [Item("p1", "Support"), Item("p2", "support")]
    assert states(*propose(twins, [Record("o1", "Support")], {})) == [("ambiguous", "")] * 2
    alike = [Item("p1", "Northwind support"), Item("p2", "Northwind supports")]
    found = propose(alike, [Record("o1", "Northwind Support")], {})
    assert states(*found) == [("exact", "o1"), ("none", "")]
    found = propose(alike, [Record("o1", "Northwind Supporting")], {})
    assert states(*found) == [("ambiguous", "")] * 2


def test_id_that_clockify_does_not_have_is_found() -> None:
    records = [
        Record("a1", "Old", "gone"),
        Record("a2", "Northwind", "northwind"),
        Record("a3", ""),
    ]
    assert unknown([Item("northwind", "Northwind")], records) == records[:1]


# The command --------------------------------------------------------------------------------------


class Company:
    """Three people, two clients and two projects, and what Salesforce has of them."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.org, self.folder = world, world.salesforce, folder
        clockify = world.clockify
        self.ada = clockify.add_user("Ada Lindqvist", "Ada@acme.example")
        self.ben = clockify.add_user("Ben Okafor", "ben@home.example")
        clockify.add_user("Cleo Marsh", "cleo@acme.example")
        self.northwind = clockify.add_client("Northwind GmbH")
        self.relaunch = clockify.add_project("Website relaunch", self.northwind)
        self.support = clockify.add_project("Support 2026", self.northwind)
        org = self.org
        self.ada_user = org.add("User", Name="Ada Lindqvist", Email="ada@acme.example")
        self.ben_user = org.add("User", Name="Okafor, Ben", Email="ben@acme.example")
        self.account = org.add("Account", Name="Northwind GmbH")
        other = org.add("Account", Name="Fabrikam Ltd")
        self.opportunity = org.add("Opportunity", Name="Website Relaunch", AccountId=self.account)
        org.add("Opportunity", Name="Website Relaunch", AccountId=other)
        self.support_opportunity = org.add(
            "Opportunity", Name="Support for 2026", AccountId=self.account
        )

    def ids(self) -> dict[str, object]:
        """Clockify's ids in Salesforce, by the records' ids."""
        fields = ("Clockify_User_Id__c", "Clockify_Client_Id__c", "Clockify_Project_Id__c")
        return {
            record_id: record[field]
            for records in self.org.records.values()
            for record_id, record in records.items()
            for field in fields
            if record.get(field)
        }

    def run(
        self, *arguments: str, answers: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command as a person does."""
        settings = self.world.environment()
        key = settings["SIGNING_SECRETS"].replace("signing-secrets", "clockify-api-key")
        return subprocess.run(
            [sys.executable, "-m", "commands.match_records", *arguments],
            cwd=self.folder,
            env=os.environ
            | settings
            | {"CLOCKIFY_API_KEY": key, "PYTHONPATH": str(ROOT)}
            | environment,
            input=answers,
            text=True,
            capture_output=True,
            timeout=60,
        )


@pytest.fixture
def company(world: World, tmp_path: Path) -> Company:
    return Company(world, tmp_path)


def test_run_without_options_proposes_and_writes_nothing(company: Company) -> None:
    done = company.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        """\
Clockify's people and Salesforce's Users
  exact     Ada Lindqvist                     Ada Lindqvist                     same e-mail address
  similar   Ben Okafor                        Okafor, Ben                       95 of 100 alike
  no match  Cleo Marsh

Clockify's clients and Salesforce's Accounts
  exact     Northwind GmbH                    Northwind GmbH                    same name

Clockify's projects and Salesforce's Opportunities
  exact     Website relaunch                  Website Relaunch                  same name
  similar   Support 2026                      Support for 2026                  95 of 100 alike

Dry run, nothing is written: 5 proposed.
--apply writes the exact ones, --ask asks about each.
"""
    )
    assert company.ids() == {}
    assert {method for method, _ in company.org.requests} == {"GET"}


def test_apply_writes_the_exact_ones_and_again_nothing(company: Company) -> None:
    exact = {
        company.ada_user: company.ada,
        company.account: company.northwind,
        company.opportunity: company.relaunch,
    }
    done = company.run("--apply")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 written, 0 refused, 2 proposed and not written." in done.stdout
    assert company.ids() == exact
    company.org.requests.clear()
    done = company.run("--apply")
    assert done.returncode == 0
    assert "0 written, 0 refused, 2 proposed and not written." in done.stdout
    assert done.stdout.count("  matched   ") == 3
    assert company.ids() == exact
    assert {method for method, _ in company.org.requests} == {"GET"}


def test_ask_writes_what_is_answered_with_yes(company: Company) -> None:
    # Ada, Ben, Northwind, relaunch, support
    done = company.run("--ask", answers="n\nyes\nY\n\ny\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Ben Okafor  =  User Okafor, Ben (95 of 100 alike)? [y/N]" in done.stdout
    assert company.ids() == {
        company.ben_user: company.ben,
        company.account: company.northwind,
        company.support_opportunity: company.support,
    }
    assert "3 written, 0 refused, 2 proposed and not written." in done.stdout


def test_ask_that_is_broken_off_keeps_what_was_answered(company: Company) -> None:
    done = company.run("--ask", answers="y\n")
    assert done.returncode == 1
    assert done.stderr == "\nStopped: what you said yes to is written.\n"
    assert company.ids() == {company.ada_user: company.ada}


def test_ids_that_are_there_are_never_overwritten(company: Company) -> None:
    org = company.org
    org.change("User", company.ada_user, Clockify_User_Id__c="somebody-who-is-gone")
    org.change(
        "Account", company.account, Clockify_Client_Id__c=company.world.clockify.add_client("B")
    )
    before = company.ids()
    done = company.run("--apply", "--ask", answers="n\n" * 9)
    assert done.returncode == 0
    lines = [
        line.split("  ", 2)[1].strip() for line in done.stdout.splitlines() if line[:2] == "  "
    ]
    assert lines.count("conflict") == 2
    assert "matched with B" in done.stdout
    assert "unknown" in lines
    assert before.items() <= company.ids().items()


def deploy(company: Company) -> None:
    """The org has what clients need; who runs the command may write all ids."""
    company.org.deploy("data", assign=("Clockify_Data",))
    company.org.is_strict = False


@pytest.mark.parametrize("has", ["both", "webhook", "metadata"])
def test_client_of_the_same_name_is_left_to_the_function_that_hears_of_it(
    company: Company, has: str
) -> None:
    """It is not proposed, nor written; what depends on it is proposed as before."""
    if has != "webhook":
        deploy(company)
    event = "TIMER_STOPPED" if has == "metadata" else "CLIENT_UPDATED"
    company.world.clockify.add_webhook(event, "https://function.example/")
    done = company.run("--apply")
    assert (done.returncode, done.stderr) == (0, "")
    is_left = has == "both"
    assert ("  by itself Northwind GmbH" in done.stdout) is is_left
    assert ("1 clients match by themselves." in done.stdout) is is_left
    assert ("--kinds clients --apply" in done.stdout) is is_left
    assert (company.account in company.ids()) is not is_left
    assert company.ids()[company.opportunity] == company.relaunch


def test_key_that_may_not_read_webhooks_proposes_as_before(company: Company) -> None:
    deploy(company)
    path = f"/workspaces/{WORKSPACE}/webhooks"
    company.world.clockify.canned["GET", path] = (403, {"message": "no", "code": 403}, {})
    done = company.run("--apply")
    assert (done.returncode, done.stderr) == (0, "")
    assert company.ids()[company.account] == company.northwind


def test_refused_match_is_put_into_a_file_for_an_admin(company: Company, tmp_path: Path) -> None:
    sites, answer = company.world.internet.sites, company.org.answer

    async def read_only(request: Request) -> Answer:
        """The integration user may see the ids and not edit them."""
        if request.method != "PATCH" or b"User" not in request.body:
            return await answer(request)
        refusal = {"statusCode": "INVALID_FIELD_FOR_INSERT_UPDATE", "message": "no", "fields": []}
        return Answer(200, [{"success": False, "errors": [refusal]}])

    sites[HOST] = read_only
    try:
        done = company.run("--apply")
    finally:
        sites[HOST] = answer
    assert done.returncode == 1
    assert "2 written, 1 refused, 2 proposed and not written." in done.stdout
    assert done.stderr == (
        "Ada Lindqvist was refused: INVALID_FIELD_FOR_INSERT_UPDATE\n"
        "match-User.csv holds what was refused. As an admin: sf data update bulk --sobject User"
        " --file match-User.csv --wait 10\n"
    )
    with (tmp_path / "match-User.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["Id", "Clockify_User_Id__c"],
            [company.ada_user, company.ada],
        ]


def test_field_that_is_not_deployed_is_told(company: Company) -> None:
    company.org.hidden.add("User.Clockify_User_Id__c")
    done = company.run("--apply")
    assert done.returncode == 1
    assert "INVALID_FIELD" in done.stderr
    assert "Clockify_Admin" in done.stderr
    assert company.ids() == {}


@pytest.mark.parametrize(
    ("environment", "code", "told"),
    [
        ({"SALESFORCE_CREDENTIALS": ""}, 2, "--salesforce-credentials-file"),
        ({"CLOCKIFY_API_KEY": ""}, 2, "--clockify-api-key-file"),
        ({"CLOCKIFY_API_KEY": "the-key-itself"}, 2, "CLOCKIFY_API_KEY is wrong"),
    ],
)
def test_missing_credentials_are_told_and_never_shown(
    company: Company, environment: dict[str, str], code: int, told: str
) -> None:
    done = company.run("--apply", **environment)
    assert (done.returncode, told in done.stderr) == (code, True)
    assert "the-key-itself" not in done.stderr + done.stdout


def test_credentials_come_from_files_too(company: Company, tmp_path: Path) -> None:
    salesforce, clockify = tmp_path / "salesforce.json", tmp_path / "clockify"
    salesforce.write_text(company.world.secrets["salesforce"][0])
    clockify.write_text(company.world.secrets["clockify-api-key"][0] + "\n")
    done = company.run(
        *("--salesforce-credentials-file", str(salesforce)),
        *("--clockify-api-key-file", str(clockify)),
        SALESFORCE_CREDENTIALS="",
        CLOCKIFY_API_KEY="",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "5 proposed" in done.stdout


def test_hundreds_are_read_by_pages_and_written_in_batches(world: World, tmp_path: Path) -> None:
    ids = {}
    for number in range(450):
        name = f"Project {number:04d}"
        project = world.clockify.add_project(name)
        ids[project] = world.salesforce.add("Opportunity", Name=name)
    for number in range(2500):
        world.salesforce.add("Opportunity", Name=f"Deal {number:04d}")
    company = Company(world, tmp_path)
    done = company.run("--apply")
    assert done.returncode == 0
    held = world.salesforce.records["Opportunity"]
    assert all(held[record]["Clockify_Project_Id__c"] == project for project, record in ids.items())
    writes = [path for method, path in world.salesforce.requests if method == "PATCH"]
    assert len(writes) == 2 + 3  # Ada, Northwind, 451 projects
