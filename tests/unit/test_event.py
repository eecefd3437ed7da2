"""An Event's draft: what is sent, and what gives way to which refusal."""

import pytest

from clockify_salesforce.message import Result
from clockify_salesforce.salesforce.errors import LINKS, SalesforceRefused, refusal_of
from clockify_salesforce.salesforce.event import EventDraft, Removal
from clockify_salesforce.salesforce.records import Known, Nothing
from clockify_salesforce.salesforce.wish import Link, Wish, changed, mark_of, marked
from mapping import EXTERNAL_ID, Upsert

ADA, BEN, OURS = "005Kj00000000u1IAA", "005Kj00000000u2IAA", "005Kj000000IntgIAC"
CASE, OPPORTUNITY, ACCOUNT = "500Kj00000000c1IAA", "006Kj00000000o1IAA", "001Kj00000000a1IAA"
NONE = 18 * "-"
LONG = {"EndDateTime": "2026-11-03T08:00:00Z", "Description": "cut"}
UPSERT = Upsert(
    "entry1",
    {"Subject": "Clockify", "EndDateTime": "2026-11-04T08:00:00Z"},
    on_create={"IsReminderSet": False},
    shortened=LONG,
)
WISH = Wish(ADA, (Link("WhatId", CASE), Link("WhatId", OPPORTUNITY), Link("WhatId", ACCOUNT)))
NEW = Known(exists=False)
THERE = Known(1, None, True, mark_of({"OwnerId": ADA, "WhatId": CASE}), "00UKj0000000001")


def refused(code: str, *fields: str, message: str = "") -> SalesforceRefused:
    found = refusal_of(
        {"errorCode": code, "fields": list(fields), "message": message}, last=True, part="event"
    )
    assert found is not None
    return found


def written(draft: object) -> dict[str, object]:
    """The body of what is left, without the Event's own fields."""
    assert isinstance(draft, EventDraft)
    return {
        name: each
        for name, each in draft.body().items()
        if name in ("OwnerId", "WhatId", "WhoId", LINKS)
    }


def test_new_event_gets_wish_mark_and_no_reminder() -> None:
    body = EventDraft(UPSERT, WISH, NEW).body()
    assert body == {
        "Subject": "Clockify",
        "EndDateTime": "2026-11-04T08:00:00Z",
        "IsReminderSet": False,
        "OwnerId": ADA,
        "WhatId": CASE,
        LINKS: f"{ADA} {CASE} {NONE}",
    }


def test_same_wish_sends_neither_owner_nor_links_nor_mark() -> None:
    body = EventDraft(UPSERT, WISH, THERE).body()
    assert body == {"Subject": "Clockify", "EndDateTime": "2026-11-04T08:00:00Z"}


@pytest.mark.parametrize(
    ("wish", "sent"),
    [
        (Wish(BEN, WISH.links), {"OwnerId": BEN, LINKS: f"{BEN} {CASE} {NONE}"}),
        (Wish(ADA, WISH.links[1:]), {"WhatId": OPPORTUNITY, LINKS: f"{ADA} {OPPORTUNITY} {NONE}"}),
        (Wish(ADA), {"WhatId": None, LINKS: f"{ADA} {NONE} {NONE}"}),
        (Wish(ADA, unknown=frozenset({"WhatId", "WhoId"})), {}),
        (Wish(None, WISH.links), {}),
        (
            Wish(ADA, (Link("WhoId", "003Kj00000000p1IAA"),)),
            {
                "WhatId": None,
                "WhoId": "003Kj00000000p1IAA",
                LINKS: f"{ADA} {NONE} 003Kj00000000p1IAA",
            },
        ),
    ],
)
def test_wish_that_differs_from_the_mark_sends_what_differs(
    wish: Wish, sent: dict[str, object]
) -> None:
    assert written(EventDraft(UPSERT, wish, THERE)) == sent


OWNER_LEFT = {"WhatId": CASE, LINKS: f"{NONE} {CASE} {NONE}"}
NEXT_LINK = {"OwnerId": ADA, "WhatId": OPPORTUNITY, LINKS: f"{ADA} {OPPORTUNITY} {NONE}"}


@pytest.mark.parametrize(
    ("refusal", "sent", "note"),
    [
        (refused("INACTIVE_OWNER_OR_USER", "OwnerId"), OWNER_LEFT, "OwnerId: INACTIVE"),
        (refused("INACTIVE_OWNER_OR_USER"), OWNER_LEFT, "OwnerId: INACTIVE"),
        (refused("OP_WITH_INVALID_USER_TYPE_EXCEPTION"), OWNER_LEFT, "OwnerId: OP_WITH"),
        (refused("TRANSFER_REQUIRES_READ", "OwnerId"), OWNER_LEFT, "OwnerId: TRANSFER"),
        (refused("MALFORMED_ID", "WhatId"), NEXT_LINK, "WhatId: MALFORMED_ID"),
        (refused("INVALID_CROSS_REFERENCE_KEY"), NEXT_LINK, "WhatId: INVALID_CROSS"),
        (
            refused("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", message=f"id: {CASE[:15]}"),
            NEXT_LINK,
            "WhatId: INSUFFICIENT_ACCESS",
        ),
        (
            refused("INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", message=f"id: {ADA[:15]}"),
            OWNER_LEFT,
            "OwnerId: INSUFFICIENT_ACCESS",
        ),
        (
            refused("INVALID_FIELD", message=f"No such column '{LINKS}'"),
            {"OwnerId": ADA, "WhatId": CASE},
            LINKS,
        ),
    ],
)
def test_refused_part_of_a_new_event_gives_way(
    refusal: SalesforceRefused, sent: dict[str, object], note: str
) -> None:
    draft, told = EventDraft(UPSERT, WISH, NEW).give_way(refusal, lambda: OURS)
    assert written(draft) == sent
    assert told.startswith(note)


