"""salesforce/directory.py: whose calendar an Event is in, what it is related to, what may go wrong.

Over a Salesforce of a few rows, with a clock that the test moves: no process, no network.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import pytest
from conftest import sample

import mapping
from clockify_salesforce.cache import FOUND_S, MISSING_S
from clockify_salesforce.clockify import people as people_module
from clockify_salesforce.clockify.client import Clockify, ClockifyError
from clockify_salesforce.clockify.people import PAUSE_S as PEOPLE_PAUSE_S
from clockify_salesforce.clockify.people import WORKSPACES, ClockifyAccess
from clockify_salesforce.errors import SalesforceUnavailable, SettingsError
from clockify_salesforce.mapping_rules import DEFAULT_LINKS
from clockify_salesforce.mapping_rules import Link as Rule
from clockify_salesforce.salesforce import lookup
from clockify_salesforce.salesforce.client import Org
from clockify_salesforce.salesforce.directory import Directory
from clockify_salesforce.salesforce.errors import SalesforceRefused
from clockify_salesforce.salesforce.lookup import PAUSE_S, ROWS
from clockify_salesforce.salesforce.wish import Link, Wish
from mapping import Upsert
from sandbox import soql

ADA, PROJECT, CLIENT = "5a0ab5acb07987125438b60f", "64c777ddd3fcab07cfbb211d", "c" * 24
WORKSPACE, ELSEWHERE = "64a687e29ae1f428e7ebe303", "70b687e29ae1f428e7ebe399"
USER, OTHER_USER = "005Kj00000000u1IAA", "005Kj00000000u2IAA"
DEAL, ACCOUNT = "006Kj00000000o1IAA", "001Kj00000000a1IAA"
CASE, CONTACT, LEAD = "500Kj00000000c1IAA", "003Kj00000000p1IAA", "00QKj00000000l1IAA"
MACHINE = "a01Kj00000000m1IAA"
DESCRIBED = [
    {"name": "Account", "keyPrefix": "001"},
    {"name": "User", "keyPrefix": "005"},
    {"name": "Machine__c", "keyPrefix": "a01"},
    {"name": "Change__e", "keyPrefix": "e01"},
    {"name": "Nameless__c", "keyPrefix": None},
]

Row = dict[str, Any]


class Clock:
    """Stands where time.monotonic is."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class FewRows:
    """A Salesforce that answers SOQL over a few rows and counts the calls.

    `faults`: object -> what its query meets; under "" it is the call as a whole. `answers`: object
    -> what is answered in place of rows.
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {"User": [], "Opportunity": [], "Account": []}
        self.faults: dict[str, Exception] = {}
        self.answers: dict[str, Any] = {}
        self.calls: list[list[str]] = []
        self.deadlines: list[float] = []
        self.on_call: Callable[[], object] = lambda: None

    def add(self, name: str, record_id: str, **values: Any) -> None:
        row = {"Id": record_id, "IsActive": True, "IsDeleted": False} | values
        self.rows.setdefault(name, []).append(row)

    def queries(self, texts: Sequence[str], deadline: float) -> list[Any]:
        assert len(texts) <= 5  # as many as one composite call takes
        self.calls.append(list(texts))
        self.deadlines.append(deadline)
        self.on_call()
        if "" in self.faults:
            raise self.faults[""]
        return [self._answer(text) for text in texts]

    def call(self, method: str, path: str, deadline: float) -> Any:
        assert (method, path) == ("GET", "sobjects")
        self.calls.append([path])
        self.deadlines.append(deadline)
        if path in self.faults:
            raise self.faults[path]
        return self.answers.get(path, {"sobjects": DESCRIBED})

    def _answer(self, text: str) -> Any:
        query = soql.parse(text)
        if query.object in self.faults:
            return self.faults[query.object]
        if query.object in self.answers:
            return self.answers[query.object]
        rows = [row for row in self.rows[query.object] if query.where(row)][: query.limit]
        return {"records": rows, "done": True}


class People:
    """Clockify's lists of people, by workspace. A key does not see the others."""

    def __init__(self, **workspaces: dict[str, Any]) -> None:
        self.workspaces = workspaces
        self.reads: list[str] = []
        self.problem: Exception | None = None
        self.on_person: Callable[[], object] = lambda: None
        self.timeouts: list[tuple[float, float]] = []

    def __call__(self, *, timeout: tuple[float, float]) -> Clockify:
        self.timeouts.append(timeout)
        return cast(Clockify, self)

    def get_pages(self, path: str) -> Iterator[dict[str, Any]]:
        _, _, workspace, users = path.split("/")
        assert users == "users"
        self.reads.append(workspace)
        if self.problem:
            raise self.problem
        if workspace not in self.workspaces:
            raise ClockifyError(f"Clockify has nothing at {path}", status=404)
        for user_id, email in self.workspaces[workspace].items():
            self.on_person()
            yield {"id": user_id, "email": email}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    return clock


