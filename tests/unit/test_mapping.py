"""mapping.py: values in, decisions out; every row of what an Event looks like."""

import json
from typing import Any

import pytest
from conftest import sample
from hypothesis import given
from hypothesis import strategies as st

import mapping
from clockify_salesforce.errors import BadMessage, IntegrationError, UnusableEntry
from clockify_salesforce.mapping_rules import Rules
from mapping import Delete, Ignore, Running, Upsert

# The sample that Clockify's test button sends: https://clockify.me/help/integrations/webhooks
TEST_ID = "5f118c837db7a8637ffcaf36"


def between(start: Any, end: Any) -> dict[str, Any]:
    return {"timeInterval": {"start": start, "end": end}}


def upsert(subject: str = "Clockify", **changes: Any) -> Upsert:
    decision = mapping.decide("TIMER_STOPPED", sample(**changes), rules=Rules(subject=subject))
    assert isinstance(decision, Upsert)
    return decision


def units(text: object) -> int:
    return len(str(text).encode("utf-16-le")) // 2


def test_sample_entry_becomes_the_whole_event() -> None:
    decision = upsert()
    assert decision == Upsert(
        entry_id="64c777ddd3fcab07cfbb210d",
        event={
            "Subject": "Clockify",
            "StartDateTime": "2026-11-02T08:30:00Z",
            "EndDateTime": "2026-11-02T10:05:30Z",
            "Description": "Review of the checkout flow\nProject: Website relaunch"
            " (Northwind GmbH)\nTask: Review\nTags: on site\nBillable: yes\n"
            "Logged by: Ada Lindqvist",
            "ShowAs": "Busy",
            "Clockify_Hours__c": 1.5917,
            "Clockify_Project__c": "Website relaunch",
            "Clockify_Client__c": "Northwind GmbH",
            "Clockify_Task__c": "Review",
            "Clockify_Tags__c": "on site",
            "Clockify_Billable__c": True,
            "Clockify_Workspace_Id__c": "64a687e29ae1f428e7ebe303",
            "Clockify_Type__c": "REGULAR",
        },
        on_create={"IsReminderSet": False},
        user_id="5a0ab5acb07987125438b60f",
        project_id="64c777ddd3fcab07cfbb211d",
        client_id="64c777ddd3fcab07cfbb210c",
        workspace_id="64a687e29ae1f428e7ebe303",
    )


@pytest.mark.parametrize(
    ("event_type", "expected"),
    [
        ("TIMER_STOPPED", Upsert),
        ("NEW_TIME_ENTRY", Upsert),
        ("TIME_ENTRY_UPDATED", Upsert),
        ("TIME_ENTRY_RESTORED", Upsert),
        ("TIME_ENTRY_SPLIT", Upsert),
        (None, Upsert),
        ("TIME_ENTRY_DELETED", Delete),
        ("TIME_ENTRY_BATCH_DELETED", Delete),
        ("NEW_TIMER_STARTED", Ignore),
        ("TAG_CREATED", Ignore),
        ("timer_stopped", Ignore),
        ("", Ignore),
    ],
)
def test_event_type_decides(event_type: str | None, expected: type) -> None:
    assert type(mapping.decide(event_type, sample())) is expected


@pytest.mark.parametrize("name", ["USER_JOINED_WORKSPACE", "EXPENSE_CREATED", "APPROVAL_REQUEST"])
def test_other_kinds_are_ignored(name: str) -> None:
    assert isinstance(mapping.decide(name, {"id": "64c777ddd3fcab07cfbb210c"}), Ignore)


@pytest.mark.parametrize("event_type", [*sorted(mapping.UPSERTS), None])
@pytest.mark.parametrize("end", [None, ...])
def test_entry_without_end_is_running(event_type: str | None, end: Any) -> None:
    interval = {"start": "2026-11-02T08:30:00Z"} | ({} if end is ... else {"end": end})
    decision = mapping.decide(event_type, sample(timeInterval=interval))
    assert decision == Running("64c777ddd3fcab07cfbb210d")


