"""links.py: whose calendar an Event is in, what it is related to, and what may go wrong there.

First over a Salesforce of a few rows, with a clock that the test moves; below, the function as a
process in front of the sandbox.
"""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest
from conftest import payload

import mapping
from clockify_salesforce.clockify.client import Clockify, ClockifyError
from clockify_salesforce.errors import SalesforceUnavailable
from clockify_salesforce.salesforce import directory as links
from clockify_salesforce.salesforce.client import Org
from clockify_salesforce.salesforce.directory import (
    FOUND_S,
    MISSING_S,
    PAUSE_S,
    ROWS,
    ClockifyAccess,
    Directory,
)
from clockify_salesforce.salesforce.errors import LINKS, RULE, SalesforceRefused
from clockify_salesforce.salesforce.records import Links, event_body, give_way
from mapping import Upsert
from sandbox import soql
from sandbox.internet import Answer, Request
from sandbox.salesforce import HOST
from sandbox.world import Function, World

ADA, PROJECT, CLIENT = "5a0ab5acb07987125438b60f", "64c777ddd3fcab07cfbb211d", "c" * 24
WORKSPACE = "64a687e29ae1f428e7ebe303"
USER, OTHER_USER = "005Kj00000000u1IAA", "005Kj00000000u2IAA"
OPPORTUNITY, ACCOUNT = "006Kj00000000o1IAA", "001Kj00000000a1IAA"
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
Result = dict[str, Any] | SalesforceRefused | SalesforceUnavailable


class Clock:
    """Stands where links.py has the time module."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class FewRows:
    """A Salesforce that answers SOQL over a few rows and counts the calls.

    `faults`: object -> what its query meets; under "" it is the call as a whole.
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {"User": [], "Opportunity": [], "Account": []}
        self.faults: dict[str, Exception] = {}
        self.calls: list[list[str]] = []
        self.deadlines: list[float] = []
        self.on_call: Callable[[], object] = lambda: None

    def add(self, name: str, record_id: str, **values: Any) -> None:
        self.rows[name].append({"Id": record_id, "IsActive": True, "IsDeleted": False} | values)

    def queries(self, texts: Sequence[str], deadline: float) -> list[Result]:
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
        return {"sobjects": DESCRIBED}

    def _answer(self, text: str) -> Result:
        query = soql.parse(text)
        if query.object in self.faults:
            return cast(Result, self.faults[query.object])
        rows = [row for row in self.rows[query.object] if query.where(row)][: query.limit]
        return {"records": rows, "done": True}


class People:
    """Clockify's list of people."""

    def __init__(self, emails: dict[str, str], *, on_page: Callable[[], object] = int) -> None:
        self.emails, self._on_page, self.reads = emails, on_page, 0
        self.problem: ClockifyError | None = None

    def __call__(self, *, timeout: tuple[float, float]) -> Clockify:
        self.timeout = timeout
        return cast(Clockify, self)

    def get_pages(self, path: str) -> Iterator[dict[str, str | None]]:
        assert path == f"/workspaces/{WORKSPACE}/users"
        self.reads += 1
        if self.problem:
            raise self.problem
        for user_id, email in self.emails.items():
            self._on_page()
            yield {"id": user_id, "email": email or None}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(links, "time", clock)
    return clock


@pytest.fixture
def org(clock: Clock) -> FewRows:
    """Ada, the project's Opportunity and the client's Account."""
    org = FewRows()
    org.add("User", USER, Clockify_User_Id__c=ADA, Email="Ada@Acme.example")
    org.add("User", OTHER_USER, Clockify_User_Id__c=None, Email="ben@acme.example")
    org.add("Opportunity", OPPORTUNITY, Clockify_Project_Id__c=PROJECT)
    org.add("Account", ACCOUNT, Clockify_Client_Id__c=CLIENT)
    return org


def directory(org: FewRows, people: People | None = None) -> Directory:
    return Directory(cast(Org, org), clockify=cast(ClockifyAccess, people))


def entry(**fields: Any) -> Upsert:
    """An entry of Ada's on the project; a field set to None is not in the message."""
    whole = {"user_id": ADA, "project_id": PROJECT, "client_id": CLIENT, "workspace_id": WORKSPACE}
    return Upsert("64c777ddd3fcab07cfbb210d", {}, **(whole | fields))


def looked_up(known: Directory, decision: Upsert | None = None) -> Links:
    return known.links(decision or entry(), links.time.monotonic() + 7.5)  # type: ignore[attr-defined]