@pytest.fixture
def org() -> FewRows:
    """Ada, the project's Opportunity and the client's Account."""
    org = FewRows()
    org.add("User", USER, Clockify_User_Id__c=ADA, Email="Ada@Acme.example")
    org.add("User", OTHER_USER, Clockify_User_Id__c=None, Email="ben@acme.example")
    org.add("Opportunity", DEAL, Clockify_Project_Id__c=PROJECT)
    org.add("Account", ACCOUNT, Clockify_Client_Id__c=CLIENT)
    return org


def directory(
    org: FewRows, people: People | None = None, links: Sequence[Rule] = DEFAULT_LINKS
) -> Directory:
    access = cast(ClockifyAccess, people) if people else None
    return Directory(cast(Org, org), clockify=access, links=links)


def entry(**fields: Any) -> Upsert:
    """An entry of Ada's on the project; a field set to None is not in the message."""
    whole = {"user_id": ADA, "project_id": PROJECT, "client_id": CLIENT, "workspace_id": WORKSPACE}
    return Upsert("64c777ddd3fcab07cfbb210d", {}, **(whole | fields))


def wished(known: Directory, **fields: Any) -> Wish:
    return known.wish(entry(**fields), time.monotonic() + 7.5)


def what(*record_ids: str) -> tuple[Link, ...]:
    return tuple(Link("WhatId", record_id) for record_id in record_ids)


def who(record_id: str) -> tuple[Link, ...]:
    return (Link("WhoId", record_id),)


RELATED = what(DEAL, ACCOUNT)
WHOLE = Wish(USER, RELATED)
OWNERLESS = Wish(None, RELATED)


# What is found -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "owner"),
    [
        ({}, USER),
        ({"user_id": "nobody"}, None),
        ({"user_id": None}, None),
        ({"user_id": "nobody", "user_email": "ben@acme.example"}, OTHER_USER),
        ({"user_id": None, "user_email": "ada@acme.example"}, USER),
        ({"user_id": None, "user_email": "ADA@acme.EXAMPLE"}, USER),
        ({"user_email": "ben@acme.example"}, USER),
        ({"user_id": "nobody", "user_email": "nobody@acme.example"}, None),
    ],
)
def test_person_gets_the_event_by_id_then_by_address(
    org: FewRows, clock: Clock, fields: dict[str, Any], owner: str | None
) -> None:
    assert wished(directory(org), **fields) == Wish(owner, RELATED)


@pytest.mark.parametrize(
    ("fields", "links"),
    [
        ({}, what(DEAL, ACCOUNT)),
        ({"project_id": "unmatched"}, what(ACCOUNT)),
        ({"project_id": None}, what(ACCOUNT)),
        ({"client_id": None}, what(DEAL)),
        ({"client_id": "unmatched"}, what(DEAL)),
        ({"project_id": "unmatched", "client_id": "unmatched"}, ()),
        ({"project_id": None, "client_id": None}, ()),
        # What the description names comes first; should it be dead, the others are there.
        ({"record_id": CASE}, what(CASE, DEAL, ACCOUNT)),
        ({"record_id": CASE, "project_id": None}, what(CASE, ACCOUNT)),
        ({"record_id": ACCOUNT}, what(ACCOUNT, DEAL)),
        ({"record_id": CONTACT}, who(CONTACT) + what(DEAL, ACCOUNT)),
        ({"record_id": LEAD, "project_id": None, "client_id": None}, who(LEAD)),
        ({"record_id": MACHINE}, what(MACHINE, DEAL, ACCOUNT)),
    ],
)
def test_links_are_all_candidates_in_order(
    org: FewRows, clock: Clock, fields: dict[str, Any], links: tuple[Link, ...]
) -> None:
    assert wished(directory(org), **fields) == Wish(USER, links)


@pytest.mark.parametrize(
    ("description", "links"),
    [
        (f"#{CASE} Printer on fire", what(CASE, DEAL)),
        (f"#{CASE[:15]} Printer on fire", what(CASE, DEAL)),
        (f"#{CASE}", what(CASE, DEAL)),
        (f"#{CASE[:15]}AAA the checksum is wrong", what(DEAL)),
        (f"#{CASE[:14]} too short", what(DEAL)),
        (f"Not in front: #{CASE}", what(DEAL)),
        ("#1 of many", what(DEAL)),
    ],
)
def test_description_names_the_record(
    org: FewRows, clock: Clock, description: str, links: tuple[Link, ...]
) -> None:
    decision = mapping.decide("TIMER_STOPPED", sample(description=description, projectId=PROJECT))
    assert isinstance(decision, Upsert)
    assert directory(org).wish(decision, clock.now + 7.5).links == links


@pytest.mark.parametrize("record_id", [USER, "e01Kj00000000e1IAA", "zzzKj00000000z1IAA"])
def test_record_that_can_have_no_events_is_told_and_the_project_counts(
    org: FewRows, clock: Clock, record_id: str
) -> None:
    known = directory(org)
    note = f"no object with Events has ids like the description's, {record_id[:3]}…"
    for _ in range(2):
        assert wished(known, record_id=record_id) == Wish(USER, RELATED, notes=(note,))
    assert org.calls.count(["sobjects"]) == 1  # described once


