"""Drafts of records and Accounts, and what is told of a refusal: pure."""

from dataclasses import replace
from typing import Any

import pytest
from conftest import sample

from clockify_salesforce import kinds
from clockify_salesforce.decisions import Delete, Field, Line, Lines, Match, Record
from clockify_salesforce.kinds import BY_NAME
from clockify_salesforce.kinds.client import ACCOUNT
from clockify_salesforce.kinds.invoice import INVOICE, LINE
from clockify_salesforce.mapping_rules import Accounts
from clockify_salesforce.salesforce import account, record
from clockify_salesforce.salesforce.errors import SalesforceRefused, refusal_of
from clockify_salesforce.salesforce.record import RecordDraft
from clockify_salesforce.salesforce.records import Conflict, Draft, Known, Nothing

OWN = "005Kj0000000001AAA"
THEIRS = "001Kj0000000001AAA"
MATCH = Match("client", "64c777ddd3fcab07cfbb210c", ACCOUNT, "Northwind")


def refused(code: str, part: str, **more: Any) -> SalesforceRefused:
    found = refusal_of({"errorCode": code, "message": ""} | more, last=True, part=part)
    assert found is not None
    return found


def own_user_id() -> str:
    return OWN


def invoice(keys: list[str], held: list[str]) -> RecordDraft:
    lines = Lines(LINE, "Invoice__c", tuple(Line(key, {}) for key in keys))
    there = {key: f"a0L{key:0>15}" for key in held}
    return RecordDraft(
        Record("invoice", "1", INVOICE, {"Name": "1"}, lines=lines), Known(), {}, there
    )


# --- Records --------------------------------------------------------------------------------------


def test_line_that_is_gone_already_is_left_out() -> None:
    draft = invoice(["1"], ["1", "2", "3"])
    assert [part.reference for part in draft.parts()] == ["record", "line1", "gone1", "gone2"]
    fewer, note = draft.give_way(refused("ENTITY_IS_DELETED", "gone1"), own_user_id)
    assert [part.path[-1] for part in fewer.parts()[2:]] == ["3"]
    assert note == ""


@pytest.mark.parametrize(
    ("part", "code"),
    [("line1", "NOT_FOUND"), ("gone1", "DELETE_FAILED"), ("record", "NOT_FOUND")],
)
def test_refusal_that_a_record_cannot_do_without_is_raised(part: str, code: str) -> None:
    with pytest.raises(SalesforceRefused):
        invoice(["1"], ["1", "2"]).give_way(refused(code, part), own_user_id)


def test_lines_that_one_call_cannot_hold_become_of_others() -> None:
    draft = invoice([f"n{at}" for at in range(300)], [f"o{at}" for at in range(400)])
    parts = draft.parts()
    assert len(parts) == 1 + 400
    assert sum(part.method == "DELETE" for part in parts) == 100
    assert len({part.path for part in parts}) == len(parts)
    with pytest.raises(Conflict):
        draft.give_way(refused("ENTITY_IS_DELETED", "line1"), own_user_id)


def test_record_without_a_field_is_not_written() -> None:
    gone = Record("invoice", "1", INVOICE, {}, gone=True)
    draft, notes = record.draft(gone, Known(rows=((),)))
    assert isinstance(draft, Nothing)
    assert notes == ()


# --- What Clockify has deleted --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "event", "is_there", "says"),
    [
        ("project", "NEW_PROJECT", True, {"Deleted__c": True}),
        ("project", "NEW_PROJECT", False, None),
        ("invoice", "NEW_INVOICE", True, {}),
        ("invoice", "NEW_INVOICE", False, {}),
    ],
)
def test_record_that_is_gone_says_so_and_keeps_the_rest(
    name: str, event: str, is_there: bool, says: dict[str, Field] | None
) -> None:
    found = kinds.gone(BY_NAME[name], sample(event), is_there=is_there)
    whole = kinds.read(BY_NAME[name], sample(event), gone=True)
    assert isinstance(found, Record)
    assert isinstance(whole, Record)
    expected = whole if says is None else replace(whole, fields=says, references=(), lines=None)
    assert found == expected