OWNER, RELATED = {"OwnerId": USER}, {"WhatId": OPPORTUNITY, "WhoId": None}
NOTHING = {"WhatId": None, "WhoId": None}


# What is found -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, OWNER | RELATED),
        # Owner
        ({"user_id": "nobody"}, RELATED),
        ({"user_id": None}, RELATED),
        (
            {"user_id": "nobody", "user_email": "ben@acme.example"},
            {"OwnerId": OTHER_USER} | RELATED,
        ),
        ({"user_id": None, "user_email": "ada@acme.example"}, OWNER | RELATED),
        ({"user_email": "ben@acme.example"}, OWNER | RELATED),
        ({"user_id": "nobody", "user_email": "nobody@acme.example"}, RELATED),
        # Links
        ({"project_id": "unmatched"}, OWNER | {"WhatId": ACCOUNT, "WhoId": None}),
        ({"project_id": None}, OWNER | {"WhatId": ACCOUNT, "WhoId": None}),
        ({"client_id": None}, OWNER | RELATED),
        ({"project_id": "unmatched", "client_id": "unmatched"}, OWNER | NOTHING),
        ({"project_id": None, "client_id": None}, OWNER | NOTHING),
        ({"record_id": CASE}, OWNER | {"WhatId": CASE, "WhoId": None}),
        ({"record_id": ACCOUNT}, OWNER | {"WhatId": ACCOUNT, "WhoId": None}),
        ({"record_id": CONTACT}, OWNER | {"WhatId": None, "WhoId": CONTACT}),
        ({"record_id": LEAD}, OWNER | {"WhatId": None, "WhoId": LEAD}),
        ({"record_id": MACHINE}, OWNER | {"WhatId": MACHINE, "WhoId": None}),
    ],
)
def test_entry_gets_owner_and_links(
    org: FewRows, fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert looked_up(directory(org), entry(**fields)) == Links(expected)


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        (f"#{CASE} Printer on fire", {"WhatId": CASE, "WhoId": None}),
        (f"#{CASE[:15]} Printer on fire", {"WhatId": CASE, "WhoId": None}),
        (f"#{CASE}", {"WhatId": CASE, "WhoId": None}),
        (f"#{CASE[:15]}AAA the checksum is wrong", RELATED),
        (f"#{CASE[:14]} too short", RELATED),
        (f"Not in front: #{CASE}", RELATED),
        ("#1 of many", RELATED),
    ],
)
def test_description_names_the_record(
    org: FewRows, description: str, expected: dict[str, Any]
) -> None:
    body = payload(description=description, projectId=PROJECT)
    decision = mapping.decide("TIMER_STOPPED", body)
    assert isinstance(decision, Upsert)
    assert looked_up(directory(org), decision).fields == OWNER | expected


@pytest.mark.parametrize("record_id", [USER, "e01Kj00000000e1IAA", "zzzKj00000000z1IAA"])
def test_record_that_can_have_no_events_is_told_and_the_project_counts(
    org: FewRows, record_id: str
) -> None:
    known = directory(org)
    found = looked_up(known, entry(record_id=record_id))
    assert found.fields == OWNER | RELATED
    assert not found.failed
    assert record_id[:3] in found.notes[0]
    looked_up(known, entry(record_id=record_id))
    assert org.calls.count(["sobjects"]) == 1  # described once


def test_inactive_user_owns_nothing(org: FewRows) -> None:
    org.rows["User"][0]["IsActive"] = False
    assert looked_up(directory(org)) == Links(RELATED)
    found = looked_up(directory(org), entry(user_email="ada@acme.example"))
    assert found == Links(RELATED)


def test_two_users_with_one_email_own_nothing_and_are_told(org: FewRows) -> None:
    org.add("User", "005Kj00000000u3IAA", Clockify_User_Id__c=None, Email="BEN@acme.example")
    found = looked_up(directory(org), entry(user_id=None, user_email="ben@acme.example"))
    assert found == Links(RELATED, notes=("User.Email: several records have the same value",))


# E-mail addresses by Clockify --------------------------------------------------------------------


def test_person_without_a_match_is_found_by_the_email_that_clockify_knows(org: FewRows) -> None:
    people = People({"ben": "Ben@acme.example", "eve": "eve@elsewhere.example", "bot": ""})
    known = directory(org, people)
    for _ in range(5):
        assert looked_up(known, entry(user_id="ben")).fields["OwnerId"] == OTHER_USER
    for stranger in ("eve", "bot", "new"):
        assert looked_up(known, entry(user_id=stranger)) == Links(RELATED)
    assert people.reads == 1
    assert len(org.calls) == 2  # users, opportunities and accounts; then users by e-mail