def test_inactive_user_owns_nothing(org: FewRows, clock: Clock) -> None:
    org.rows["User"][0]["IsActive"] = False
    assert wished(directory(org)) == OWNERLESS
    assert wished(directory(org), user_email="ada@acme.example") == OWNERLESS


def test_two_users_with_one_address_own_nothing_and_are_told(org: FewRows, clock: Clock) -> None:
    org.add("User", "005Kj00000000u3IAA", Clockify_User_Id__c=None, Email="BEN@acme.example")
    assert wished(directory(org), user_id=None, user_email="ben@acme.example") == Wish(
        None, RELATED, notes=("User.Email: several records have the same value",)
    )


def test_two_opportunities_with_one_project_give_way_to_the_account(
    org: FewRows, clock: Clock
) -> None:
    org.add("Opportunity", "006Kj00000000o2IAA", Clockify_Project_Id__c=PROJECT)
    note = "Opportunity.Clockify_Project_Id__c: several records have the same value"
    assert wished(directory(org)) == Wish(USER, what(ACCOUNT), notes=(note,))


# Where a project belongs -------------------------------------------------------------------------

CLIENTS = DEFAULT_LINKS[1]


@pytest.mark.parametrize(
    ("rule", "record_id"),
    [
        (Rule("project", "Account", "Clockify_Project_Id__c"), "001Kj00000000a2IAA"),
        (Rule("project", "Case", "Time_Codes__c"), CASE),
        (Rule("project", "Campaign", "Clockify__c"), "701Kj00000000c1IAA"),
        (Rule("project", "Machine__c", "Clockify__c"), MACHINE),
    ],
)
def test_project_belongs_where_the_company_says(
    org: FewRows, clock: Clock, rule: Rule, record_id: str
) -> None:
    org.add(rule.object, record_id, **{rule.field: PROJECT})
    known = directory(org, links=[rule, CLIENTS])
    assert wished(known).links == what(record_id, ACCOUNT)
    assert wished(known, project_id="unmatched").links == what(ACCOUNT)
    assert len(org.calls) == 1


def test_many_links_are_looked_at_in_order(org: FewRows, clock: Clock) -> None:
    names = [f"Level_{number}__c" for number in range(8)]
    rules = [Rule("project", name, "Code__c") for name in names]
    for number, name in enumerate(names):
        org.add(name, f"a0{number}Kj0000000001IAA", Code__c=PROJECT)
    known = directory(org, links=[*rules, CLIENTS])
    assert [each.record_id[:3] for each in wished(known).links] == [
        *(f"a0{number}" for number in range(8)),
        "001",
    ]
    assert [len(call) for call in org.calls] == [5, 5]


def test_no_rule_is_no_link(org: FewRows, clock: Clock) -> None:
    assert wished(directory(org, links=[])) == Wish(USER)


def test_field_is_found_however_its_name_is_spelt(org: FewRows, clock: Clock) -> None:
    # Salesforce answers with the names as they were made.
    org.answers["case"] = {"records": [{"Id": CASE, "Time_Codes__c": PROJECT}], "done": True}
    known = directory(org, links=[Rule("project", "case", "time_codes__C")])
    assert wished(known).links == what(CASE)


@pytest.mark.parametrize("name", ["", "x y", "Name = '' OR Id", "é__c", "1st__c", "Account.Id__c"])
@pytest.mark.parametrize("where", ["object", "field"])
def test_rule_that_is_no_name_is_refused(org: FewRows, name: str, where: str) -> None:
    rule = Rule("project", name, "Id__c") if where == "object" else Rule("project", "Case", name)
    with pytest.raises(SettingsError, match="API name"):
        directory(org, links=[rule])


SEVERAL = [Rule("project", "Opportunity", "Clockify_Project_Id__c", several=True), CLIENTS]


@pytest.mark.parametrize("between", [" ", ", ", ";", "\n", " ; ", " | ", "/", "-"])
def test_record_may_have_several_ids(org: FewRows, clock: Clock, between: str) -> None:
    org.rows["Opportunity"][0]["Clockify_Project_Id__c"] = between.join(["p1", PROJECT, "p3"])
    org.rows["User"][0]["Clockify_User_Id__c"] = between.join(["ada1n", ADA])
    known = directory(org, links=SEVERAL)
    for project in ("p1", PROJECT, "p3"):
        assert wished(known, project_id=project, user_id="ada1n") == WHOLE
    assert wished(known, project_id="p2").links == what(ACCOUNT)
    assert len(org.calls) == 1


def test_several_ids_are_found_among_many_records_too(org: FewRows, clock: Clock) -> None:
    for number in range(ROWS):
        org.add("Opportunity", f"006{number:015d}", Clockify_Project_Id__c=f"p{number}")
    org.add("Opportunity", "006Kj00000000o9IAA", Clockify_Project_Id__c="last1, last2;p7last")
    known = directory(org, links=SEVERAL)
    for project in ("last1", "last2"):
        assert wished(known, project_id=project).links[0].record_id == "006Kj00000000o9IAA"
        assert org.calls[-1] == [
            "SELECT Id, Clockify_Project_Id__c FROM Opportunity"
            f" WHERE Clockify_Project_Id__c LIKE '%{project}%' LIMIT 200"
        ]
    for other in ("last", "ast1", "LAST1", "last_"):
        assert wished(known, project_id=other) == Wish(USER, what(ACCOUNT))