def test_started_timer_is_ignored() -> None:
    decision = mapping.decide("NEW_TIMER_STARTED", sample("NEW_TIMER_STARTED"))
    assert isinstance(decision, Ignore)
    assert not decision.warning


@pytest.mark.parametrize("event_type", [*sorted(mapping.UPSERTS), None])
def test_clockifys_test_message_is_ignored(event_type: str | None) -> None:
    entry = sample(id=TEST_ID, description="Webhook Test Description")
    assert isinstance(mapping.decide(event_type, entry), Ignore)


@pytest.mark.parametrize("event_type", sorted(mapping.DELETES))
def test_clockifys_test_message_of_a_deletion_is_a_deletion(event_type: str) -> None:
    entry = sample(id=TEST_ID, description="Webhook Test Description")
    assert mapping.decide(event_type, entry) == Delete(TEST_ID)


@pytest.mark.parametrize(
    "entry",
    [
        sample(description="Webhook Test Description"),
        sample(id=TEST_ID, description="Webhook Test Description 2"),
        sample(id=TEST_ID[:8], description="Webhook Test Description"),
    ],
)
def test_entry_of_a_person_is_no_test_message(entry: Any) -> None:
    assert isinstance(mapping.decide("TIMER_STOPPED", entry), Upsert)


@pytest.mark.parametrize(
    ("event_type", "entry", "shown"),
    [
        ("TIME_ENTRY_MOVED", sample(), "TIME_ENTRY_MOVED"),
        ("timer_stopped", sample(), "timer_stopped"),
        ("", sample(), "type ,"),
        ("RESEND", sample("NEW_TIMER_STARTED"), "RESEND"),
        ("A\nB\x1b" + "C" * 10_000, sample(), "A?B?" + "C" * 60 + ","),
    ],
)
def test_time_entry_of_an_unknown_type_is_ignored_with_a_warning(
    event_type: str, entry: Any, shown: str
) -> None:
    decision = mapping.decide(event_type, entry)
    assert isinstance(decision, Ignore)
    assert decision.warning
    assert decision.entry_id == "64c777ddd3fcab07cfbb210d"
    assert shown in decision.reason


@pytest.mark.parametrize(
    "entry", [None, 7, [], {}, sample(id=7), sample(timeInterval=7), sample(timeInterval={})]
)
def test_anything_else_of_an_unknown_type_is_ignored_in_silence(entry: Any) -> None:
    decision = mapping.decide("SOMETHING_NEW", entry)
    assert isinstance(decision, Ignore)
    assert not decision.warning