def test_matched_person_costs_no_call_to_clockify(org: FewRows) -> None:
    people = People({})
    looked_up(directory(org, people))
    assert people.reads == 0


def test_person_who_is_new_in_clockify_is_asked_for_an_hour_later(
    org: FewRows, clock: Clock
) -> None:
    people = People({})
    known = directory(org, people)
    assert "OwnerId" not in looked_up(known, entry(user_id="ben")).fields
    people.emails["ben"] = "ben@acme.example"
    for minutes, reads in ((30, 1), (31, 2)):
        clock.now += minutes * 60
        found = looked_up(known, entry(user_id="ben"))
        assert people.reads == reads
    assert found.fields["OwnerId"] == OTHER_USER


def test_clockify_that_does_not_answer_leaves_the_owner_out_and_is_left_alone(
    org: FewRows, clock: Clock
) -> None:
    people = People({})
    people.problem = ClockifyError("Clockify's limit of requests is used up", status=429)
    known = directory(org, people)
    for _ in range(10):
        found = looked_up(known, entry(user_id="ben"))
        assert found.fields == RELATED
        assert found.failed
        assert "Clockify's" in found.notes[0]
    assert people.reads == 1
    people.problem = None
    people.emails["ben"] = "ben@acme.example"
    clock.now += 2 * MISSING_S
    assert looked_up(known, entry(user_id="ben")).fields == {"OwnerId": OTHER_USER} | RELATED


def test_more_people_than_there_is_time_for_do_not_delay_the_event(
    org: FewRows, clock: Clock
) -> None:
    def slow() -> None:
        clock.now += 1

    known = directory(org, People({f"p{n}": f"p{n}@acme.example" for n in range(99)}, on_page=slow))
    began = clock.now
    assert looked_up(known, entry(user_id="ben")).failed
    assert clock.now - began < 4


# What can fail -----------------------------------------------------------------------------------

TIME_OUT = SalesforceUnavailable("Salesforce cannot take it now: no answer (ReadTimeout)")
BUSY = SalesforceUnavailable("Salesforce cannot take it now: HTTP 503")
SIGN_IN = SalesforceRefused("sign-in, invalid_client")
NO_FIELD = SalesforceRefused("INVALID_FIELD")
NO_OBJECT = SalesforceRefused("INVALID_TYPE")


@pytest.mark.parametrize(
    ("faults", "expected", "failed"),
    [
        ({"": TIME_OUT}, {}, True),
        ({"": BUSY}, {}, True),
        ({"": SIGN_IN}, {}, True),
        ({"": TypeError("an answer of another form")}, {}, True),
        ({"User": BUSY}, RELATED, True),
        ({"Opportunity": BUSY}, OWNER, True),
        # It may be the Opportunity's: which Account is right is not known.
        ({"Account": BUSY}, OWNER | RELATED, False),
        ({"User": NO_FIELD}, RELATED, False),
        ({"Opportunity": NO_FIELD}, OWNER | {"WhatId": ACCOUNT, "WhoId": None}, False),
        ({"Opportunity": NO_OBJECT}, OWNER | {"WhatId": ACCOUNT, "WhoId": None}, False),
        ({"Account": NO_FIELD}, OWNER | RELATED, False),
        # What cannot be asked is left as it is, and not cleared.
        ({"Opportunity": NO_FIELD, "Account": NO_FIELD}, OWNER | {"WhoId": None}, False),
    ],
)
def test_failed_look_up_leaves_its_field_out_and_is_told(
    org: FewRows, faults: dict[str, Exception], expected: dict[str, Any], failed: bool
) -> None:
    org.faults = faults
    found = looked_up(directory(org))
    assert (found.fields, found.failed) == (expected, failed)
    assert found.notes or faults.keys() == {"Account"}
    assert not any(ADA in note or PROJECT in note for note in found.notes)


def test_failed_description_of_the_objects_leaves_the_links_out(org: FewRows) -> None:
    org.faults = {"sobjects": TIME_OUT}
    found = looked_up(directory(org), entry(record_id=MACHINE))
    assert (found.fields, found.failed) == (OWNER, True)
    assert "ReadTimeout" in found.notes[0]


