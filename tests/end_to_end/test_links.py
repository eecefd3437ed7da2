"""Whose calendar an Event is in, and what it is related to: the function in front of the sandbox.

What is looked up, kept and asked again is the part of tests/unit/test_directory.py.
"""

import asyncio
from typing import Any, cast

import pytest
from conftest import payload

from sandbox.internet import Answer, Request
from sandbox.salesforce import HOST, Flow
from sandbox.world import Function, World

GONE = "500Kj00000Gone1IAB"  # of no record


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

    def remove(self, name: str, record_id: str) -> None:
        """Somebody deletes a record."""
        self.org.remove(name, record_id)

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
    assert match.org.requests == [("POST", "composite")] * 2
    assert cold.log[-1]["salesforce_calls"] == 3  # sign-in, look-ups, Event
    match.org.requests.clear()
    for number in range(20):
        send(cold, match.body | {"id": f"entry{number}", "description": "more"}, "NEW_TIME_ENTRY")
    send(cold, match.body | {"description": "changed"})
    send(cold, match.without_project())
    assert match.org.requests == [("POST", "composite")] * 22
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
        assert left_out(cold) == []
        assert cold.log[-1]["salesforce_calls"] == 1
    # Without the project there is another wish for Related To, and none for the others.
    send(cold, match.without_project())
    owner, what, who = match.owner_and_links()
    assert what is None
    assert owner == (match.other_user if chosen == "OwnerId" else match.user)
    assert who == (contact if chosen == "WhoId" else None)
    # A record that the description names is another wish for it.
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
def test_link_that_is_refused_gives_way_to_the_next(
    world: World, cold: Function, case: str, code: str
) -> None:
    match = Match(world)
    record = match.org.add("Note__c" if case == "without Events" else "Account")
    if case == "deleted":
        match.remove("Account", record)
    if case == "of another org":
        record = GONE
    if case == "not accessible":
        match.org.records["Account"][record]["_hidden"] = True
    assert send(cold, match.body | {"description": f"#{record} Page"}) == "created"
    assert match.owner_and_links() == (match.user, match.opportunity, None)
    assert left_out(cold) == [f"WhatId: {code}"]
    assert all(record not in line for line in cold.raw_log.splitlines())
    # It is tried again at the next edit, and what the project was linked with stays.
    assert send(cold, match.body | {"description": f"#{record} Another page"}) == "updated"
    assert match.owner_and_links() == (match.user, match.opportunity, None)


def test_links_that_are_all_refused_leave_none(world: World, cold: Function) -> None:
    match = Match(world)
    send(cold, match.body | {"id": "warm"})
    gone = match.body | {"description": f"#{GONE} Page"}
    match.remove("Opportunity", match.opportunity)  # after it was looked up
    assert send(cold, gone | {"id": "one"}) == "created"
    match.entry_id = "one"
    assert match.owner_and_links() == (match.user, match.account, None)
    match.remove("Account", match.account)
    assert send(cold, gone | {"id": "two"}) == "created"
    match.entry_id = "two"
    assert match.owner_and_links() == (match.user, None, None)
    assert [line.split(":")[0] for line in left_out(cold)] == ["WhatId"] * 3


def test_dead_contact_gives_way_to_the_project(world: World, cold: Function) -> None:
    match = Match(world)
    contact = match.org.add("Contact")
    send(cold, match.body | {"description": f"#{contact} Call"})
    assert match.owner_and_links() == (match.user, None, contact)
    other = match.org.add("Contact")
    match.remove("Contact", other)
    send(cold, match.body | {"description": f"#{other} Call"})
    assert match.owner_and_links() == (match.user, match.opportunity, None)


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
        if b"FROM+User" in request.body:
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


@pytest.mark.parametrize("field", ["WhatId", "OwnerId"])
def test_choice_of_the_customers_own_flow_stays(world: World, cold: Function, field: str) -> None:
    match = Match(world)
    chosen = {"WhatId": match.elsewhere, "OwnerId": match.other_user}[field]
    match.org.flows = [Flow(sets={field: chosen})]
    assert send(cold, match.body, "TIMER_STOPPED") == "created"
    assert send(cold, match.body | {"description": "edited"}) == "updated"
    match.org.flows = []
    assert send(cold, match.body | {"description": "edited again"}) == "updated"
    event = match.org.event(match.entry_id)
    assert event is not None
    assert event["Description"].startswith("edited again")
    assert event[field] == chosen


@pytest.mark.parametrize(
    "code", ["CANNOT_EXECUTE_FLOW_TRIGGER", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"]
)
def test_flow_that_refuses_is_told_by_its_name_and_nothing_of_the_record(
    world: World, cold: Function, code: Any
) -> None:
    match = Match(world)
    world.tasks.paused = True
    match.org.flows = [Flow(refuses=code, name="Set_Region")]
    body = match.body | {"description": "about a merger"}
    assert cold.post("TIMER_STOPPED", body).status_code == 202
    line = cold.log[-1]
    assert line["severity"] == "ERROR"
    assert "'Set_Region'" in line["reason"]
    assert "FIELD_CUSTOM_VALIDATION_EXCEPTION" in line["reason"]
    assert "merger" not in cold.raw_log
    assert match.org.records["Clockify_State__c"] == {}


@pytest.mark.parametrize("refuses", [True, False])
def test_event_of_a_person_who_left_is_still_edited(
    world: World, cold: Function, refuses: bool
) -> None:
    match = Match(world)
    match.org.inactive_owner_refuses = refuses
    send(cold, match.body, "TIMER_STOPPED")
    match.org.change("User", match.user, IsActive=False)
    assert send(cold, match.body | {"description": "edited"}) == "updated"
    event = match.org.event(match.entry_id)
    assert event is not None
    assert event["Description"].startswith("edited")
    assert event["OwnerId"] == (match.org.USER_ID if refuses else match.user)
    assert len(left_out(cold)) == (1 if refuses else 0)
