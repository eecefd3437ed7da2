"""The repair's pure parts: what differs, who may write what, how a bulk job's CSV is read."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from clockify_salesforce.salesforce.bulk import cell, error_of
from clockify_salesforce.salesforce.event import EventDraft
from clockify_salesforce.salesforce.records import Known
from clockify_salesforce.salesforce.wish import Link, Wish
from commands.repair.change import Cell, Change, Heaps, Planned
from commands.repair.compare import differences
from commands.repair.refusals import Refusals
from mapping import Upsert


def change(entry: int, owner: int | None, link: int | None, event_id: str | None = None) -> Change:
    """A change whose Event has these parents."""
    links = () if link is None else (Link("WhatId", f"006{link:015d}"),)
    wish = Wish(None if owner is None else f"005{owner:015d}", links)
    return Change(EventDraft(Upsert(f"e{entry}", {}), wish, Known()), event_id)


def test_batches_at_once_have_no_parent_in_common() -> None:
    """Whatever is taken while others are being written; and everything is taken once."""
    chance = Random(7)
    heaps = Heaps()
    for each in range(4_000):
        owner, link = chance.randrange(60), chance.choice([*range(25), None])
        heaps.add(change(each, owner, link, "00U" if each % 3 == 0 else None))
    taken: list[str] = []
    held: list[tuple[list[Planned], set[Cell]]] = []
    most = 0
    while heaps.size or held:
        batch = heaps.take(200, least=1, workers=4)
        if batch is not None:
            held.append(batch)
            taken += [each.entry_id for each in batch[0]]
            assert len(batch[0]) <= 200
            assert len({each.record_id for each in batch[0]}) == 1
        for place, (one, _) in enumerate(held):
            parents = {value for each in one for value in parents_of(each)}
            for other, _ in held[place + 1 :]:
                assert not parents & {value for each in other for value in parents_of(each)}
        most = max(most, len(held))
        if batch is None or len(held) == 4:
            heaps.let_go(held.pop(chance.randrange(len(held)))[1])
    assert sorted(taken) == sorted(f"e{each}" for each in range(4_000))
    assert most == 4


def parents_of(one: Planned) -> set[str | None]:
    """Owner and links that the change's Event is going to have."""
    assert isinstance(one, Change)
    return set(one.draft.wish.fields.values()) - {None}


def test_batch_of_no_parents_is_full_and_held_by_nobody() -> None:
    """Where nobody is matched, nothing has to wait; too few wait for more."""
    heaps = Heaps()
    for each in range(450):
        heaps.add(change(each, None, None))
    sizes = []
    while batch := heaps.take(200, least=200, workers=8):
        sizes.append(len(batch[0]))
    assert (sizes, heaps.size) == ([200, 200], 50)
    last = heaps.take(200, least=1, workers=8)
    assert last is not None
    assert len(last[0]) == 50


def test_few_changes_of_many_parents_are_one_batch() -> None:
    """A nightly repair costs one call, not one for each group of parents."""
    heaps = Heaps()
    for each in range(40):
        heaps.add(change(each, each, 3 * each))
    batch = heaps.take(200, least=1, workers=1)
    assert batch is not None
    assert len(batch[0]) == 40


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "DUPLICATE_VALUE:duplicate value found: X__c duplicates value on record with id:"
            " 006Ov000004iYzqIAE:--",
            {
                "errorCode": "DUPLICATE_VALUE",
                "message": "duplicate value found: X__c duplicates value on record with id:"
                " 006Ov000004iYzqIAE",
                "fields": [],
            },
        ),
        (
            "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --",
            {
                "errorCode": "REQUIRED_FIELD_MISSING",
                "message": "Required fields are missing: [Name]",
                "fields": ["Name"],
            },
        ),
        (
            "UNABLE_TO_LOCK_ROW",
            {"errorCode": "UNABLE_TO_LOCK_ROW", "message": "", "fields": []},
        ),
    ],
)
def test_error_of_a_bulk_record_is_read_as_the_rest_apis(text: str, error: dict[str, Any]) -> None:
    """As people have logged them."""
    assert error_of(text) == error


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "#N/A"), ("", "#N/A"), (True, "true"), (False, "false"), (1.5, "1.5"), ("a,b", "a,b")],
)
def test_value_in_a_cell_empties_or_sets_a_field(value: Any, text: str) -> None:
    """An empty cell would leave the field as it is."""
    assert cell(value) == text


def test_file_of_refusals_survives_a_line_that_broke_off(tmp_path: Path) -> None:
    """Killed in the middle of a line: what is whole is taken up, and a new line is whole."""
    file = tmp_path / "refused.jsonl"
    file.write_text('{"entry": "a", "reason": "x"}\n{"entry": "b", "rea')
    refusals = Refusals(file)
    assert refusals.waiting == {"a"}
    assert refusals.add("c", "y")
    assert Refusals(file).waiting == {"a", "c"}
    assert refusals.finish()
    assert Refusals(file).waiting == {"c"}
    assert not Refusals(file).finish()
    assert not Refusals(tmp_path / "no folder" / "file").add("d", "z")


@pytest.mark.parametrize(
    ("stored", "wanted", "is_same"),
    [
        ({"Subject": None}, {"Subject": None}, True),
        ({"Subject": "2026-11-02T00:00"}, {"Subject": "2026-11-02T00:00"}, True),
        ({"Description": "a\r\nb "}, {"Description": "a\nb"}, True),
        ({"Description": "a\nc"}, {"Description": "a\nb"}, False),
        ({"Clockify_Tags__c": None}, {"Clockify_Tags__c": "x"}, False),
        ({"Clockify_Billable__c": None}, {"Clockify_Billable__c": False}, True),
        ({"Clockify_Hours__c": 1.5917}, {"Clockify_Hours__c": 1.5917}, True),
        ({"Clockify_Hours__c": None}, {"Clockify_Hours__c": 0.0}, False),
        ({"Clockify_Hours__c": 1.5919}, {"Clockify_Hours__c": 1.5917}, False),
        (
            {"StartDateTime": "2026-11-02T08:30:15.000+0000"},
            {"StartDateTime": "2026-11-02T08:30:15.400Z"},
            True,
        ),
        (
            {"StartDateTime": "2026-11-02T08:30:00.000+0000"},
            {"StartDateTime": "2026-11-02T08:30:15Z"},
            True,
        ),
        (
            {"StartDateTime": "2026-11-02T08:30:10.000+0000"},
            {"StartDateTime": "2026-11-02T08:30:15Z"},
            False,
        ),
        ({"StartDateTime": None}, {"StartDateTime": "2026-11-02T08:30:15Z"}, False),
    ],
)
def test_what_salesforce_makes_of_a_value_is_no_difference(
    stored: dict[str, Any], wanted: dict[str, Any], is_same: bool
) -> None:
    """Line breaks, blanks at the ends, no text, milliseconds and seconds that it drops."""
    assert (differences(stored, wanted) == []) is is_same