@pytest.mark.parametrize(("name", "sort"), [("client", Match), ("task", Delete)])
def test_what_holds_nothing_of_its_own_is_gone_as_ever(name: str, sort: type) -> None:
    content = sample(f"NEW_{name.upper()}")
    found = kinds.gone(BY_NAME[name], content, is_there=True)
    assert type(found) is sort
    assert found == kinds.read(BY_NAME[name], content, gone=True)


# --- Accounts -------------------------------------------------------------------------------------


def account_draft(rules: Accounts, *rows: tuple[dict[str, Any], ...]) -> Draft:
    draft, _ = account.draft(MATCH, Known(rows=rows), rules, own_user_id)
    return draft


@pytest.mark.parametrize("code", ["NOT_FOUND", "ENTITY_IS_DELETED"])
def test_account_that_is_gone_since_is_looked_for_again(code: str) -> None:
    draft = account_draft(Accounts(), (), ({"Id": THEIRS, "Name": "Northwind"},))
    with pytest.raises(Conflict):
        draft.give_way(refused(code, "account"), own_user_id)


@pytest.mark.parametrize("code", ["NOT_FOUND", "REQUIRED_FIELD_MISSING"])
def test_account_that_cannot_be_made_is_raised(code: str) -> None:
    draft = account_draft(Accounts(are_created=True), (), ())
    with pytest.raises(SalesforceRefused):
        draft.give_way(refused(code, "account"), own_user_id)


@pytest.mark.parametrize("passes", [False, True])
def test_alerts_are_passed_at_every_write_by_choice(passes: bool) -> None:
    rules = Accounts(are_created=True, pass_alerts=passes)
    own = {"Id": THEIRS, "Name": "Old", "CreatedById": OWN}
    for rows in (((), ()), ((), ({"Id": THEIRS, "Name": "Northwind"},)), ((own,), ())):
        (part,) = account_draft(rules, *rows).parts()
        assert bool(part.headers) is passes


# --- What is told ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("Event", {"errorCode": "X"}, "the Event: X: see what the org asks of an Event"),
        ("Clockify_Project__c", {"errorCode": "X"}, "asks of a Clockify_Project__c"),
        ("Task", {"errorCode": "INSUFFICIENT_ACCESS_OR_READONLY"}, "a role above theirs"),
        ("Clockify_Invoice__c", {"errorCode": "INVALID_FIELD"}, "permission set Clockify_Data"),
        (
            "Account",
            {"errorCode": "INVALID_FIELD_FOR_INSERT_UPDATE", "fields": ["Clockify_Client_Id__c"]},
            "may see Clockify_Client_Id__c and not write it",
        ),
        (
            "Account",
            {
                "errorCode": "INVALID_FIELD_FOR_INSERT_UPDATE",
                "message": "Account: bad field names on insert/update call: Name",
            },
            "(Name): an Account that the integration user makes is a Person Account",
        ),
        ("Account", {"errorCode": "DUPLICATES_DETECTED"}, "blocks an Account"),
        (
            "Account",
            {"errorCode": "DUPLICATES_DETECTED", "duplicateResult": {"allowSave": True}},
            "alerts to an Account",
        ),
        (
            "Account",
            {
                "errorCode": "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
                "message": "entity type cannot be inserted: Account",
            },
            "may not create an Account: assign it the permission set",
        ),
        ("Account", {"errorCode": "REQUIRED_FIELD_MISSING", "fields": ["A__c"]}, "asks for A__c"),
    ],
)
def test_refusal_names_its_object_and_what_to_do(
    name: str, error: dict[str, Any], told: str
) -> None:
    found = refusal_of({"message": "Northwind GmbH"} | error, last=True, object=name)
    assert told in str(found)
    assert str(found).startswith(f"Salesforce refuses the {name}: {error['errorCode']}")
    assert "Northwind" not in str(found)
