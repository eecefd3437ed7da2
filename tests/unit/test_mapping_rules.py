"""mapping.toml: each key as docs/mapping.md tells it, and each mistake with its line."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import sample
from hypothesis import given
from hypothesis import strategies as st

import mapping
from clockify_salesforce.errors import SettingsError
from clockify_salesforce.mapping_file import MOST_TEXTS, read_rules
from clockify_salesforce.mapping_rules import FieldRule, Link, Rules
from mapping import Ignore, Running, Upsert, Withdraw

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "mapping.md").read_text()


def examples() -> list[tuple[str, dict[str, Any], dict[str, Any] | None]]:
    """The examples of docs/mapping.md: a file, an entry, and what its Event gets or None."""
    blocks = re.findall(r"```(\w+)\n(.*?)```\n((?:\|[^\n]*\n)*)", DOCS, re.DOTALL)
    assert blocks[0][0] == "json"
    usual = json.loads(blocks[0][1])
    found = []
    for language, text, table in blocks[1:]:
        assert language == "toml"
        for entry, event in re.findall(r"^\| (.*?) \| (.*?) \|$", table, re.M):
            if entry != "entry":
                changes = {} if entry == "as above" else json.loads(entry.strip("`"))
                got = None if event == "none" else json.loads(event.strip("`"))
                found.append((text, usual | changes, got))
    return found


EXAMPLES = examples()


def entry(**changes: Any) -> dict[str, Any]:
    """A whole message of the sample, with changes."""
    return sample(**changes)


def decide(file: str, **changes: Any) -> mapping.Decision:
    return mapping.decide("TIME_ENTRY_UPDATED", entry(**changes), rules=read_rules(file))


def event(file: str, **changes: Any) -> dict[str, Any]:
    decision = decide(file, **changes)
    assert isinstance(decision, Upsert)
    return dict(decision.event)


def test_repositorys_file_holds_what_happens_without_it() -> None:
    assert read_rules((ROOT / "mapping.toml").read_text()) == Rules()
    assert read_rules("") == Rules()


def test_every_commented_line_of_the_repositorys_file_may_stand_there() -> None:
    text = (ROOT / "mapping.toml").read_text()
    lines = re.sub(r"^# (?=[\[\w].* = |\[fields\.)", "", text, flags=re.M)
    rules = read_rules(lines)
    assert {"Location", "Cost_Centre__c"} <= {rule.name for rule in rules.fields}
    assert len(rules.only) == 12
    assert len(rules.never) == 2


@pytest.mark.parametrize(("file", "told", "expected"), EXAMPLES)
def test_example_of_the_documentation_gives_its_event(
    file: str, told: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    message = {"id": "64c777ddd3fcab07cfbb210d", "workspaceId": "64a687e29ae1f428e7ebe303"} | told
    rules = read_rules(file)
    decision = mapping.decide("TIME_ENTRY_UPDATED", message, rules=rules)
    cut = mapping.decide("TIME_ENTRY_UPDATED", mapping.essential(message, rules=rules), rules=rules)
    assert cut == decision
    if expected is None:
        assert isinstance(decision, Withdraw)
    else:
        assert isinstance(decision, Upsert)
        assert {name: decision.event[name] for name in expected} == expected


def test_documentation_has_every_key_and_name() -> None:
    reader = (ROOT / "clockify_salesforce" / "mapping_file.py").read_text()
    keys = set(re.findall(r'"([a-z_]+)"', " ".join(re.findall(r"_known\(.*?\)\)", reader, re.S))))
    names = {"{" + name + "}" for name in mapping.NAMES}
    told = [text for text, _, _ in EXAMPLES]
    assert [key for key in keys if key not in DOCS] == []
    assert [name for name in names if name not in DOCS] == []
    assert len(set(told)) == DOCS.count("```toml") - 2  # those of links and people give no field


@pytest.mark.parametrize(
    ("file", "line", "says"),
    [
        ("[fields]\nSubject = ", 2, "Invalid value"),
        ("Subject", 1, "is no TOML"),
        ("[fields]\n[fields]", 2, "twice"),
        ("\n# comment\n[filters]\n", 3, "fields, only, except, projects, clients or people"),
        ("fields = 7", 1, "a table"),
        ("only = 7", 1, "a table"),
        ("[fields]\nSubject = \"{projct}\"", 2, "{project}"),
        ("[fields]\nSubject = \"{\"", 2, "braces"),
        ("[fields]\nSubject = \"}\"", 2, "braces"),
        ("[fields]\nSubject = \"{custom. }\"", 2, "{custom.NAME}"),
        ("[fields]\nSubject = [1]", 2, "a text belongs there"),
        ("[fields]\n\nOwnerId = \"{user}\"", 3, "the integration itself needs"),
        ("[fields]\nownerid = \"{user}\"", 2, "the integration itself needs"),
        ("[fields]\nClockify_Hours__c = \"{hours}\"", 2, "the integration itself needs"),
        ("[fields]\nIsReminderSet = true", 2, "the integration itself needs"),
        ("[fields]\n\"Two words\" = \"x\"", 2, "an API name"),
        ("[fields]\nA__c = \"x\"\na__C = \"y\"", 3, "this is the field A__c again"),
        ("[fields.A__c]\ntype = \"text\"", 1, "it has no value"),
        ("[fields.A__c]\nvalue = \"x\"\nformat = \"y\"", 3, "value, type, default"),
        ("[fields.A__c]\nvalue = \"x\"\ntype = \"string\"", 3, "text, number, checkbox"),
        ("[fields.A__c]\nvalue = \"x\"\ntype = [\"text\"]", 3, "text, number, checkbox"),
        ("[fields.Type]\nvalue = \"x\"\ntype = \"text\"", 3, "Type is of type picklist"),
        ("[fields.A__c]\nvalue = \"x\"\ntype = \"number\"", 2, "a number belongs there"),
        ("[fields.A__c]\nvalue = \"x\"\ntype = \"date\"", 2, "a date belongs there"),
        ("[fields]\nIsPrivate = \"perhaps\"", 2, "a checkbox belongs there"),
        ("[fields.A__c]\nvalue = \"{tags}\"\ndefault = 7", 3, "a text"),
        ("[fields.A__c]\nvalue = \"{tags}\"\ndefault = \"\"", 3, "a text"),
        ("[fields.A__c]\nvalue = \"{hours}\"\ntype = \"number\"\ndefault = true", 4, "a number"),
        ("[fields.A__c]\nvalue = \"{tags}\"\ntype = \"checkbox\"\ndefault = 1", 4, "true or false"),
        ("[fields.A__c]\nvalue = \"{tags}\"\ntype = \"date\"\ndefault = \"x\"", 4, "a day"),
        ("[fields.A__c]\nvalue = \"{tags}\"\ntype = \"picklist\"\ndefault = 1", 4, "a text"),
        ("[fields.A__c]\nvalue = \"{tags}\"\ntranslate = \"x\"", 3, "a table belongs there"),
        ("[fields.A__c]\nvalue = \"{tags}\"\ntranslate = { a = 7 }", 3, "a text"),
        ("[fields.A__c.translate]\na = \"x\"\nA = \"y\"\n[fields.A__c]\nvalue = \"x\"", 3, "twice"),
        ("[fields.A__c]\nvalue = \"{tags}\"\nlength = 3\ndefault = \"none\"", 4, "of 3 characters"),
        ("[fields.A__c]\nvalue = \"x\"\nlength = 0", 3, "from 1 to 32000"),
        ("[fields.A__c]\nvalue = \"x\"\nlength = true", 3, "from 1 to 32000"),
        ("[fields.Subject]\nvalue = \"x\"\nlength = 256", 3, "from 1 to 255"),
        ("[fields.A__c]\nvalue = 7\nlength = 3", 3, "only a field of type text"),
        ("[only]\nprojects = \"x\"", 2, "project, client, task"),
        ("[only]\nproject = 7", 2, "a name or a list of names"),
        ("[only]\nproject = []", 2, "a name or a list of names"),
        ("[only]\nproject = [\"a\",\n  7]", 2, "a name or a list of names"),
        ("[only]\nproject = " + json.dumps(["x"] * (MOST_TEXTS + 1)), 2, "at most"),
        ("[except]\ntype = \"WORK\"", 2, "REGULAR, BREAK, HOLIDAY or TIME_OFF"),
        ("[only]\nbillable = \"yes\"", 2, "true or false"),
        ("[only]\napproved = false", 2, "approved = true may stand in [only]"),
        ("[except]\napproved = true", 2, "approved = true may stand in [only]"),
        ("[only]\nat_least_minutes = \"5\"", 2, "a number of minutes"),
        ("[only]\nat_least_minutes = true", 2, "a number of minutes"),
        ("[only]\nat_most_minutes = -1", 2, "a number of minutes"),
        ("[only]\nat_most_minutes = nan", 2, "a number of minutes"),
        ("[only]\ncustom = \"x\"", 2, "a table"),
        ("[only]\ncustom.\"Cost centre\" = 4711", 2, "a name or a list of names"),
        ("[projects]\nobject = 7", 2, "like Opportunity"),
        ("[projects]\nfield = \"\"", 2, "like Clockify_Project_Id__c"),
        ("[clients]\nobject = \"An Account\"", 2, "like Account"),
        ("[projects]\nname = \"x\"", 2, "object, field or several"),
        ("[projects]\nseveral = 1", 2, "true or false"),
        ("[people]\nunmatched = \"nobody\"", 2, "integration user or no event"),
        ("[people]\nothers = 1", 2, "unmatched may stand there"),
        ('[fields]\n"\\u0041 b" = "x"', 1, "an API name"),
    ],
)  # fmt: skip
def test_mistake_in_the_file_names_its_line(file: str, line: int, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_rules(file)
    assert str(caught.value).startswith(f"mapping.toml, line {line}")
    assert says in str(caught.value)


def test_line_is_found_below_other_kinds_of_lines() -> None:
    file = '# default\n[fields]\nA__c = """default\u2028\n"""\n\n[fields.B__c]\nvalue = "x"\n'
    with pytest.raises(SettingsError, match=r"line 8: fields\.B__c\.default: "):
        read_rules(file + "default = 7")


def test_translations_and_defaults_of_each_type() -> None:
    rules = [
        'N__c = { type = "number", default = 1, translate = { Review = 2.5 }',
        'C__c = { type = "checkbox", default = true, translate = { Review = false }',
        'D__c = { type = "date", default = 2026-11-02, translate = { Review = 2026-01-01 }',
        'P__c = { type = "picklist", default = "x", translate = { Review = "y" }',
    ]
    hours = 'H__c = { value = "{hours}", type = "number", translate = { 1 = 8 } }\n'
    rest = 'R__c = { value = "{hours}", type = "number" }\n'
    file = "[fields]\n" + "".join(f'{rule}, value = "{{task}}" }}\n' for rule in rules)
    file += hours + rest
    names = ("N__c", "C__c", "D__c", "P__c")
    told = event(file)
    assert [told[name] for name in names] == [2.5, False, "2026-01-01", "y"]
    assert (told["H__c"], told["R__c"]) == (1.5917, 1.5917)
    told = event(file, task=None)
    assert [told[name] for name in names] == [1, True, "2026-11-02", "x"]


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("#" * 70_000, "characters"),
        ("a = " + "[" * 30_000, "nested too deep"),
        ("[fields]\n" + "\n".join(f"F{n}__c = 1" for n in range(201)), "200 fields at most"),
        ('[fields]\nA = "', "line 2: "),
    ],
)
def test_file_of_unreasonable_size_is_refused(file: str, says: str) -> None:
    with pytest.raises(SettingsError, match=f"^mapping.toml.*{says}"):
        read_rules(file)


@given(st.text(alphabet='[]{}="#\nabc.019 ', max_size=80) | st.text(max_size=40))
def test_any_text_is_rules_or_a_settings_error(text: str) -> None:
    try:
        rules = read_rules("[fields]\n" + text)
    except SettingsError as error:
        problem = str(error)
    else:
        problem = ""
        assert isinstance(mapping.decide("TIMER_STOPPED", entry(), rules=rules), Upsert)
    assert not problem or problem.startswith("mapping.toml")


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ('[clients]\nobject = ""', (Link("project", "Opportunity", "Clockify_Project_Id__c"),)),
        (
            '[projects]\nobject = "Case"\nfield = "Ids__c"\nseveral = true\n[clients]\nobject = ""',
            (Link("project", "Case", "Ids__c", several=True),),
        ),
    ],
)
def test_links_are_a_value_of_the_rules(file: str, expected: tuple[Link, ...]) -> None:
    assert read_rules(file).links == expected


def test_people_without_a_match_are_a_value_of_the_rules() -> None:
    assert read_rules('[people]\nunmatched = "no event"').unmatched == "no event"
    assert read_rules("").unmatched == "integration user"


def test_event_subject_wins_over_the_files_subject() -> None:
    file = read_rules('[fields]\nSubject = "{project}"')
    rules = Rules(subject=mapping.check_subject("{task}"), fields=file.fields)
    decision = mapping.decide("TIMER_STOPPED", entry(), rules=rules)
    assert isinstance(decision, Upsert)
    assert decision.event["Subject"] == "Review"


def test_rules_tell_what_they_read_and_what_a_picklist_must_know() -> None:
    rules = read_rules(
        '[fields.Type]\nvalue = "{custom.Kind  of work}"\ndefault = "Other"\n'
        'translate = { a = "Call", b = "Call" }\n[fields]\nLocation = "x"\n[only]\ngroup = "Y"'
    )
    assert rules.custom_fields == {"Kind of work"}
    assert {"group", "custom.Kind of work", "type"} <= rules.reads
    choices = {rule.name: rule.choices for rule in rules.fields}
    assert choices["Type"] == ("Call", "Other")
    assert choices["ShowAs"] == ("Busy", "Free", "OutOfOffice")
    assert choices["Location"] == ("x",)


@pytest.mark.parametrize(
    ("value", "kind", "text", "expected"),
    [
        ("{custom.A}", "number", "-1.50", -1.5),
        ("{custom.A}", "number", "1,5", None),
        ("{custom.A}", "number", "1e3", None),
        ("{custom.A}", "number", "nan", None),
        ("{custom.A}", "checkbox", "TRUE", True),
        ("{custom.A}", "checkbox", "no", False),
        ("{custom.A}", "checkbox", "perhaps", None),
        ("{custom.A}", "date", "2026-02-29", None),
        ("{custom.A}", "date", "2024-02-29T10:00:00Z", "2024-02-29"),
        ("{custom.A}", "date", "2024-02-290", None),
        ("{custom.A}", "date", "0999-01-01", None),
        ("{custom.A}", "date", "", None),
        ("{custom.A}", "picklist", "x", "x"),
        ("{custom.A}-{task}", "picklist", "x", "x-Review"),
        ("{type}", "picklist", "x", "REGULAR"),
        ("{custom.A}", "text", "x" * 300, "x" * 254 + "…"),
        ("{custom.A}", "text", "🙂" * 200, "🙂" * 127 + "…"),
        ("{custom.A}", "text", "two\nlines", "two lines"),
        ("%s {custom.A} %", "text", "5 %", "%s 5 % %"),
        ("{custom.A}{custom.A}", "text", "x", "xx"),
        ("({custom.A})", "text", "", "()"),
        ("- {custom.A} -", "text", "", None),
    ],
)
def test_field_of_a_kind_gets_a_value_of_it_or_none(
    value: str, kind: Any, text: str, expected: Any
) -> None:
    rules = Rules(fields=(FieldRule("A__c", value, kind),))
    custom = [{"name": "A", "value": text}]
    decision = mapping.decide("TIMER_STOPPED", entry(customFieldValues=custom), rules=rules)
    assert isinstance(decision, Upsert)
    assert decision.event["A__c"] == expected


def test_what_an_entry_says_is_no_template() -> None:
    file = '[fields]\nSubject = "{description} {project}"'
    assert event(file, description="{project} %s {{")["Subject"] == (
        "{project} %s {{ Website relaunch"
    )


@pytest.mark.parametrize("length", [10, 255])
def test_no_text_of_an_event_is_a_reference_of_a_composite_call(length: int) -> None:
    file = '[fields]\nA__c = "@{project}"\nB__c = "{task}{project}"\nC__c = "@{{x}}"'
    name = "{A.id}".ljust(length - 1, "x")
    told = event(file, project={"name": name}, task={"name": "y@"}, description="@{A.id}")
    assert [key for key, value in told.items() if "@{" in str(value)] == []
    assert told["A__c"] == "@(" + name[1:]
    assert str(told["Description"]).startswith("@ {A.id}")
    assert len(str(told["B__c"])) <= 255


def test_long_description_gives_way_to_what_stands_around_it() -> None:
    file = '[fields]\nDescription = "Top\\n{description}\\n{details}"'
    text = str(event(file, description="d" * 40_000)["Description"])
    assert len(text) + text.count("\n") <= 32_000
    assert text.startswith("Top\nddd")
    assert text.endswith("Logged by: Ada Lindqvist")


def test_text_around_alone_is_too_long_and_cut() -> None:
    file = '[fields.A__c]\nvalue = "{description}' + "x" * 400 + '"\nlength = 300'
    assert event(file)["A__c"] == "…" + "x" * 298 + "…"


@pytest.mark.parametrize("has_details", [True, False])
def test_over_24_hours_tells_the_span_in_any_description(has_details: bool) -> None:
    interval = {"start": "2026-11-02T08:00:00Z", "end": "2026-11-04T10:30:00Z"}
    value = "{description}\\n{details}" if has_details else "{description}"
    decision = decide(f'[fields]\nDescription = "{value}"', timeInterval=interval)
    assert isinstance(decision, Upsert)
    assert decision.shortened is not None
    lines = str(decision.shortened["Description"]).split("\n")
    assert lines[:2] == [
        "Review of the checkout flow",
        "Whole span: 2026-11-02T08:00:00Z to 2026-11-04T10:30:00Z (50.5 h)",
    ]
    assert (lines[-1] == "Logged by: Ada Lindqvist") is has_details


@pytest.mark.parametrize(
    ("text", "like", "expected"),
    [
        ("website", "web*", True),
        ("website", "*site", True),
        ("website", "*b*i*", True),
        ("website", "w*b*e", True),
        ("website", "*", True),
        ("", "*", False),
        ("website", "*web", False),
        ("website", "site*", False),
        ("website", "w*x*e", False),
        ("aba", "ab*ba", False),
        ("abba", "ab*ba", True),
    ],
)
def test_star_stands_for_anything(text: str, like: str, expected: bool) -> None:
    decision = decide(f'[only]\ndescription = "{like}"', description=text)
    assert isinstance(decision, Upsert if expected else Withdraw)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ('[only]\ntype = "REGULAR"', {"type": None}),
        ('[except]\ntype = "BREAK"', {"type": ...}),
        ('[only]\ncustom.A = "x"', {"customFieldValues": ...}),
        ('[except]\ncustom.A = ""', {"customFieldValues": None}),
        ('[only]\ngroup = "x"', {}),
        ('[only]\nperson = "Ada*"', {"user": {"name": "DeletedUser"}}),
    ],
)
def test_filter_on_what_is_not_told_leaves_all_as_it_is(file: str, changes: Any) -> None:
    decision = decide(file, **changes)
    assert isinstance(decision, Ignore)
    assert decision.warning


def test_filter_that_is_sure_decides_also_where_another_is_not() -> None:
    file = '[only]\ntype = "REGULAR"\nproject = "Other"'
    assert isinstance(decide(file, type=None), Withdraw)


def test_person_named_by_id_matches_also_when_the_name_is_lost() -> None:
    file = '[only]\nperson = "5a0ab5acb07987125438b60f"'
    assert isinstance(decide(file, user={"name": "DeletedUser"}), Upsert)


@pytest.mark.parametrize(
    ("value", "changes"),
    [
        ("{type}", {"type": None}),
        ("{custom.A} {project}", {"customFieldValues": ...}),
        ("{user}", {"user": {"name": "DeletedUser"}}),
    ],
)
def test_field_that_reads_what_is_not_told_is_for_a_new_event_only(
    value: str, changes: Any
) -> None:
    decision = decide(f'[fields.A__c]\nvalue = "{value}"\ndefault = "none"', **changes)
    assert isinstance(decision, Upsert)
    assert "A__c" not in decision.event
    assert decision.on_create["A__c"]


def test_running_entry_is_running_whatever_the_filters_say() -> None:
    running = mapping.decide(
        "TIME_ENTRY_UPDATED", sample("NEW_TIMER_STARTED"), rules=read_rules('[only]\nproject="x"')
    )
    assert isinstance(running, Running)


FILES = [
    read_rules(text)
    for text in (
        "",
        '[only]\ncustom.A = ["x", ""]\n[fields]\nA__c = "{custom.A} {custom.B}"',
        '[except]\ntag = ["x*"]\n[fields.T__c]\nvalue = "{tags}"\ntype = "picklist"',
        '[only]\ngroup = ["x"]\nperson = ["Ada*", "u1"]',
        '[fields.D__c]\nvalue = "{description}{details}"\nlength = 32000',
        '[only]\napproved = true\nbillable = true\ntype = ["REGULAR", "BREAK"]',
    )
]
WORDS = st.sampled_from(["x", "xy", "", " x ", "🙂" * 9000, "x\ud800", "\x00", 'q"\\' * 20_000])
THINGS = st.fixed_dictionaries({}, optional={"id": WORDS, "name": WORDS, "value": WORDS})
CUSTOM = st.fixed_dictionaries(
    {"name": st.sampled_from(["A", "B", "C", "🙂" * 300])},
    optional={"value": WORDS | st.booleans() | st.floats() | st.lists(WORDS, max_size=3)},
)
MESSAGES = st.fixed_dictionaries(
    {
        "id": st.just("64c777ddd3fcab07cfbb210d"),
        "timeInterval": st.just({"start": "2026-11-02T08:30:00Z", "end": "2026-11-04T08:30:00Z"}),
    },
    optional={
        "description": WORDS,
        "type": st.sampled_from(["REGULAR", "BREAK", None]),
        "approvalStatus": st.sampled_from(["APPROVED", "PENDING", None]),
        "billable": st.booleans() | st.none(),
        "tags": st.lists(THINGS, max_size=60) | st.none(),
        "tagIds": st.lists(WORDS, max_size=3),
        "customFieldValues": st.lists(CUSTOM, max_size=60) | st.none(),
        "groupsOfUser": st.lists(WORDS, max_size=9) | st.none(),
        "user": st.fixed_dictionaries({"name": WORDS, "email": WORDS}),
        "project": st.fixed_dictionaries({"name": WORDS, "clientName": WORDS}),
        "task": THINGS,
    },
)


@given(rules=st.sampled_from(FILES), message=MESSAGES)
def test_message_of_any_size_is_decided_the_same_out_of_the_queue(
    rules: Rules, message: dict[str, Any]
) -> None:
    kept = mapping.essential(message, rules=rules)
    decided = mapping.decide("TIMER_STOPPED", message, rules=rules)
    assert mapping.decide("TIMER_STOPPED", kept, rules=rules) == decided
    assert len(json.dumps(kept, ensure_ascii=False).encode()) <= 96_000


def test_custom_field_that_a_rule_names_is_kept_whatever_stands_before_it() -> None:
    others = [{"name": f"Other {n}", "value": "y" * 1000} for n in range(500)]
    message = entry(customFieldValues=[*others, {"name": "A", "value": "x"}])
    rules = read_rules('[only]\ncustom.A = "x"')
    kept = mapping.essential(message, rules=rules)
    assert isinstance(mapping.decide("TIMER_STOPPED", kept, rules=rules), Upsert)
    assert isinstance(mapping.decide("TIMER_STOPPED", message, rules=rules), Upsert)