@pytest.mark.parametrize(
    ("interval", "finished"),
    [
        ({"start": "2026-11-02T08:30:00Z", "end": None}, False),
        ({"start": "2026-11-02T08:30:00Z", "end": "2026-11-02T09:30:00Z"}, True),
        (None, True),
    ],
)
def test_deleted_entry_tells_whether_it_was_finished(interval: Any, finished: bool) -> None:
    decision = mapping.decide("TIME_ENTRY_DELETED", sample(timeInterval=interval))
    assert decision == Delete("64c777ddd3fcab07cfbb210d", finished=finished)


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (None, "body"),
        (7, "body"),
        ([], "body"),
        ("x", "body"),
        (sample(id=...), "id"),
        (sample(id=None), "id"),
        (sample(id=7), "id"),
        (sample(id=""), "id"),
        (sample(id="a'b"), "id"),
        (sample(id="a/b"), "id"),
        (sample(id=".."), "id"),
        (sample(id="a" * 300), "id"),
        (sample(timeInterval=...), "timeInterval"),
        (sample(timeInterval=None), "timeInterval"),
        (sample(timeInterval=[]), "timeInterval"),
        (sample(**between(None, "2026-11-02T08:30:00Z")), "timeInterval.start"),
        (sample(**between("yesterday", None)), "timeInterval.start"),
        (sample(**between("2026-11-02T08:30:00", None)), "timeInterval.start"),
        (sample(**between("2026-11-02T08:30:00Z", 7)), "timeInterval.end"),
        (sample(**between("2026-11-02T08:30:00Z" + " " * 64, None)), "timeInterval.start"),
        (sample(**between("2026-11-02T08:30:00Z", "half \ud83d")), "timeInterval.end"),
    ],
)
def test_malformed_entry_raises_bad_message_naming_the_field(entry: Any, field: str) -> None:
    with pytest.raises(BadMessage, match=f"^(the )?{field}\\b") as caught:
        mapping.decide("TIMER_STOPPED", entry)
    assert not isinstance(caught.value, UnusableEntry)


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        ("2026-11-02T08:30:00Z", "2026-11-02T08:29:59Z", "timeInterval.end"),
        ("0001-01-01T00:00:00Z", "0001-01-01T01:00:00Z", "timeInterval.start"),
        ("0001-01-01T00:00:00+14:00", None, "timeInterval.start"),
        ("9999-12-31T23:59:59-14:00", None, "timeInterval.start"),
        ("2026-11-02T08:30:00Z", "9999-12-31T00:00:00Z", "timeInterval.end"),
    ],
)
def test_entry_that_no_repeat_makes_right_is_unusable(start: str, end: Any, field: str) -> None:
    with pytest.raises(UnusableEntry, match=f"^{field}\\b") as caught:
        mapping.decide("TIMER_STOPPED", sample(**between(start, end)))
    assert caught.value.entry_id == "64c777ddd3fcab07cfbb210d"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"id": NaN}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"id=7&start=8",
        b'{"id": ' + b"9" * 5000 + b"}",
    ],
    ids=["empty", "cut", "not utf-8", "bom", "nan", "deep list", "deep", "form", "long number"],
)
def test_malformed_body_raises_bad_message(body: bytes) -> None:
    with pytest.raises(BadMessage, match="JSON"):
        mapping.parse(body)


@pytest.mark.parametrize(
    ("event_type", "message", "entries"),
    [
        ("TIMER_STOPPED", {"id": "a"}, [{"id": "a"}]),
        ("TIMER_STOPPED", [{"id": "a"}], [[{"id": "a"}]]),
        ("TIME_ENTRY_SPLIT", {"id": "a"}, [{"id": "a"}]),
        ("TIME_ENTRY_SPLIT", [{"id": "a"}, {"id": "b"}], [{"id": "a"}, {"id": "b"}]),
        ("TIME_ENTRY_BATCH_DELETED", {"id": "a"}, [{"id": "a"}]),
        ("TIME_ENTRY_BATCH_DELETED", ["a", "b"], [{"id": "a"}, {"id": "b"}]),
        ("TIME_ENTRY_BATCH_DELETED", [{"id": "a"}, "b"], [{"id": "a"}, {"id": "b"}]),
        ("TIME_ENTRY_BATCH_DELETED", {"ids": ["a"], "n": 1}, [{"id": "a"}]),
        ("TIME_ENTRY_BATCH_DELETED", {"timeEntries": [{"id": "a"}]}, [{"id": "a"}]),
        ("TIME_ENTRY_BATCH_DELETED", {"a": [], "b": []}, [{"a": [], "b": []}]),
        ("TIME_ENTRY_BATCH_DELETED", 7, [7]),
    ],
)
def test_message_splits_into_entries(event_type: str, message: Any, entries: Any) -> None:
    assert mapping.entries(event_type, message) == entries