# E-mail addresses by Clockify --------------------------------------------------------------------


def test_person_without_a_match_is_found_by_the_address_that_clockify_knows(
    org: FewRows, clock: Clock
) -> None:
    listed = {"ben": "Ben@acme.example", "eve": "eve@elsewhere.example", "bot": "", "nil": None}
    people = People(**{WORKSPACE: listed})
    known = directory(org, people)
    for _ in range(5):
        assert wished(known, user_id="ben").owner == OTHER_USER
    for stranger in ("eve", "bot", "nil", "new"):
        assert wished(known, user_id=stranger) == OWNERLESS
    assert people.reads == [WORKSPACE]
    assert len(org.calls) == 2  # users, opportunities and accounts; then users by address


def test_matched_person_costs_no_call_to_clockify(org: FewRows, clock: Clock) -> None:
    people = People()
    assert wished(directory(org, people)) == WHOLE
    assert people.reads == []


def test_people_of_two_workspaces_are_found_in_each(org: FewRows, clock: Clock) -> None:
    org.add("User", "005Kj00000000u3IAA", Email="olga@acme.example")
    people = People(
        **{WORKSPACE: {"ben": "ben@acme.example"}, ELSEWHERE: {"olga": "olga@acme.example"}}
    )
    known = directory(org, people)
    for _ in range(2):
        assert wished(known, user_id="ben").owner == OTHER_USER
        found = wished(known, user_id="olga", workspace_id=ELSEWHERE)
        assert found.owner == "005Kj00000000u3IAA"
    assert people.reads == [WORKSPACE, ELSEWHERE]


def test_workspace_that_the_key_does_not_see_stops_no_other(org: FewRows, clock: Clock) -> None:
    people = People(**{WORKSPACE: {"ben": "ben@acme.example"}})
    known = directory(org, people)
    for _ in range(3):
        stranger = wished(known, user_id="x", workspace_id=ELSEWHERE)
        assert stranger.unknown == {"OwnerId"}
        assert stranger.links == RELATED
        assert ELSEWHERE in stranger.notes[0]
        assert wished(known, user_id="ben").owner == OTHER_USER
    assert people.reads == [ELSEWHERE, WORKSPACE]


def test_made_up_workspaces_cost_few_calls_and_push_out_none_that_answers(
    org: FewRows, clock: Clock
) -> None:
    people = People(**{WORKSPACE: {"ben": "ben@acme.example"}})
    known = directory(org, people)
    assert wished(known, user_id="ben").owner == OTHER_USER
    for number in range(1000):
        stranger = wished(known, user_id="x", workspace_id=f"{number:024x}")
        assert stranger.unknown == {"OwnerId"}
    assert len(people.reads) == WORKSPACES
    assert f"{WORKSPACES} workspaces" in stranger.notes[0]
    clock.now += FOUND_S
    for number in range(1000):
        wished(known, user_id="x", workspace_id=f"{number + 5000:024x}")
    assert len(people.reads) == 2 * WORKSPACES - 1
    assert wished(known, user_id="ben").owner == OTHER_USER


@pytest.mark.parametrize("workspace", [None, "", "../../user", "a b", "x" * 65, "a\n", "é"])
def test_workspace_that_is_no_id_is_not_asked_for(
    org: FewRows, clock: Clock, workspace: str | None
) -> None:
    people = People()
    found = wished(directory(org, people), user_id="ben", workspace_id=workspace)
    assert found == OWNERLESS
    assert people.reads == []


def test_person_who_is_new_in_clockify_is_asked_for_an_hour_later(
    org: FewRows, clock: Clock
) -> None:
    people = People(**{WORKSPACE: {}})
    known = directory(org, people)
    assert wished(known, user_id="ben") == OWNERLESS
    people.workspaces[WORKSPACE]["ben"] = "ben@acme.example"
    for minutes, owner in ((59, None), (2, OTHER_USER)):
        clock.now += minutes * 60
        assert wished(known, user_id="ben").owner == owner
    assert len(people.reads) == 2


@pytest.mark.parametrize(
    "problem",
    [ClockifyError("Clockify's limit is used up", status=429), TypeError("of another form")],
)
def test_clockify_that_does_not_answer_leaves_the_owner_unknown_and_is_left_alone(
    org: FewRows, clock: Clock, problem: Exception
) -> None:
    people = People(**{WORKSPACE: {"ben": "ben@acme.example"}})
    people.problem = problem
    known = directory(org, people)
    for _ in range(10):
        found = wished(known, user_id="ben")
        assert (found.owner, found.links, found.unknown) == (None, RELATED, OWNER)
        assert "Clockify's people" in found.notes[0]
    assert len(people.reads) == 1
    people.problem = None
    clock.now += PEOPLE_PAUSE_S
    assert wished(known, user_id="ben") == Wish(OTHER_USER, RELATED)