def test_failed_look_up_is_not_tried_again_by_the_messages_right_after_it(
    org: FewRows, clock: Clock
) -> None:
    org.faults = {"": TIME_OUT}
    known = directory(org)
    for _ in range(20):
        assert looked_up(known).failed
    assert len(org.calls) == 1
    org.faults.clear()
    clock.now += PAUSE_S
    assert looked_up(known) == Links(OWNER | RELATED)


def test_look_up_that_fails_later_leaves_in_force_what_is_known(org: FewRows, clock: Clock) -> None:
    known = directory(org)
    looked_up(known)
    org.faults = {"": TIME_OUT}
    clock.now += 10 * FOUND_S
    assert looked_up(known) == Links(OWNER | RELATED)


def test_field_that_is_not_deployed_is_told_once_and_asked_for_an_hour_later(
    org: FewRows, clock: Clock
) -> None:
    org.faults = {"User": NO_FIELD}
    known = directory(org)
    assert looked_up(known).notes == (
        "User.Clockify_User_Id__c is not looked up for an hour: INVALID_FIELD",
    )
    for _ in range(20):
        clock.now += 60
        assert looked_up(known) == Links(RELATED)
    assert sum("FROM User" in text for call in org.calls for text in call) == 1
    org.faults.clear()
    clock.now += FOUND_S
    assert looked_up(known) == Links(OWNER | RELATED)


def test_field_that_is_withdrawn_clears_nothing(org: FewRows, clock: Clock) -> None:
    known = directory(org)
    looked_up(known)
    org.faults = {"Opportunity": NO_FIELD, "Account": NO_FIELD}
    clock.now += FOUND_S + 1
    assert "WhatId" not in looked_up(known).fields


def test_look_ups_take_a_part_of_the_time_that_is_left(org: FewRows, clock: Clock) -> None:
    directory(org).links(entry(record_id=MACHINE), clock.now + 7.5)
    directory(org).links(entry(), clock.now + 1.5)
    directory(org).links(entry(), clock.now - 1)
    left = [deadline - clock.now for deadline in org.deadlines]
    assert left == pytest.approx([2.5, 2.5, 0.5, 0.0])


# What it costs -----------------------------------------------------------------------------------


def test_several_look_ups_are_one_call_and_an_hour_of_messages_is_no_more(
    org: FewRows, clock: Clock
) -> None:
    known = directory(org)
    for _ in range(60):
        looked_up(known)
        clock.now += 59
    assert [len(call) for call in org.calls] == [3]
    clock.now += 120
    looked_up(known)
    assert [len(call) for call in org.calls] == [3, 3]


def test_match_made_today_counts_within_five_minutes(org: FewRows, clock: Clock) -> None:
    known = directory(org)
    for _ in range(100):
        assert "OwnerId" not in looked_up(known, entry(user_id="ben")).fields
    assert len(org.calls) == 1
    org.rows["User"][1]["Clockify_User_Id__c"] = "ben"
    clock.now += MISSING_S + 1
    assert looked_up(known, entry(user_id="ben")).fields["OwnerId"] == OTHER_USER
    assert len(org.calls) == 2


def test_match_that_is_taken_back_counts_within_an_hour(org: FewRows, clock: Clock) -> None:
    known = directory(org)
    looked_up(known)
    org.rows["Opportunity"].clear()
    clock.now += FOUND_S + 1
    assert looked_up(known).fields["WhatId"] == ACCOUNT


def test_more_records_than_one_answer_holds_are_asked_one_by_one(
    org: FewRows, clock: Clock
) -> None:
    for number in range(ROWS + 100):
        org.add("Opportunity", f"006{number:015d}", Clockify_Project_Id__c=f"p{number}")
    known = directory(org)
    for project, calls in (("p1", 1), (f"p{ROWS + 50}", 2), (f"p{ROWS + 50}", 2), ("none", 3)):
        for _ in range(3):
            found = looked_up(known, entry(project_id=project))
            assert len(org.calls) == calls
        expected = f"006{int(project[1:]):015d}" if project != "none" else ACCOUNT
        assert found.fields["WhatId"] == expected
    assert org.calls[-1] == [
        "SELECT Id, Clockify_Project_Id__c FROM Opportunity"
        " WHERE Clockify_Project_Id__c = 'none' LIMIT 2"
    ]


def test_email_that_two_of_many_users_have_is_told_as_well(org: FewRows) -> None:
    for number in range(ROWS):
        org.add("User", f"005{number:015d}", Email=f"u{number}@acme.example")
    org.add("User", "005Kj00000000u9IAA", Email="ben@acme.example")  # behind the first 2,000
    found = looked_up(directory(org), entry(user_id=None, user_email="ben@acme.example"))
    assert found == Links(RELATED, notes=("User.Email: several records have the same value",))
    found = looked_up(directory(org), entry(user_id=None, user_email="u7@acme.example"))
    assert found.fields["OwnerId"] == f"005{7:015d}"