@pytest.mark.parametrize(
    ("start", "end", "written"),
    [
        ("2026-11-02T08:30:00Z", "2026-11-02T08:30:00Z", "2026-11-02T08:30:00Z"),
        ("2026-11-02T09:30:00+01:00", "2026-11-02T10:30:00+01:00", "2026-11-02T08:30:00Z"),
        ("2026-11-02T08:30:00.250Z", "2026-11-02T09:30:00Z", "2026-11-02T08:30:00.250Z"),
        ("2026-11-02T00:30:00-08:00", "2026-11-02T09:30:00Z", "2026-11-02T08:30:00Z"),
    ],
)
def test_start_keeps_the_instant(start: str, end: str, written: str) -> None:
    assert upsert(**between(start, end)).event["StartDateTime"] == written


def test_over_24_hours_has_a_shortened_form_that_tells_the_span() -> None:
    decision = upsert(**between("2026-11-02T08:00:00Z", "2026-11-04T10:30:00Z"))
    assert decision.event["EndDateTime"] == "2026-11-04T10:30:00Z"
    assert decision.event["Clockify_Hours__c"] == 50.5
    assert decision.shortened is not None
    assert decision.shortened["EndDateTime"] == "2026-11-03T08:00:00Z"
    assert "2026-11-02T08:00:00Z to 2026-11-04T10:30:00Z (50.5 h)" in str(
        decision.shortened["Description"]
    )


def test_24_hours_has_no_shortened_form() -> None:
    assert upsert(**between("2026-11-02T08:00:00Z", "2026-11-03T08:00:00Z")).shortened is None


@pytest.mark.parametrize(
    ("description", "shown"),
    [
        (None, ""),
        ("", ""),
        (7, ""),
        ("two\r\nlines\rand a third", "two\nlines\nand a third"),
        ("tab\tstays, \x00\x07 do not", "tab\tstays,  do not"),
        ("<b>bold</b> 🙂", "<b>bold</b> 🙂"),
        ("half \ud83d", "half \ufffd"),
    ],
)
def test_description_stays_readable(description: Any, shown: str) -> None:
    event = upsert(
        description=description, project=None, task=None, tags=None, user=None, billable=None
    ).event
    assert event["Description"] == shown


@pytest.mark.parametrize("char", ["x", "🙂", "\n", "中", '"'])
def test_long_texts_are_cut_to_what_salesforce_counts(char: str) -> None:
    event = upsert("{description}", description="a" + char * 40_000 + "z").event
    assert units(event["Subject"]) <= 255
    assert char == "\n" or str(event["Subject"]).endswith("…")
    assert units(event["Description"]) + str(event["Description"]).count("\n") <= 32_000
    assert str(event["Description"]).endswith("Logged by: Ada Lindqvist")


@pytest.mark.parametrize("missing", [None, ..., [], 7, "x", {}])
@pytest.mark.parametrize("field", ["user", "project", "task", "tags", "type", "billable"])
def test_optional_field_missing_or_odd_still_becomes_an_event(field: str, missing: Any) -> None:
    assert upsert(**{field: missing}).entry_id


def test_cleared_names_clear_their_fields() -> None:
    event = upsert(project=None, task=None, tags=[], billable=False).event
    for field in ("Project", "Client", "Task", "Tags"):
        assert event[f"Clockify_{field}__c"] is None
    assert event["Clockify_Billable__c"] is False
    assert "Billable: no" in str(event["Description"])


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("REGULAR", "Busy"),
        ("BREAK", "Free"),
        ("HOLIDAY", "OutOfOffice"),
        ("TIME_OFF", "OutOfOffice"),
    ],
)
def test_type_decides_show_as(kind: str, shown: str) -> None:
    decision = upsert(type=kind)
    assert decision.event["ShowAs"] == shown
    assert decision.event["Clockify_Type__c"] == kind
    assert decision.on_create == {"IsReminderSet": False}


@pytest.mark.parametrize("kind", [None, ..., "", "SICKNESS", 7])
def test_unknown_type_changes_nothing_of_an_event_that_is_there(kind: Any) -> None:
    decision = upsert(type=kind)
    assert not {"ShowAs", "Clockify_Type__c"} & decision.event.keys()
    assert decision.on_create == {"IsReminderSet": False, "ShowAs": "Busy"}