def test_clockify_that_fails_later_leaves_in_force_who_is_known(org: FewRows, clock: Clock) -> None:
    people = People(**{WORKSPACE: {"ben": "ben@acme.example"}})
    known = directory(org, people)
    wished(known, user_id="ben")
    people.problem = ClockifyError("Clockify cannot be reached")
    clock.now += 2 * FOUND_S
    assert wished(known, user_id="ben") == Wish(OTHER_USER, RELATED)
    assert wished(known, user_id="new").unknown == {"OwnerId"}


def test_more_people_than_there_is_time_for_delay_the_event_by_seconds_only(
    org: FewRows, clock: Clock
) -> None:
    def slow() -> None:
        clock.now += 1

    people = People(**{WORKSPACE: {f"p{n}": f"p{n}@acme.example" for n in range(99)}})
    people.workspaces[WORKSPACE]["p1"] = "ben@acme.example"
    people.on_person = slow
    known = directory(org, people)
    began = clock.now
    found = wished(known, user_id="p98")
    assert clock.now - began < 4
    assert found.unknown == {"OwnerId"}
    assert "too many people" in found.notes[0]
    assert wished(known, user_id="p1").owner == OTHER_USER  # who came in time


def test_people_are_bounded(org: FewRows, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people_module, "PEOPLE", 10)
    people = People(**{WORKSPACE: {f"p{n}": f"p{n}@acme.example" for n in range(99)}})
    counted: list[None] = []
    people.on_person = lambda: counted.append(None)
    assert wished(directory(org, people), user_id="p98").unknown == {"OwnerId"}
    assert len(counted) == 11


def test_clockify_is_not_asked_where_too_little_time_is_left(org: FewRows, clock: Clock) -> None:
    people = People(**{WORKSPACE: {"ben": "ben@acme.example"}})
    known = directory(org, people)
    assert known.wish(entry(user_id="ben"), clock.now + 1.5).unknown == {"OwnerId"}
    assert people.reads == []
    assert wished(known, user_id="ben").owner == OTHER_USER
    assert sum(people.timeouts[0]) <= 2.5


# What can fail -----------------------------------------------------------------------------------

TIME_OUT = SalesforceUnavailable("Salesforce cannot take it now: no answer (ReadTimeout)")
BUSY = SalesforceUnavailable("Salesforce cannot take it now: HTTP 503")
SIGN_IN = SalesforceRefused("sign-in, invalid_client")
NO_FIELD, NO_OBJECT = SalesforceRefused("INVALID_FIELD"), SalesforceRefused("INVALID_TYPE")
NO_ACCESS = SalesforceRefused("INSUFFICIENT_ACCESS")
BOTH = frozenset({"OwnerId", "WhatId"})
OWNER, WHAT = frozenset({"OwnerId"}), frozenset({"WhatId"})


@pytest.mark.parametrize(
    ("faults", "owner", "links", "unknown"),
    [
        ({"": TIME_OUT}, None, (), BOTH),
        ({"": BUSY}, None, (), BOTH),
        ({"": SIGN_IN}, None, (), BOTH),
        ({"": NO_FIELD}, None, (), BOTH),
        ({"": TypeError("an answer of another form")}, None, (), BOTH),
        ({"User": BUSY}, None, RELATED, OWNER),
        # It may be the Opportunity's: which Account is right is not known.
        ({"Opportunity": BUSY}, USER, (), WHAT),
        ({"Opportunity": NO_ACCESS}, USER, (), WHAT),
        ({"Account": BUSY}, USER, what(DEAL), frozenset()),
        ({"User": NO_FIELD}, None, RELATED, OWNER),
        ({"Opportunity": NO_FIELD}, USER, what(ACCOUNT), frozenset()),
        ({"Opportunity": NO_OBJECT}, USER, what(ACCOUNT), frozenset()),
        ({"Account": NO_FIELD}, USER, what(DEAL), frozenset()),
        # What cannot be asked stays as it is, and is not cleared.
        ({"Opportunity": NO_FIELD, "Account": NO_FIELD}, USER, (), WHAT),
    ],
)
def test_failed_look_up_leaves_its_field_unknown_and_is_told(
    org: FewRows,
    clock: Clock,
    faults: dict[str, Exception],
    owner: str | None,
    links: tuple[Link, ...],
    unknown: frozenset[str],
) -> None:
    org.faults = faults
    found = wished(directory(org))
    assert (found.owner, found.links, found.unknown) == (owner, links, unknown)
    assert found.notes
    assert len(set(found.notes)) == len(found.notes)
    assert not any(ADA in note or PROJECT in note for note in found.notes)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"records": []},
        {"records": None, "done": True},
        {"records": [None], "done": True},
        {"records": [{}], "done": True},
        {"records": [{"Id": "006", "Clockify_Project_Id__c": PROJECT}], "done": True},
        {"records": [{"Id": "' OR Id != null --", "Clockify_Project_Id__c": ""}], "done": True},
        {"records": [{"Id": DEAL}], "done": True},
    ],
)
def test_answer_of_another_form_is_no_answer(org: FewRows, clock: Clock, answer: Any) -> None:
    org.answers["Opportunity"] = answer
    known = directory(org)
    for _ in range(3):
        found = wished(known)
        assert (found.owner, found.links, found.unknown) == (USER, (), WHAT)
        assert "Opportunity.Clockify_Project_Id__c was not read" in found.notes[0]
    assert len(org.calls) == 1