@pytest.mark.parametrize(
    "email", ["x' OR Email != null OR Email = '", "x\\' OR IsActive = true OR Email = \\'", "'"]
)
def test_hostile_email_is_only_a_text(org: FewRows, email: str) -> None:
    for number in range(ROWS):
        org.add("User", f"005{number:015d}", Email=f"u{number}@acme.example")
    known = directory(org)
    assert looked_up(known, entry(user_id=None, user_email=email)) == Links(RELATED)
    assert "LIMIT 2" in org.calls[-1][0]


def test_memory_is_bounded(org: FewRows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "ROWS", 20)
    monkeypatch.setattr(links, "KEPT", 60)
    for number in range(20):
        org.add("Opportunity", f"006{number:015d}", Clockify_Project_Id__c=f"p{number}")
    known = directory(org)
    for number in range(100):
        looked_up(known, entry(project_id=f"none{number}"))
    assert len(known._opportunities._answers) == 60


def test_threads_that_begin_together_make_one_call(
    org: FewRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "time", time)
    begun = threading.Event()
    org.on_call = lambda: begun.wait(5)
    known = directory(org)
    found: list[Links] = []
    threads = [threading.Thread(target=lambda: found.append(looked_up(known))) for _ in range(50)]
    for thread in threads:
        thread.start()
    begun.set()
    for thread in threads:
        thread.join()
    assert found == [Links(OWNER | RELATED)] * 50
    assert len(org.calls) == 1


def test_thread_that_reads_anew_holds_up_no_other(org: FewRows, clock: Clock) -> None:
    known = directory(org)
    looked_up(known)
    clock.now += FOUND_S + 1
    others: list[Links] = []
    org.on_call = lambda: others.append(looked_up(known))  # while the call is on its way
    looked_up(known)
    assert others == [Links(OWNER | RELATED)]
    assert len(org.calls) == 2