@pytest.mark.parametrize(
    ("workspace", "known"),
    [
        ("64a687e29ae1f428e7ebe303", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("../../users", False),
        ("a/b", False),
        ("a?b", False),
        ("é", False),
        ("", False),
        (7, False),
        (None, False),
        (..., False),
    ],
)
def test_only_a_well_formed_workspace_id_counts(workspace: Any, known: bool) -> None:
    expected = workspace if known else None
    decision = upsert(workspaceId=workspace)
    assert decision.workspace_id == expected
    assert decision.event["Clockify_Workspace_Id__c"] == expected


@pytest.mark.parametrize(
    ("template", "changes", "subject"),
    [
        ("Clockify", {}, "Clockify"),
        ("{project}: {description}", {}, "Website relaunch: Review of the checkout flow"),
        ("{project}: {description}", {"project": None}, "Review of the checkout flow"),
        ("{description}", {"description": "a\nb"}, "a b"),
        ("{description}", {"description": ""}, "Clockify"),
        ("{user}, {task}, {tags}, {client}", {}, "Ada Lindqvist, Review, on site, Northwind GmbH"),
        ("{description}", {"description": "{project.__class__}"}, "{project.__class__}"),
    ],
)
def test_template_makes_the_subject(template: str, changes: Any, subject: str) -> None:
    assert upsert(mapping.check_subject(template), **changes).event["Subject"] == subject


@pytest.mark.parametrize("template", ["{", "{}", "{nobody}", "{user.name}", "{user!r}", "{user:9}"])
def test_wrong_template_raises(template: str) -> None:
    with pytest.raises(IntegrationError, match="EVENT_SUBJECT"):
        mapping.check_subject(template)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("006Kj00000A1b2cIAB", "006Kj00000A1b2cIAB"),
        ("006Kj00000A1b2c", "006Kj00000A1b2cIAB"),
        ("006Kj00000A1b2cIAC", None),
        ("006kj00000a1b2cIAB", None),
        ("006Kj00000A1b2", None),
        ("006Kj00000A1b2c!", None),
    ],
)
def test_salesforce_id_checksum_is_verified(text: str, found: str | None) -> None:
    assert mapping.salesforce_id(text) == found


@pytest.mark.parametrize(
    ("description", "record"),
    [
        ("#006Kj00000A1b2cIAB Northwind renewal", "006Kj00000A1b2cIAB"),
        ("#006Kj00000A1b2c", "006Kj00000A1b2cIAB"),
        ("#006Kj00000A1b2cIAC wrong", None),
        ("see #006Kj00000A1b2cIAB", None),
        ("#006Kj00000A1b2cIABx", None),
        ("#7 fix", None),
    ],
)
def test_browser_extensions_mark_is_the_record(description: str, record: str | None) -> None:
    assert upsert(description=description).record_id == record


@pytest.mark.parametrize(
    ("user", "email"),
    [
        ({"email": "Ada@Example.COM"}, "ada@example.com"),
        ({"email": None}, None),
        ({"email": "x" * 300}, None),
        (None, None),
    ],
)
def test_users_email_is_folded(user: Any, email: str | None) -> None:
    assert upsert(user=user).user_email == email


def test_ids_come_from_nested_objects_too() -> None:
    decision = upsert(
        userId=None,
        projectId=...,
        user={"id": "u1"},
        project={"id": "p1", "client": {"id": "c1", "name": "ACME"}},
    )
    assert (decision.user_id, decision.project_id, decision.client_id) == ("u1", "p1", "c1")
    assert decision.event["Clockify_Client__c"] == "ACME"