def test_answer_that_is_not_done_is_not_the_whole(org: FewRows, clock: Clock) -> None:
    row = {"Id": DEAL, "Clockify_Project_Id__c": PROJECT}
    org.answers["Opportunity"] = {"records": [row], "done": False}
    known = directory(org)
    assert wished(known) == WHOLE
    org.answers.clear()
    org.add("Opportunity", "006Kj00000000o9IAA", Clockify_Project_Id__c="p9")
    assert wished(known, project_id="p9").links[0].record_id == "006Kj00000000o9IAA"


@pytest.mark.parametrize("fault", [TIME_OUT, None])
def test_objects_that_are_not_read_leave_the_link_unknown(
    org: FewRows, clock: Clock, fault: Exception | None
) -> None:
    if fault:
        org.faults = {"sobjects": fault}
    else:
        org.answers["sobjects"] = ["of another form"]
    known = directory(org)
    for _ in range(3):
        found = wished(known, record_id=MACHINE)
        assert (found.owner, found.links, found.unknown) == (USER, (), WHAT)
        assert "the org's objects were not read" in found.notes[0]
        assert wished(known, record_id=CASE).links[0].record_id == CASE
    assert org.calls.count(["sobjects"]) == 1
    org.faults.clear()
    org.answers.clear()
    clock.now += PAUSE_S
    assert wished(known, record_id=MACHINE).links[0].record_id == MACHINE
    org.faults = {"sobjects": TIME_OUT}
    clock.now += 2 * FOUND_S
    assert wished(known, record_id=MACHINE).links[0].record_id == MACHINE


def test_failed_look_up_is_not_tried_again_by_the_messages_right_after_it(
    org: FewRows, clock: Clock
) -> None:
    org.faults = {"": TIME_OUT}
    known = directory(org)
    for _ in range(20):
        assert wished(known, record_id=CASE).unknown == OWNER
        assert wished(known, user_id=None, user_email="ada@acme.example").unknown == BOTH
        assert known.is_paused()
    assert len(org.calls) == 1
    org.faults.clear()
    clock.now += PAUSE_S
    assert not known.is_paused()
    assert wished(known) == WHOLE


def test_refused_look_up_pauses_alone(org: FewRows, clock: Clock) -> None:
    org.faults = {"Opportunity": NO_ACCESS}
    known = directory(org)
    note = "Opportunity.Clockify_Project_Id__c was not read: INSUFFICIENT_ACCESS"
    assert wished(known) == Wish(USER, (), WHAT, (note,))
    assert wished(known, user_id=None, user_email="ben@acme.example").owner == OTHER_USER
    org.faults.clear()
    clock.now += PAUSE_S
    assert wished(known) == WHOLE


def test_paused_look_up_does_not_go_along(org: FewRows, clock: Clock) -> None:
    known = directory(org)
    wished(known)
    org.faults = {"Opportunity": NO_ACCESS}
    clock.now += FOUND_S + 1
    wished(known)
    assert wished(known, user_id=None, user_email="ben@acme.example").owner == OTHER_USER
    assert sum("FROM Opportunity" in text for call in org.calls for text in call) == 2


def test_clockify_is_not_asked_while_salesforce_gives_no_answer(org: FewRows, clock: Clock) -> None:
    people = People(**{WORKSPACE: {"ben": "ben@acme.example"}})
    org.faults = {"User": BUSY}
    assert wished(directory(org, people), user_id="ben").unknown == OWNER
    assert people.reads == []


def test_look_up_that_fails_later_is_told_and_leaves_in_force_what_is_known(
    org: FewRows, clock: Clock
) -> None:
    known = directory(org)
    wished(known)
    org.faults = {"": TIME_OUT}
    clock.now += 10 * FOUND_S
    found = wished(known)
    assert (found.owner, found.links, found.unknown) == (USER, RELATED, frozenset())
    assert all("ReadTimeout" in note for note in found.notes)
    assert wished(known) == WHOLE  # told by the one that met it


def test_field_that_is_not_deployed_is_told_once_and_asked_for_an_hour_later(
    org: FewRows, clock: Clock
) -> None:
    org.faults = {"User": NO_FIELD}
    known = directory(org)
    assert wished(known).notes == (
        "User.Clockify_User_Id__c is not looked up for an hour: INVALID_FIELD",
    )
    for _ in range(20):
        clock.now += 60
        assert wished(known) == Wish(None, RELATED, OWNER)
        assert not known.is_paused()
    assert sum("FROM User" in text for call in org.calls for text in call) == 1
    org.faults.clear()
    clock.now += FOUND_S
    assert wished(known) == WHOLE