@pytest.mark.parametrize("unmatched", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("hours", [1, 8, 30])
def test_look_ups_of_twenty_thousand_messages_are_below_two_in_a_hundred(
    clock: Clock, hours: int, unmatched: float
) -> None:
    """1,000 users and 200 projects; of each, a share of the messages has one that is unmatched."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    org = FewRows()
    for number in range(1000):
        org.add("User", f"005{number:015d}", Clockify_User_Id__c=f"u{number}")
    for number in range(200):
        org.add("Opportunity", f"006{number:015d}", Clockify_Project_Id__c=f"p{number}")
    known = directory(org)
    messages = 20_000
    for _ in range(messages):
        clock.now += chance.expovariate(messages / (hours * 3600))
        user, project = chance.randrange(1000), chance.randrange(200)
        strange_user, strange_project = chance.random() < unmatched, chance.random() < unmatched
        found = looked_up(
            known,
            entry(
                user_id="x" * strange_user + f"u{user}",
                project_id="x" * strange_project + f"p{project}",
            ),
        ).fields
        assert found.get("OwnerId") == (None if strange_user else f"005{user:015d}")
        assert found["WhatId"] == (None if strange_project else f"006{project:015d}")
    print(f"{len(org.calls)} calls, {len(org.calls) / messages:.2%} of the messages")
    assert len(org.calls) < 0.02 * messages


# What Salesforce refuses -------------------------------------------------------------------------

FIRST: dict[str, str | None] = {"OwnerId": USER, "WhatId": OPPORTUNITY, "WhoId": None}
NO_ID = "-" * 18
WISH, NO_OWNER = f"{USER} {OPPORTUNITY} {NO_ID}", f"{NO_ID} {OPPORTUNITY} {NO_ID}"
NO_LINK = f"{USER} {NO_ID} {NO_ID}"
NO_ACCESS = "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"
UNLINKED = OWNER | {"WhoId": None}


@pytest.mark.parametrize(
    ("wanted", "mark"),
    [
        (Links(FIRST), WISH),
        (Links({"WhatId": OPPORTUNITY, "WhoId": None}), NO_OWNER),
        (Links(FIRST | {"WhatId": None}), NO_LINK),
        (Links(FIRST, failed=True), None),
        (Links(), None),
    ],
)
def test_mark_is_the_whole_wish_or_is_not_written(wanted: Links, mark: str | None) -> None:
    assert event_body(entry(), 1, wanted).get(LINKS) == mark


@pytest.mark.parametrize(
    ("refusal", "left", "mark"),
    [
        # code, fields, ids -> what is still written
        (("INACTIVE_OWNER_OR_USER",), RELATED, NO_OWNER),
        (("INACTIVE_OWNER_OR_USER", ["OwnerId"]), RELATED, NO_OWNER),
        (("OP_WITH_INVALID_USER_TYPE_EXCEPTION",), RELATED, NO_OWNER),
        ((NO_ACCESS, [], [USER[:15]]), RELATED, NO_OWNER),
        ((NO_ACCESS, [], [OPPORTUNITY[:15]]), UNLINKED, NO_LINK),
        (("INVALID_CROSS_REFERENCE_KEY", ["WhatId"]), UNLINKED, NO_LINK),
        (("MALFORMED_ID", ["WhatId"]), UNLINKED, NO_LINK),
        (("FIELD_INTEGRITY_EXCEPTION", ["WhatId"]), UNLINKED, NO_LINK),
        # Salesforce does not say which: the links, and only then the owner.
        (("ENTITY_IS_DELETED",), UNLINKED, NO_LINK),
        (("INSUFFICIENT_ACCESS_OR_READONLY",), UNLINKED, NO_LINK),
        # Somebody has chosen in Salesforce: the wish is the same.
        ((RULE, [LINKS, "OwnerId"]), RELATED, WISH),
        ((RULE, [LINKS, "WhatId"]), UNLINKED, WISH),
        # Not deployed.
        (("INVALID_FIELD", [LINKS]), FIRST, None),
    ],
)
def test_refused_field_is_left_out_and_only_a_choice_stays_in_the_mark(
    refusal: tuple[Any, ...], left: dict[str, Any], mark: str | None
) -> None:
    body = event_body(entry(), 1, Links(FIRST))
    told = give_way(body, SalesforceRefused(*refusal), entry())
    assert {name: body[name] for name in FIRST if name in body} == left
    assert body.get(LINKS) == mark
    assert bool(told) is (left != FIRST)


def test_owner_is_left_out_where_there_is_no_link_to_blame() -> None:
    body = event_body(entry(), 1, Links({**OWNER, **NOTHING}))
    give_way(body, SalesforceRefused("ENTITY_IS_DELETED"), entry())
    assert {name for name in FIRST if name in body} == {"WhatId", "WhoId"}
    with pytest.raises(SalesforceRefused):
        give_way(body, SalesforceRefused("ENTITY_IS_DELETED"), entry())


def test_rule_of_the_orgs_own_is_given_no_way_to() -> None:
    body = event_body(entry(), 1, Links(FIRST))
    with pytest.raises(SalesforceRefused):
        give_way(body, SalesforceRefused(RULE, ["Location"]), entry())


# The function in front of the sandbox -------------------------------------------------------------


class Match:
    """A person, a project and its client in Clockify, all matched in Salesforce."""

    def __init__(self, world: World) -> None:
        self.org = world.salesforce
        self.body = payload()
        self.entry_id = str(self.body["id"])
        project = self.body["project"]
        self.user = self.org.add(
            "User", Email="ada@acme.example", Clockify_User_Id__c=self.body["userId"]
        )
        self.opportunity = self.org.add("Opportunity", Clockify_Project_Id__c=project["id"])
        self.account = self.org.add("Account", Clockify_Client_Id__c=project["clientId"])
        self.elsewhere = self.org.add("Account", Name="Another")
        self.other_user = self.org.add("User", Email="ben@acme.example")

    def owner_and_links(self) -> tuple[str, str | None, str | None]:
        event = self.org.event(self.entry_id)
        assert event is not None
        return event["OwnerId"], event.get("WhatId"), event.get("WhoId")

    def without_project(self) -> dict[str, Any]:
        return self.body | {"projectId": None, "project": None}

    def choose(self, **fields: str | None) -> None:
        """Somebody changes the Event in the browser."""
        event = self.org.event(self.entry_id)
        assert event is not None
        self.org.change("Event", event["Id"], **fields)


def send(function: Function, body: dict[str, Any], kind: str = "TIME_ENTRY_UPDATED") -> str:
    """Deliver a message and return its result."""
    answer = function.post(kind, body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["result"])


def left_out(function: Function) -> list[str]:
    """What the last message's log line tells."""
    return cast(list[str], function.log[-1].get("left_out", []))


def test_warm_message_with_owner_and_links_is_one_call(world: World, cold: Function) -> None:
    match = Match(world)
    assert send(cold, match.body, "TIMER_STOPPED") == "created"
    assert match.owner_and_links() == (match.user, match.opportunity, None)
    assert match.org.requests[0] == ("POST", "composite")
    assert cold.log[-1]["salesforce_calls"] == 3  # sign-in, look-ups, Event
    match.org.requests.clear()
    for number in range(20):
        send(cold, match.body | {"id": f"entry{number}", "description": "more"}, "NEW_TIME_ENTRY")
    send(cold, match.body | {"description": "changed"})
    send(cold, match.without_project())
    assert len(match.org.requests) == 22
    assert {method for method, _ in match.org.requests} == {"PATCH"}
    assert cold.log[-1]["salesforce_calls"] == 1
    assert match.owner_and_links() == (match.user, None, None)


def test_edit_clears_the_link_that_it_takes_away(world: World, cold: Function) -> None:
    match = Match(world)
    contact, lead = match.org.add("Contact"), match.org.add("Lead")
    no_project = match.without_project()
    for change, expected in (
        ({"description": f"#{contact} Call"}, (None, contact)),
        ({"description": f"#{lead} Call"}, (None, lead)),
        ({"description": f"#{match.elsewhere} Page"}, (match.elsewhere, None)),
        ({"description": "nothing"}, (match.opportunity, None)),
        (no_project | {"description": "nothing"}, (None, None)),
    ):
        send(cold, match.body | change)
        assert match.owner_and_links() == (match.user, *expected)
    assert not any("left_out" in line for line in cold.log)


@pytest.mark.parametrize("chosen", ["WhatId", "OwnerId", "WhoId"])
def test_what_somebody_chose_in_salesforce_stays_until_clockify_wishes_anew(
    world: World, cold: Function, chosen: str
) -> None:
    match = Match(world)
    send(cold, match.body)
    contact = match.org.add("Contact")
    choice = {"WhatId": match.elsewhere, "OwnerId": match.other_user, "WhoId": contact}[chosen]
    match.choose(**{chosen: choice})
    for number in range(3):
        assert send(cold, match.body | {"description": f"changed {number}"}) == "updated"
        event = match.org.event(match.entry_id)
        assert event is not None
        assert event[chosen] == choice
        assert event["Description"].startswith(f"changed {number}")
        assert left_out(cold) == [f"{chosen}: left as somebody chose it in Salesforce"]
        assert cold.log[-1]["salesforce_calls"] == 2
    # Without the project there is another wish for Related To, and none for the others.
    send(cold, match.without_project())
    owner, what, who = match.owner_and_links()
    assert what is None
    assert owner == (match.other_user if chosen == "OwnerId" else match.user)
    assert who == (contact if chosen == "WhoId" else None)
    # A record that the description names is a wish for both.
    lead = match.org.add("Lead")
    send(cold, match.without_project() | {"description": f"#{lead} Call"})
    assert match.owner_and_links() == (owner, None, lead)


def test_all_three_chosen_in_salesforce_stay(world: World, cold: Function) -> None:
    match = Match(world)
    send(cold, match.body)
    contact = match.org.add("Contact")
    match.choose(OwnerId=match.other_user, WhatId=match.elsewhere, WhoId=contact)
    send(cold, match.body | {"description": "changed"})
    assert match.owner_and_links() == (match.other_user, match.elsewhere, contact)
    assert len(left_out(cold)) == 3


def test_choice_stays_when_the_owner_is_refused(world: World, cold: Function) -> None:
    match = Match(world)
    send(cold, match.body)
    match.choose(WhatId=match.elsewhere)
    match.org.records["User"][match.user]["IsActive"] = False
    send(cold, match.body | {"description": "changed"})
    assert match.owner_and_links() == (match.user, match.elsewhere, None)


def test_link_that_somebody_removed_in_salesforce_stays_removed(
    world: World, cold: Function
) -> None:
    match = Match(world)
    send(cold, match.body)
    match.choose(WhatId=None)
    send(cold, match.body | {"description": "changed"})
    assert match.owner_and_links() == (match.user, None, None)


def test_choice_of_a_second_instance_is_the_same(world: World, cold: Function) -> None:
    match = Match(world)
    second = Function(world)
    try:
        send(cold, match.body)
        send(second, match.without_project())
        send(cold, match.body | {"description": "the project is back"})
        assert match.owner_and_links() == (match.user, match.opportunity, None)
        match.choose(WhatId=match.elsewhere)
        send(second, match.body | {"description": "and stays"})
        assert match.owner_and_links() == (match.user, match.elsewhere, None)
    finally:
        second.stop()


def test_owner_who_is_refused_is_left_out_and_comes_when_he_may(
    world: World, cold: Function
) -> None:
    match = Match(world)
    send(cold, match.body | {"id": "warm"})
    for change, mended, code in (
        ({"IsActive": False}, {"IsActive": True}, "INACTIVE_OWNER_OR_USER"),
        (
            {"_hidden": True},
            {"_hidden": False},
            "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
        ),
    ):
        match.entry_id = code[:20]
        match.org.records["User"][match.user].update(change)
        match.org.requests.clear()
        assert send(cold, match.body | {"id": match.entry_id}, "TIMER_STOPPED") == "created"
        assert match.owner_and_links() == (match.org.USER_ID, match.opportunity, None)
        assert left_out(cold) == [f"OwnerId: {code}"]
        assert len(match.org.requests) == 2
        match.org.records["User"][match.user].update(mended)
        send(cold, match.body | {"id": match.entry_id, "description": "changed"})
        assert match.owner_and_links() == (match.user, match.opportunity, None)
        assert left_out(cold) == []


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("deleted", "ENTITY_IS_DELETED"),
        ("of another org", "INVALID_CROSS_REFERENCE_KEY"),
        ("without Events", "INVALID_CROSS_REFERENCE_KEY"),
        ("not accessible", "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"),
    ],
)
def test_link_that_is_refused_is_left_out_of_the_event(
    world: World, cold: Function, case: str, code: str
) -> None:
    match = Match(world)
    record = match.org.add("Note__c" if case == "without Events" else "Account")
    if case == "deleted":
        match.org.remove("Account", record)
    if case == "of another org":
        record = CASE
    if case == "not accessible":
        match.org.records["Account"][record]["_hidden"] = True
    assert send(cold, match.body | {"description": f"#{record} Page"}) == "created"
    assert match.owner_and_links() == (match.user, None, None)
    assert f"WhatId: {code}" in left_out(cold)
    assert all(record not in line for line in cold.raw_log.splitlines())