TEXTS = st.one_of(
    st.none(),
    st.text(max_size=50),
    st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=3), st.just(33_000)),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["64c777ddd3fcab07cfbb210d", "", 7]) | VALUES,
        "workspaceId": VALUES,
        "description": TEXTS,
        "billable": VALUES,
        "type": st.sampled_from(["BREAK", "REGULAR"]) | VALUES,
        "userId": VALUES,
        "timeInterval": VALUES
        | st.fixed_dictionaries(
            {"start": st.just("2026-11-02T08:30:00Z")},
            optional={"end": st.sampled_from(["2026-11-02T09:30:00Z", "2026-11-09T09:30:00Z"])},
        ),
        "project": VALUES | st.fixed_dictionaries({"name": TEXTS, "clientName": TEXTS}),
        "task": VALUES | st.fixed_dictionaries({"name": TEXTS}),
        "tags": VALUES | st.lists(st.fixed_dictionaries({"name": TEXTS}), max_size=3),
        "user": VALUES | st.fixed_dictionaries({"name": TEXTS, "email": TEXTS}),
    },
)
TYPES = st.sampled_from(sorted(mapping.UPSERTS | mapping.DELETES)) | st.none()


def decided(event_type: str | None, entry: Any) -> object:
    try:
        return mapping.decide(event_type, entry)
    except BadMessage as error:
        return str(error)


@pytest.mark.parametrize(
    "entry",
    [
        sample(),
        sample("NEW_TIME_ENTRY"),
        sample("NEW_TIMER_STARTED"),
        sample("TIME_ENTRY_UPDATED", type="BREAK", billable=False),
        sample(timeInterval=None, billable=None, workspaceId=7),
        sample(timeInterval=...),
        None,
    ],
)
@pytest.mark.parametrize("event_type", ["TIMER_STOPPED", "TIME_ENTRY_DELETED"])
def test_sample_is_decided_the_same_when_reduced_to_its_essentials(
    event_type: str, entry: Any
) -> None:
    assert decided(event_type, mapping.essential(entry)) == decided(event_type, entry)


@given(event_type=TYPES, entry=ENTRIES | VALUES)
def test_any_entry_is_decided_the_same_when_reduced_to_its_essentials(
    event_type: str | None, entry: Any
) -> None:
    reduced = mapping.essential(entry)
    assert decided(event_type, reduced) == decided(event_type, entry)
    assert mapping.essential(reduced) == reduced
    assert len(json.dumps(reduced, ensure_ascii=False).encode()) <= 96_000


HELD = "Old words\nProject: Old\nLogged by: Ada Lindqvist"
WITHOUT = "Review of the checkout flow\nProject: Website relaunch (Northwind GmbH)\nTask: Review"


@pytest.mark.parametrize(
    ("name", "held", "told"),
    [
        ("DeletedUser", HELD, "Ada Lindqvist"),
        ("DeletedUser", "Logged by: Ada Lindqvist", "Ada Lindqvist"),
        ("DeletedUser", None, "DeletedUser"),
        ("DeletedUser", "", "DeletedUser"),
        ("DeletedUser", "Old words", "DeletedUser"),
        (None, HELD, "Ada Lindqvist"),
        (None, "Old words", None),
        ("Grace Hopper", HELD, "Grace Hopper"),
    ],
)
def test_person_deleted_in_clockify_keeps_the_name_that_is_known(
    name: Any, held: str | None, told: str | None
) -> None:
    span = between("2026-11-02T08:30:00Z", "2026-11-04T08:30:00Z")
    decision = upsert(user={"name": name}, tags=None, billable=None, **span)
    known = mapping.with_known_name(decision, held)
    line = f"\nLogged by: {told}" if told else ""
    assert known.event["Description"] == WITHOUT + line
    assert known.shortened is not None
    assert str(known.shortened["Description"]).endswith("Task: Review" + line)
    assert {**known.event, "Description": ""} == {**decision.event, "Description": ""}


def test_name_that_is_known_comes_back_where_nothing_else_is_told() -> None:
    decision = upsert(description="", project=None, task=None, tags=None, billable=None, user=None)
    known = mapping.with_known_name(decision, HELD)
    assert known.event["Description"] == "Logged by: Ada Lindqvist"
    assert known.shortened is None