def test_links_give_way_one_after_the_other_and_then_the_owner() -> None:
    draft, notes = EventDraft(UPSERT, WISH, NEW), []
    refusal = refused("INVALID_CROSS_REFERENCE_KEY")
    for _ in range(4):
        found, note = draft.give_way(refusal, lambda: OURS)
        assert isinstance(found, EventDraft)
        draft = found
        notes.append(note.split(":")[0])
    assert notes == ["WhatId", "WhatId", "WhatId", "OwnerId"]
    assert written(draft) == {LINKS: f"{NONE} {NONE} {NONE}"}
    with pytest.raises(SalesforceRefused):
        draft.give_way(refusal, lambda: OURS)


def test_owner_deactivated_since_gives_the_event_to_the_integration_user() -> None:
    refusal = refused("INACTIVE_OWNER_OR_USER")
    draft, note = EventDraft(UPSERT, WISH, THERE).give_way(refusal, lambda: OURS)
    assert written(draft) == {"OwnerId": OURS, LINKS: f"{NONE} {CASE} {NONE}"}
    assert "integration user" in note
    with pytest.raises(SalesforceRefused):
        draft.give_way(refusal, lambda: OURS)


def test_too_long_event_is_shortened_once() -> None:
    refusal = refused("FIELD_INTEGRITY_EXCEPTION", "DurationInMinutes")
    draft, note = EventDraft(UPSERT, WISH, NEW).give_way(refusal, lambda: OURS)
    assert isinstance(draft, EventDraft)
    assert draft.body()["EndDateTime"] == LONG["EndDateTime"]
    assert note == ""


def test_archived_event_is_written_by_its_own_id() -> None:
    refusal = refused(
        "DUPLICATE_VALUE",
        EXTERNAL_ID,
        message="duplicates value on record with id: 00UKj0000000009",
    )
    draft, _ = EventDraft(UPSERT, WISH, NEW).give_way(refusal, lambda: OURS)
    assert draft.parts()[0].path == "sobjects/Event/00UKj0000000009"
    assert draft.made([{}]).record_id == "00UKj0000000009"
    with pytest.raises(SalesforceRefused):
        draft.give_way(refusal, lambda: OURS)


@pytest.mark.parametrize(
    "code", ["FIELD_CUSTOM_VALIDATION_EXCEPTION", "STRING_TOO_LONG", "CANNOT_EXECUTE_FLOW_TRIGGER"]
)
def test_rule_or_flow_of_the_orgs_own_is_given_no_way_to(code: str) -> None:
    with pytest.raises(SalesforceRefused):
        EventDraft(UPSERT, WISH, NEW).give_way(refused(code), lambda: OURS)


def test_event_that_was_deleted_in_salesforce_gets_owner_and_links_anew() -> None:
    made = EventDraft(UPSERT, WISH, THERE).made([{"created": True, "id": "00UKj0000000002AAA"}])
    assert made.result is Result.CREATED
    assert made.rest is not None
    assert written(made.rest) == {"OwnerId": ADA, "WhatId": CASE, "WhoId": None, LINKS: made.mark}


@pytest.mark.parametrize("code", ["NOT_FOUND", "ENTITY_IS_DELETED"])
def test_removal_of_what_is_gone_is_done(code: str) -> None:
    draft, _ = Removal("entry1", NEW).give_way(refused(code), lambda: OURS)
    assert isinstance(draft, Nothing)
    assert draft.made([]).result is Result.DELETED


def test_removal_of_an_archived_event_goes_by_its_own_id_at_last() -> None:
    draft, _ = Removal("entry1", THERE).give_way(refused("NOT_FOUND"), lambda: OURS)
    assert draft.parts()[0].path == f"sobjects/Event/{THERE.record_id}"
    draft, _ = draft.give_way(refused("NOT_FOUND"), lambda: OURS)
    assert draft.parts() == []


def test_removal_without_the_field_is_refused() -> None:
    message = f"Provided external ID field does not exist or is not accessible: {EXTERNAL_ID}"
    with pytest.raises(SalesforceRefused, match="force-app"):
        Removal("entry1", NEW).give_way(refused("NOT_FOUND", message=message), lambda: OURS)


def test_odd_mark_counts_as_none() -> None:
    assert marked(None) == marked("x") == marked("a b c d") == {}
    assert changed(WISH, "x") == {"OwnerId": ADA, "WhatId": CASE, "WhoId": None}


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "We can't save this record because the \u201cSet region\u201d process failed. Give your"
            " Salesforce admin these details. This error occurred when the flow tried to update:"
            " FIELD_CUSTOM_VALIDATION_EXCEPTION: Ada's secret meeting",
            "'Set region' of the org's own automation refuses it with FIELD_CUSTOM_VALIDATION",
        ),
        (
            "EventTrigger: execution of BeforeInsert\n\ncaused by: DmlException: Ada's secret",
            "'EventTrigger' of the org's own automation refuses it",
        ),
        ("Ada's secret", "a flow or trigger of the org's own automation refuses it"),
    ],
)
def test_refusal_of_the_orgs_automation_names_it_and_quotes_nothing(
    message: str, told: str
) -> None:
    text = str(refused("CANNOT_EXECUTE_FLOW_TRIGGER", message=message))
    assert told in text
    assert "secret" not in text


def test_inactive_owner_within_a_flow_is_what_it_is() -> None:
    message = (
        "The flow tried to update: INACTIVE_OWNER_OR_USER: operation performed with inactive user"
    )
    assert refused("CANNOT_EXECUTE_FLOW_TRIGGER", message=message).code == "INACTIVE_OWNER_OR_USER"
