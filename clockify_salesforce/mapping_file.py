"""Read mapping.toml: what a company chooses about its Events, as `mapping_rules.Rules`.

Pure and strict: text in, rules out. Whatever is not known, of the wrong kind or needed by the
integration itself is an error that names the line, what is wrong, and what could stand there.
docs/mapping.md tells each key with an example. https://toml.io/en/v1.0.0
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

from clockify_salesforce.errors import SettingsError
from clockify_salesforce.mapping_rules import (
    CONDITIONS,
    CUSTOM,
    DEFAULT_FIELDS,
    DEFAULT_LINKS,
    Accounts,
    Alerts,
    Condition,
    Field,
    FieldRule,
    Kind,
    Link,
    Rules,
    Unmatched,
    as_date,
    template,
)
from clockify_salesforce.time_entry import LONG_TEXT_LIMIT, TEXT_LIMIT, TYPES, length

FILE = "mapping.toml"
LARGEST_FILE = 64 * 1024  # characters
MOST_FIELDS, MOST_TEXTS = 200, 1000

Json = Any  # what tomllib.loads gives
Choice = TypeVar("Choice", bound=str)
Path = tuple[str, ...]

# Fields of Event whose kind and length are known.
# https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_event.htm
STANDARD: Mapping[str, tuple[Kind, int]] = {
    "Subject": ("text", TEXT_LIMIT),
    "Description": ("text", LONG_TEXT_LIMIT),
    "Location": ("text", TEXT_LIMIT),
    "ShowAs": ("picklist", TEXT_LIMIT),
    "Type": ("picklist", TEXT_LIMIT),
    "IsPrivate": ("checkbox", 0),
    "IsVisibleInSelfService": ("checkbox", 0),
    "CurrencyIsoCode": ("picklist", TEXT_LIMIT),
}
# Those that the integration writes itself, and those that nobody may write.
RESERVED = frozenset(
    name.lower()
    for name in (
        *("Id", "OwnerId", "WhatId", "WhoId", "AccountId", "WhatCount", "WhoCount"),
        *("StartDateTime", "EndDateTime", "DurationInMinutes", "ActivityDate"),
        *("ActivityDateTime", "EndDate", "IsAllDayEvent", "IsReminderSet", "ReminderDateTime"),
        *("IsDeleted", "IsChild", "IsGroupEvent", "GroupEventType", "IsArchived", "IsRecurrence"),
        *("CreatedById", "CreatedDate", "LastModifiedById", "LastModifiedDate", "SystemModstamp"),
        *("Clockify_Time_Entry_Id__c", "Clockify_Workspace_Id__c", "Clockify_Type__c"),
        *("Clockify_Hours__c", "Clockify_Project__c", "Clockify_Client__c", "Clockify_Task__c"),
        *("Clockify_Tags__c", "Clockify_Billable__c", "Clockify_Links__c"),
    )
)
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
_KINDS: tuple[Kind, ...] = get_args(Kind)
_UNMATCHED: tuple[Unmatched, ...] = get_args(Unmatched)
_ALERTS: tuple[Alerts, ...] = get_args(Alerts)
_SOURCES: Mapping[str, Literal["project", "client"]] = {"projects": "project", "clients": "client"}


def read_rules(text: str, *, file: str = FILE) -> Rules:
    """Read the rules out of the file's text; raise SettingsError naming the line.

    What the file leaves out is as `Rules()` has it.
    """
    return _Reader(text, file).rules()


class _Reader:
    """One reading of a file: each method reads one part of it."""

    def __init__(self, text: str, file: str) -> None:
        self._text, self._file = text, file

    def rules(self) -> Rules:
        """Read all of it."""
        if len(self._text) > LARGEST_FILE:
            raise SettingsError(
                f"{self._file} has more than {LARGEST_FILE:,} characters: shorten it"
            )
        try:
            told = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{self._file}, {self._place(error)}") from None
        except RecursionError:
            raise SettingsError(f"{self._file} is nested too deep: shorten it") from None
        self._known((), told, ("fields", "only", "except", "projects", "clients", "people"))
        return Rules(
            fields=self._fields(self._table(("fields",), told)),
            only=self._conditions("only", told),
            never=self._conditions("except", told),
            links=tuple(
                link for part in ("projects", "clients") for link in self._link(part, told)
            ),
            unmatched=self._unmatched(self._table(("people",), told)),
            accounts=self._accounts(self._table(("clients",), told)),
        )

    # Fields ----------------------------------------------------------------------------------

    def _fields(self, told: Mapping[str, Json]) -> tuple[FieldRule, ...]:
        if len(told) > MOST_FIELDS:
            raise self._wrong(("fields",), f"{MOST_FIELDS} fields at most may stand there")
        rules = {rule.name: rule for rule in DEFAULT_FIELDS}
        seen: dict[str, str] = {}
        for name, value in told.items():
            path = ("fields", name)
            if not _FIELD_NAME.fullmatch(name):
                raise self._wrong(path, "an API name of a field of Event belongs there")
            if name.lower() in RESERVED:
                raise self._wrong(path, "the integration itself needs this field: take another")
            if name.lower() in seen:
                raise self._wrong(path, f"this is the field {seen[name.lower()]} again: keep one")
            seen[name.lower()] = name
            standard = next((known for known in STANDARD if known.lower() == name.lower()), name)
            rules[standard] = self._field(path, standard, value)
        return tuple(rules.values())

    def _field(self, path: Path, name: str, told: Json) -> FieldRule:
        if not isinstance(told, dict):
            told = {"value": told}
        self._known(path, told, ("value", "type", "default", "translate", "length"))
        if "value" not in told:
            raise self._wrong(path, 'it has no value: something like value = "{project}" belongs')
        given: Kind = (
            "checkbox"
            if isinstance(told["value"], bool)
            else "number"
            if isinstance(told["value"], int | float)
            else "text"
        )
        known, limit = STANDARD.get(name, (given, TEXT_LIMIT))
        kind: Kind = self._choice((*path, "type"), told.get("type", known), _KINDS)
        if name in STANDARD and kind != known:
            raise self._wrong((*path, "type"), f"{name} is of type {known}")
        if "length" in told:
            limit = self._length((*path, "length"), told["length"], kind, limit, name)
        rule = FieldRule(
            name,
            self._template((*path, "value"), told["value"]),
            kind,
            self._default((*path, "default"), told.get("default"), kind, name, limit),
            self._translations((*path, "translate"), told.get("translate", {}), kind),
            limit,
        )
        self._check_constant((*path, "value"), rule)
        return rule

    def _template(self, path: Path, value: Json) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, int | float):
            return f"{value:.15g}"
        if not isinstance(value, str):
            raise self._wrong(path, 'a text belongs there, like "{project}: {description}"')
        try:
            template(value)
        except SettingsError as error:
            raise self._wrong(path, str(error)) from None
        return value

    def _check_constant(self, path: Path, rule: FieldRule) -> None:
        """A value without names in it must be of the field's kind by itself."""
        if rule.value and not rule.names and rule.constant is None:
            raise self._wrong(path, f"a {rule.kind} belongs there, or a template")

    def _length(self, path: Path, value: Json, kind: Kind, limit: int, name: str) -> int:
        most = limit if name in STANDARD else LONG_TEXT_LIMIT
        if kind != "text":
            raise self._wrong(path, "only a field of type text has a length")
        if type(value) is not int or not 1 <= value <= most:
            raise self._wrong(path, f"a whole number from 1 to {most} belongs there")
        return value

    def _default(self, path: Path, value: Json, kind: Kind, name: str, limit: int) -> Field:
        if value is None:
            usual: Field = False if kind == "checkbox" else None
            return next((rule.default for rule in DEFAULT_FIELDS if rule.name == name), usual)
        typed = self._typed(path, value, kind)
        if isinstance(typed, str) and length(typed) > limit:
            raise self._wrong(path, f"a text of {limit} characters at most belongs there")
        return typed

    def _typed(self, path: Path, value: Json, kind: Kind) -> Field:
        """A value that fits the field's kind."""
        if kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if kind == "checkbox" and isinstance(value, bool):
            return value
        if kind == "date" and as_date(str(value)) == str(value):
            return str(value)
        if kind in ("text", "picklist") and isinstance(value, str) and value:
            return value
        like = {
            "text": 'a text, like "Clockify",',
            "picklist": 'a text, like "Meeting",',
            "number": "a number, like 1.5,",
            "checkbox": "true or false",
            "date": "a day, like 2026-11-02,",
        }
        raise self._wrong(path, f"{like[kind]} belongs there, as the field is of type {kind}")

    def _translations(self, path: Path, told: Json, kind: Kind) -> dict[str, str]:
        if not isinstance(told, dict):
            raise self._wrong(path, 'a table belongs there, like { "On site" = "Meeting" }')
        table: dict[str, str] = {}
        for key, value in told.items():
            low = " ".join(key.split()).casefold()
            if low in table:
                raise self._wrong((*path, key), "this value stands there twice: keep one")
            typed = self._typed((*path, key), value, kind)
            table[low] = (
                ("yes" if typed else "no")
                if isinstance(typed, bool)
                else f"{typed:.15g}"
                if isinstance(typed, float)
                else str(typed)
            )
        return table

    # Filters ---------------------------------------------------------------------------------

    def _conditions(self, part: str, told: Mapping[str, Json]) -> tuple[Condition, ...]:
        filters = self._table((part,), told)
        others = ("billable", "approved", "at_least_minutes", "at_most_minutes", "custom")
        self._known((part,), filters, (*CONDITIONS, *others))
        conditions: list[Condition] = []
        for name, value in filters.items():
            path = (part, name)
            if name == "custom":
                for field, wanted in self._table((part,), filters, name).items():
                    key = CUSTOM + " ".join(field.split())
                    conditions.append(Condition(key, self._texts((*path, field), wanted)))
            elif name == "billable":
                conditions.append(Condition(name, truth=self._truth(path, value)))
            elif name == "approved":
                if part != "only" or value is not True:
                    raise self._wrong(path, "approved = true may stand in [only], nothing else")
                conditions.append(Condition(name))
            elif name in ("at_least_minutes", "at_most_minutes"):
                conditions.append(Condition(name, minutes=self._minutes(path, value)))
            else:
                conditions.append(Condition(name, self._texts(path, value)))
        return tuple(conditions)

    def _texts(self, path: Path, value: Json) -> frozenset[str]:
        texts = value if isinstance(value, list) else [value]
        if not texts or len(texts) > MOST_TEXTS or not all(isinstance(t, str) for t in texts):
            raise self._wrong(
                path,
                'a name or a list of names belongs there, like ["Website", "Internal*"], with'
                f" {MOST_TEXTS} at most",
            )
        found = frozenset(" ".join(text.split()).casefold() for text in texts)
        if path[-1] == "type" and not found <= {kind.casefold() for kind in TYPES}:
            raise self._wrong(path, f"{_either(TYPES)} may stand there")
        return found

    def _truth(self, path: Path, value: Json) -> bool:
        if not isinstance(value, bool):
            raise self._wrong(path, "true or false belongs there")
        return value

    def _minutes(self, path: Path, value: Json) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= 60_000_000:
            raise self._wrong(path, "a number of minutes belongs there, like 5")
        return float(value)

    # Links and people --------------------------------------------------------------------------

    def _link(self, part: str, told: Mapping[str, Json]) -> list[Link]:
        source = _SOURCES[part]
        default = next(link for link in DEFAULT_LINKS if link.source == source)
        table = self._table((part,), told)
        choices = ("create_accounts", "duplicate_alerts") if source == "client" else ()
        self._known((part,), table, ("object", "field", "several", *choices))
        names: dict[str, str] = {}
        for key, usual in (("object", default.object), ("field", default.field)):
            value = table.get(key, usual)
            is_off = key == "object" and value == ""
            if not isinstance(value, str) or not (is_off or _FIELD_NAME.fullmatch(value)):
                raise self._wrong((part, key), f"an API name belongs there, like {usual}")
            names[key] = value
        several = self._truth((part, "several"), table.get("several", False))
        return [Link(source, names["object"], names["field"], several)] if names["object"] else []

    def _accounts(self, told: Mapping[str, Json]) -> Accounts:
        creates = self._truth(("clients", "create_accounts"), told.get("create_accounts", False))
        path, value = ("clients", "duplicate_alerts"), told.get("duplicate_alerts", _ALERTS[0])
        return Accounts(creates, self._choice(path, value, _ALERTS) == "pass")

    def _unmatched(self, told: Mapping[str, Json]) -> Unmatched:
        self._known(("people",), told, ("unmatched",))
        value = told.get("unmatched", _UNMATCHED[0])
        return self._choice(("people", "unmatched"), value, _UNMATCHED)

    # What all of them need ---------------------------------------------------------------------

    def _table(self, path: Path, told: Mapping[str, Json], *more: str) -> Mapping[str, Json]:
        key = (*path, *more)[-1]
        table = told.get(key, {})
        if not isinstance(table, dict):
            raise self._wrong((*path, *more), "a table belongs there: see docs/mapping.md")
        return table

    def _known(self, path: Path, told: Mapping[str, Json], known: Sequence[str]) -> None:
        for key in told:
            if key not in known:
                raise self._wrong((*path, key), f"not known: {_either(known)} may stand there")

    def _choice(self, path: Path, value: Json, known: tuple[Choice, ...]) -> Choice:
        for choice in known:
            if choice == value:
                return choice
        raise self._wrong(path, f"{_either(known)} may stand there")

    def _wrong(self, path: Path, problem: str) -> SettingsError:
        told: Json = tomllib.loads(self._text)
        while len(path) > 1 and not _is_there(told, path):
            path = path[:-1]  # a field's template may stand without its table
        key = ".".join(part if re.fullmatch(r"[\w-]+", part) else f'"{part[:60]}"' for part in path)
        return SettingsError(f"{self._file}, line {self._line(path)}: {key}: {problem}")

    def _place(self, error: tomllib.TOMLDecodeError) -> str:
        """What tomllib says of a text that is no TOML, its line first."""
        problem, _, place = str(error).removesuffix(")").rpartition(" (at ")
        place = place.replace("end of document", f"line {self._text.rstrip().count(chr(10)) + 1}")
        return f"{place}: {problem}. This is no TOML: see https://toml.io and docs/mapping.md"

    def _line(self, path: Path) -> int:
        """The line that a key stands in: from there on the file says something of the key."""
        lines = self._text.split("\n")
        for number, line in enumerate(lines, 1):
            if path[-1] in line and _is_there(_down_to(lines, number), path):
                return number
        return 1


def _down_to(lines: Sequence[str], number: int) -> Json:
    """What the lines say down to one of them, or to the end of the value there."""
    while True:
        try:
            return tomllib.loads("\n".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            number += 1


def _is_there(told: Json, path: Path) -> bool:
    for key in path:
        if not isinstance(told, dict) or key not in told:
            return False
        told = told[key]
    return True


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