def test_address_counts_while_the_id_field_is_not_deployed(org: FewRows, clock: Clock) -> None:
    org.faults = {"User": NO_FIELD}
    known = directory(org)
    wished(known)
    org.faults.clear()
    assert wished(known, user_email="ben@acme.example").owner == OTHER_USER
    # Whom the id would have found is not known, so this is not "nobody".
    assert wished(known, user_email="eve@acme.example") == Wish(None, RELATED, OWNER)


def test_field_that_is_withdrawn_clears_nothing(org: FewRows, clock: Clock) -> None:
    known = directory(org)
    wished(known)
    org.faults = {"Opportunity": NO_FIELD, "Account": NO_FIELD}
    clock.now += FOUND_S + 1
    assert "WhatId" not in wished(known).fields


def test_mistake_of_ours_costs_no_event(org: FewRows, clock: Clock) -> None:
    broken = directory(org).wish(cast(Upsert, None), clock.now + 7.5)
    assert broken.fields == {}
    assert broken.notes == ("owner and links were not looked up: unexpected AttributeError",)


def test_look_ups_take_a_part_of_the_time_that_is_left(org: FewRows, clock: Clock) -> None:
    for deadline_s in (7.5, 1.5, 0.5, 0, -1):
        directory(org).wish(entry(record_id=MACHINE), clock.now + deadline_s)
    left = [deadline - clock.now for deadline in org.deadlines]
    assert left == pytest.approx([2.5, 2.5, 0.5, 0.5])  # with less, nobody is asked


def test_no_time_left_is_no_failure(org: FewRows, clock: Clock) -> None:
    known = directory(org)
    found = known.wish(entry(record_id=MACHINE), clock.now)
    assert found.unknown == BOTH
    assert all("no time was left" in note for note in found.notes)
    assert wished(known) == WHOLE


# What goes into SOQL -----------------------------------------------------------------------------