def test_hidden_field_is_told_once_and_the_others_go_on(world: World, cold: Function) -> None:
    match = Match(world)
    match.org.hidden |= {"User.Clockify_User_Id__c", "Opportunity.Clockify_Project_Id__c"}
    send(cold, match.body)
    assert match.owner_and_links() == (match.org.USER_ID, match.account, None)
    assert left_out(cold) == [
        "User.Clockify_User_Id__c is not looked up for an hour: INVALID_FIELD",
        "Opportunity.Clockify_Project_Id__c is not looked up for an hour: INVALID_FIELD",
    ]
    match.org.requests.clear()
    send(cold, match.body | {"description": "changed"})
    assert left_out(cold) == []
    assert len(match.org.requests) == 1


def test_owner_is_found_by_the_email_that_clockify_knows(world: World) -> None:
    match = Match(world)
    match.body["userId"] = world.clockify.add_user("Ben Okafor", "Ben@acme.example")
    key = world.environment()["SIGNING_SECRETS"].replace("signing-secrets", "clockify-api-key")
    function = Function(world, CLOCKIFY_API_KEY=key)
    try:
        for number in range(5):
            match.entry_id = f"entry{number}"
            send(function, match.body | {"id": match.entry_id}, "NEW_TIME_ENTRY")
            assert match.owner_and_links()[0] == match.other_user
        assert len(world.clockify.requests) == 1
        assert function.log[-1]["salesforce_calls"] == 1
        assert "acme.example" not in function.raw_log
    finally:
        function.stop()


def test_salesforce_that_hangs_at_look_ups_delays_the_event_by_seconds_only(
    world: World, cold: Function
) -> None:
    match = Match(world)
    send(cold, match.without_project() | {"id": "warm", "userId": None, "user": None})
    sites, answer = world.internet.sites, match.org.answer

    async def hanging(request: Request) -> Answer:
        if request.path.endswith("/composite"):
            await asyncio.sleep(30)
        return await answer(request)

    sites[HOST] = hanging
    try:
        assert send(cold, match.body, "TIMER_STOPPED") == "created"
    finally:
        sites[HOST] = answer
    assert match.owner_and_links() == (match.org.USER_ID, None, None)
    assert cold.log[-1]["milliseconds"] < 4000
    assert "ReadTimeout" in left_out(cold)[0]