HOSTILE = [
    "x' OR Email != null OR Email = '",
    "x\\' OR IsActive = true OR Email = \\'",
    "'",
    "x'OR'1'='1@acme.example",
    "ben\n@acme.example",
    "ben\x00@acme.example",
    "\ud800@acme.example",
    "ben@acme.example\u2028",
    "%@acme.example",
    "x" * 300 + "@acme.example",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_finds_nobody_and_is_only_a_text(
    org: FewRows, clock: Clock, text: str
) -> None:
    for number in range(ROWS):  # so that each one is asked for
        org.add("User", f"005{number:015d}", Email=f"u{number}@acme.example")
        org.add("Opportunity", f"006{number:015d}", Clockify_Project_Id__c=f"p{number}")
    known = directory(org)
    wished(known, user_id=None, user_email="a@acme.example", project_id="p9999")
    org.calls.clear()
    found = wished(known, user_id=text, user_email=text, project_id=text, client_id=text)
    assert found == Wish()
    asked = [text for call in org.calls for text in call]
    assert all(text.isprintable() and len(text) < 500 for text in asked)
    assert len(asked) == (text in ("x'OR'1'='1@acme.example", "%@acme.example"))


def test_apostrophe_in_an_address_is_found(org: FewRows, clock: Clock) -> None:
    for number in range(ROWS):
        org.add("User", f"005{number:015d}", Email=f"u{number}@acme.example")
    org.add("User", "005Kj00000000u9IAA", Email="O'Brien@acme.example")
    found = wished(directory(org), user_id=None, user_email="o'brien@acme.example")
    assert found.owner == "005Kj00000000u9IAA"


# What it costs -----------------------------------------------------------------------------------


def test_several_look_ups_are_one_call_and_an_hour_of_messages_is_no_more(
    org: FewRows, clock: Clock
) -> None:
    known = directory(org)
    for _ in range(60):
        wished(known)
        clock.now += 59
    assert [len(call) for call in org.calls] == [3]
    clock.now += 120
    wished(known)
    assert [len(call) for call in org.calls] == [3, 3]


def test_match_made_today_counts_within_five_minutes(org: FewRows, clock: Clock) -> None:
    known = directory(org)
    for _ in range(100):
        assert wished(known, user_id="ben") == OWNERLESS
    assert len(org.calls) == 1
    org.rows["User"][1]["Clockify_User_Id__c"] = "ben"
    clock.now += MISSING_S + 1
    assert wished(known, user_id="ben").owner == OTHER_USER
    assert len(org.calls) == 2


def test_match_that_is_taken_back_counts_within_an_hour(org: FewRows, clock: Clock) -> None:
    known = directory(org)
    wished(known)
    org.rows["Opportunity"].clear()
    clock.now += FOUND_S + 1
    assert wished(known).links == what(ACCOUNT)


def test_more_records_than_one_answer_holds_are_asked_one_by_one(
    org: FewRows, clock: Clock
) -> None:
    for number in range(ROWS + 100):
        org.add("Opportunity", f"006{number:015d}", Clockify_Project_Id__c=f"p{number}")
    known = directory(org)
    for project, calls in (("p1", 1), (f"p{ROWS + 50}", 2), (f"p{ROWS + 50}", 2), ("none", 3)):
        for _ in range(3):
            found = wished(known, project_id=project)
            assert len(org.calls) == calls
        expected = f"006{int(project[1:]):015d}" if project != "none" else ACCOUNT
        assert found.links[0].record_id == expected
    assert org.calls[-1] == [
        "SELECT Id, Clockify_Project_Id__c FROM Opportunity"
        " WHERE Clockify_Project_Id__c = 'none' LIMIT 200"
    ]
    clock.now += FOUND_S + 1
    wished(known, project_id="p1")
    [anew] = [text for text in org.calls[-1] if "FROM Opportunity" in text]
    assert "ORDER BY LastModifiedDate DESC LIMIT 2000" in anew


def test_address_that_two_of_many_users_have_is_told_as_well(org: FewRows, clock: Clock) -> None:
    for number in range(ROWS):
        org.add("User", f"005{number:015d}", Email=f"u{number}@acme.example")
    org.add("User", "005Kj00000000u9IAA", Email="ben@acme.example")  # behind the first 2,000
    known = directory(org)
    assert wished(known, user_id=None, user_email="ben@acme.example") == Wish(
        None, RELATED, notes=("User.Email: several records have the same value",)
    )
    assert wished(known, user_id=None, user_email="u7@acme.example").owner == f"005{7:015d}"


def test_memory_is_bounded_and_forgets_no_match(
    org: FewRows, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "ROWS", 20)
    monkeypatch.setattr(lookup, "KEPT", 60)
    for number in range(10):  # more values than are kept, in fewer rows than an answer holds
        ids = ", ".join(f"p{number}x{each}" for each in range(10))
        org.add("Opportunity", f"006{number:015d}", Clockify_Project_Id__c=ids)
    known = directory(org, links=SEVERAL)
    for number in range(10):
        for each in range(10):
            found = wished(known, project_id=f"p{number}x{each}")
            assert found.links[0].record_id == f"006{number:015d}"
    for number in range(100):
        wished(known, project_id=f"none{number}")
    assert max(len(each._answers) for each in known._lookups) == 60


def test_threads_that_begin_together_make_one_call(org: FewRows) -> None:
    begun = threading.Event()
    org.on_call = lambda: begun.wait(5)
    people = People(**{WORKSPACE: {"ben": "ben@acme.example"}})
    people.on_person = lambda: threading.Event().wait(0.05)  # so that others come meanwhile
    known = directory(org, people)
    found: list[Wish] = []
    threads = [
        threading.Thread(target=lambda: found.append(wished(known, user_id="ben")))
        for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    begun.set()
    for thread in threads:
        thread.join()
    assert found == [Wish(OTHER_USER, RELATED)] * 30
    assert [len(call) for call in org.calls] == [3, 1]
    assert people.reads == [WORKSPACE]


def test_thread_that_reads_anew_holds_up_no_other(org: FewRows, clock: Clock) -> None:
    people = People(**{WORKSPACE: {"ben": "ben@acme.example"}})
    known = directory(org, people)
    wished(known, user_id="ben")
    clock.now += FOUND_S + 1
    others: list[Wish] = []
    # While the calls are on their way.
    org.on_call = lambda: others.append(wished(known))
    people.on_person = lambda: others.append(wished(known, user_id="ben"))
    began = time.perf_counter()
    wished(known, user_id="ben")
    assert time.perf_counter() - began < 2
    assert set(others) == {WHOLE, Wish(OTHER_USER, RELATED)}
    assert len(org.calls) == 3
    assert people.reads == [WORKSPACE] * 2


@pytest.mark.parametrize("unmatched", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("hours", [1, 8])
def test_look_ups_of_an_hour_are_twelve_calls_however_many_messages_come(
    clock: Clock, hours: int, unmatched: float
) -> None:
    """Of people and of projects, a share of the messages has one that is unmatched."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    org = FewRows()
    for number in range(100):
        org.add("User", f"005{number:015d}", Clockify_User_Id__c=f"u{number}")
    for number in range(50):
        org.add("Opportunity", f"006{number:015d}", Clockify_Project_Id__c=f"p{number}")
    known = directory(org)
    messages = 1000
    for _ in range(messages):
        clock.now += chance.expovariate(messages / (hours * 3600))
        user, project = chance.randrange(100), chance.randrange(50)
        strange_user, strange_project = chance.random() < unmatched, chance.random() < unmatched
        found = wished(
            known,
            user_id="x" * strange_user + f"u{user}",
            project_id="x" * strange_project + f"p{project}",
        )
        assert found.owner == (None if strange_user else f"005{user:015d}")
        assert found.links == (() if strange_project else what(f"006{project:015d}"))
    elapsed_h = (clock.now - 1000) / 3600
    assert len(org.calls) <= 1 + elapsed_h * 12


def test_wish_is_what_is_sent(org: FewRows, clock: Clock) -> None:
    sent: Mapping[str, str | None] = wished(directory(org), record_id=LEAD).fields
    assert sent == {"OwnerId": USER, "WhatId": None, "WhoId": LEAD}
