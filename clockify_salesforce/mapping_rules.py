"""What a company chooses about its Events: values that `mapping.decide` is given, and what they do.

Pure. `mapping_file` reads the choices out of mapping.toml; a default is what happens where nobody
chose. A template is a text with names in braces, filled in one pass: what an entry says is never
read as a template itself.
"""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from operator import itemgetter
from typing import Literal, NamedTuple

from clockify_salesforce.decisions import Field as Field
from clockify_salesforce.errors import SettingsError
from clockify_salesforce.time_entry import LONG_TEXT_LIMIT, TEXT_LIMIT, TimeEntry, cut, length

DEFAULT_SUBJECT = "Clockify"
LOGGED_BY = "Logged by: "  # the last of an entry's details

# What may stand in the braces of a template, beside {custom.NAME}: a custom field of Clockify's.
NAMES = (
    *("description", "project", "client", "task", "tags", "user", "billable", "hours", "type"),
    *("workspace", "details"),
)
CUSTOM = "custom."
# A template with an empty name at its edge leaves its punctuation there: "{project}: …".
PUNCTUATION = " :;,.|/-–—"

Kind = Literal["text", "number", "checkbox", "picklist", "date"]
Unmatched = Literal["integration user", "no event"]
Alerts = Literal["stop", "pass"]
Texts = Mapping[str, str]  # name -> what the entry says, "" for nothing

_PLACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_LINES = frozenset({"description", "details"})  # the names whose texts may have several lines
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])")
_YES, _NO = frozenset(("yes", "true", "1")), frozenset(("no", "false", "0"))
_BILLABLE = {True: "yes", False: "no", None: ""}
_SHOW_AS = {
    "regular": "Busy",
    "break": "Free",
    "holiday": "OutOfOffice",
    "time_off": "OutOfOffice",
}


class NotTold(Exception):
    """A filter asks for what the message or the report's row does not tell; its text names it."""


@dataclass(frozen=True, slots=True)
class Template:
    """A text with names in braces: `pattern` has a %s for each of `names`."""

    pattern: str
    names: tuple[str, ...]

    @property
    def only_name(self) -> str:
        """The name if there is nothing else, else ""."""
        return self.names[0] if self.pattern == "%s" else ""

    def fill(self, texts: Texts) -> str:
        """The text with each name's value in its place."""
        return self.pattern % tuple(texts[name] for name in self.names)


@functools.lru_cache(maxsize=1000)
def template(text: str) -> Template:
    """Read a template. Raises SettingsError telling what may stand in braces."""
    pattern, at = "", 0
    names: list[str] = []
    for place in _PLACES.finditer(text):
        pattern += text[at : place.start()].replace("%", "%%")
        at = place.end()
        name = place[1] or ""
        if place[0] in ("{{", "}}"):
            pattern += place[0][0]
        elif name in NAMES:
            pattern += "%s"
            names.append(name)
        elif name.startswith(CUSTOM) and (custom := " ".join(name[len(CUSTOM) :].split())):
            pattern += "%s"
            names.append(CUSTOM + custom)
        else:
            known = ", ".join(f"{{{known}}}" for known in NAMES)
            raise SettingsError(
                f"only {known} and {{custom.NAME}}, the name of a custom field of Clockify's, may"
                " stand in braces; a brace itself is {{ or }}"
            )
    return Template(pattern + text[at:].replace("%", "%%"), tuple(names))


class Read(NamedTuple):
    """A time entry as the rules read it.

    `texts`: of each of NAMES, and of `custom.NAME` for the custom fields that a rule names.
    `several`: the values one by one, of those names that may have several. `untold`: the names of
    which the message or row says nothing, not even that there is none.
    """

    entry: TimeEntry
    span: timedelta
    hours: float  # four decimals tell every second
    texts: Texts
    several: Mapping[str, tuple[str, ...]]
    untold: frozenset[str]


@dataclass(frozen=True, slots=True)
class FieldRule:
    """What one field of Event gets.

    `default`: for an empty value. `translate`: Clockify's value in lower case -> the field's.
    `limit`: of a text, as `length` counts; one of more than 255 keeps its lines.
    """

    name: str
    value: str  # a template
    kind: Kind = "text"
    default: Field = None
    translate: Mapping[str, str] = field(default_factory=dict)
    limit: int = TEXT_LIMIT

    @property
    def names(self) -> tuple[str, ...]:
        """What it reads of an entry."""
        return template(self.value).names

    @property
    def constant(self) -> Field:
        """The value of the field's kind that it gives without any name, None where it is none."""
        text = " ".join(template(self.value).fill({}).split()) if not self.names else ""
        typed = _TYPED.get(self.kind)
        return (typed(text) if typed else text) if text else None

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that are known before any entry is: what a picklist of the org must have."""
        constant = () if self.names else (self.value,)
        default = (self.default,) if isinstance(self.default, str) else ()
        given = (*self.translate.values(), *default, *constant)
        return tuple(dict.fromkeys(choice for choice in given if choice))

    def compiled(self) -> Callable[[Read], Field]:
        """Return what computes the field's value for an entry, None to clear the field.

        Every message passes all rules, so what can be known before is computed once.
        """
        filled = template(self.value)
        if self.kind == "picklist" and filled.only_name:
            return self._choices_of(filled.only_name)
        default, limit = self.default, self.limit
        if self.kind == "text" and limit > TEXT_LIMIT:
            return lambda read: long_text(filled, read.texts, limit) or default
        line, table = self._line(filled), self.translate
        typed = _TYPED.get(self.kind)
        if typed is _number and filled.only_name == "hours" and not table:
            return lambda read: read.hours

        def give(read: Read) -> Field:
            text = line(read.texts)
            if table:
                text = table.get(text.casefold(), text)
            if typed is not None:
                value = typed(text)
                return default if value is None else value
            if len(text) * 2 > limit:
                text = cut(text, limit)
            return text or default

        return give

    def _line(self, filled: Template) -> Callable[[Texts], str]:
        """Return what fills the template, on one line."""
        pattern, names = filled.pattern, filled.names
        is_subject = self.name == "Subject"
        has_lines = any(name in _LINES or name.startswith(CUSTOM) for name in names)
        if not names:
            constant = " ".join(filled.fill({}).split())
            return lambda texts: constant
        if filled.only_name and not is_subject and not has_lines:
            return itemgetter(filled.only_name)

        get = itemgetter(*names, names[0])  # of one name alone it would give no tuple

        def line(texts: Texts) -> str:
            values = get(texts)[:-1]
            text: str = pattern % values
            has_gap = "" in values
            if has_lines or has_gap:
                text = " ".join(text.split())
            return text.strip(PUNCTUATION) if has_gap or is_subject else text

        return line

    def _choices_of(self, name: str) -> Callable[[Read], Field]:
        """Return what translates each value; Salesforce has ; between those of a multi-select."""
        table, default = self.translate, self.default

        def give(read: Read) -> Field:
            values = read.several.get(name)
            if values is None:
                text = read.texts[name]
                return table.get(text.casefold(), text) or default
            return ";".join([table.get(value.casefold(), value) for value in values]) or default

        return give


def long_text(filled: Template, texts: Texts, limit: int) -> str:
    """Fill a template and keep its lines; the description gives way where all does not fit."""
    whole = filled.fill(texts)
    if 2 * len(whole) <= limit:  # no character counts for more than two
        return whole.strip()
    room = limit - length(filled.fill({**texts, "description": ""}))
    description = cut(texts["description"], max(1, room))
    return cut(filled.fill({**texts, "description": description}).strip(), limit)


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _checkbox(text: str) -> bool | None:
    word = text.casefold()
    return True if word in _YES else False if word in _NO else None


def as_date(text: str) -> str | None:
    """The day that the text begins with, in Salesforce's form and range."""
    day = _DAY.match(text)
    try:
        return day[0] if day and 1700 <= date.fromisoformat(day[0]).year <= 4000 else None
    except ValueError:
        return None


_TYPED: Mapping[Kind, Callable[[str], Field]] = {
    "number": _number,
    "checkbox": _checkbox,
    "date": as_date,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """What a filter asks of an entry.

    `name`: one of CONDITIONS or `custom.NAME`, of which one of `wanted` has to be there, an id or a
    name in lower case, where * stands for anything; "" is that there is none. Or `billable` or
    `approved` with their `truth`, `at_least_minutes` or `at_most_minutes` with their `minutes`.
    """

    name: str
    wanted: frozenset[str] = frozenset()
    truth: bool = True
    minutes: float = 0.0

    def matches(self, read: Read) -> bool:
        """Tell whether the entry is so. Raises NotTold."""
        match self.name:
            case "billable":
                return (read.entry.billable is True) is self.truth
            case "approved":
                return read.entry.approved is self.truth
            case "at_least_minutes":
                return read.span >= timedelta(minutes=self.minutes)
            case "at_most_minutes":
                return read.span <= timedelta(minutes=self.minutes)
        found = {text.casefold() for text in self._found(read) if text}
        if any(_is_like(text, like) for like in self.wanted if "*" in like for text in found):
            return True
        if not found and self.name not in read.untold:
            found = {""}
        if not found.isdisjoint(self.wanted):
            return True
        if self.name in read.untold:
            raise NotTold(self.name)
        return False

    def _found(self, read: Read) -> tuple[str | None, ...]:
        """The ids and names that the entry has of what the condition asks for."""
        entry = read.entry
        match self.name:
            case "project":
                return entry.project_id, entry.project
            case "client":
                return entry.client_id, entry.client
            case "task":
                return entry.task_id, entry.task
            case "tag":
                return tuple(text for tag in entry.tags for text in (tag.id, tag.name))
            case "person":
                return entry.user_id, "" if entry.is_user_lost else entry.user
            case "group":
                return entry.groups or ()
            case "type":
                return (entry.type,)
            case "description":
                return (entry.description,)
        return read.several[self.name]


CONDITIONS = ("project", "client", "task", "tag", "person", "group", "type", "description")


def _is_like(text: str, like: str) -> bool:
    """Tell whether the text is what is wanted, where each * stands for anything."""
    first, *middle, last = like.split("*")
    if not text.startswith(first) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return text.endswith(last)


@dataclass(frozen=True, slots=True)
class Link:
    """Which record an Event belongs to: the one whose `field` holds Clockify's id of `source`.

    `several`: the field may hold several ids, with anything but letters and digits between them.
    """

    source: Literal["project", "client"]
    object: str
    field: str
    several: bool = False


DEFAULT_FIELDS = (
    FieldRule("Subject", DEFAULT_SUBJECT, default=DEFAULT_SUBJECT),
    FieldRule("Description", "{description}\n{details}", default="", limit=LONG_TEXT_LIMIT),
    FieldRule("ShowAs", "{type}", "picklist", default="Busy", translate=_SHOW_AS),
)
DEFAULT_LINKS = (
    Link("project", "Opportunity", "Clockify_Project_Id__c"),
    Link("client", "Account", "Clockify_Client_Id__c"),
)


@dataclass(frozen=True, slots=True)
class Accounts:
    """What happens to a client that no Account is matched with.

    `are_created`: it gets a new one; `pass_alerts`: although a duplicate rule of the org's that
    only alerts has found a similar one.
    """

    are_created: bool = False
    pass_alerts: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """The choices.

    `subject`: the template in EVENT_SUBJECT, which wins over that of `fields`; "" where it is not
    set. `only`: what an entry must be to get an Event; `never`: what it must not be. `links`: where
    an Event belongs, the first that is found. `unmatched`: what becomes of the entry of a person
    who has no Salesforce user. `accounts`: what becomes of a client without one.
    """

    subject: str = ""
    fields: tuple[FieldRule, ...] = DEFAULT_FIELDS
    only: tuple[Condition, ...] = ()
    never: tuple[Condition, ...] = ()
    links: tuple[Link, ...] = DEFAULT_LINKS
    unmatched: Unmatched = "integration user"
    accounts: Accounts = Accounts()
    reads: frozenset[str] = field(init=False, compare=False)  # names of templates and conditions
    _customs: tuple[str, ...] = field(init=False, repr=False, compare=False)  # of `reads`
    _givers: tuple[tuple[str, Callable[[Read], Field]], ...] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.subject:
            subject = FieldRule("Subject", self.subject, default=DEFAULT_SUBJECT)
            fields = tuple(subject if rule.name == "Subject" else rule for rule in self.fields)
            object.__setattr__(self, "fields", fields)
        names = {name for rule in self.fields for name in rule.names}
        names |= {condition.name for condition in (*self.only, *self.never)}
        givers = tuple((rule.name, rule.compiled()) for rule in self.fields)
        customs = tuple(name for name in names if name.startswith(CUSTOM))
        object.__setattr__(self, "reads", frozenset(names))
        object.__setattr__(self, "_customs", customs)
        object.__setattr__(self, "_givers", givers)

    @property
    def custom_fields(self) -> frozenset[str]:
        """The names or ids of Clockify's custom fields that a rule reads."""
        return frozenset(name.removeprefix(CUSTOM) for name in self._customs)

    def read(self, entry: TimeEntry, span: timedelta) -> Read:
        """Return the entry as these rules read it; `span`: its length."""
        hours, tags = round(span.total_seconds() / 3600, 4), entry.tag_names
        texts = {
            "description": entry.description,
            "project": entry.project,
            "client": entry.client,
            "task": entry.task,
            "tags": tags,
            "user": entry.user,
            "billable": _BILLABLE[entry.billable],
            "hours": f"{hours:.4f}".rstrip("0").rstrip("."),
            "type": entry.type or "",
            "workspace": entry.workspace_id or "",
            "details": "\n".join(details(entry, tags)),
        }
        several = {"tags": tuple([tag.name for tag in entry.tags if tag.name])}
        untold: set[str] = set()
        for name in self._customs:
            several[name] = entry.custom_values(name.removeprefix(CUSTOM))
            texts[name] = ", ".join(several[name])
        if entry.type is None:
            untold.add("type")
        if entry.groups is None:
            untold.add("group")
        if entry.is_user_lost:
            untold |= {"user", "person"}
        if entry.custom is None:
            untold.update(self._customs)
        return Read(entry, span, hours, texts, several, frozenset(untold))

    def description_with(self, line: str, read: Read) -> str:
        """Return the Event's Description with one more line, before the details if it has them."""
        value = next((rule.value for rule in self.fields if rule.name == "Description"), "")
        has_details = "details" in template(value).names
        told = [line, read.texts["details"]] if has_details else [line]
        filled = template(value if has_details else f"{value}\n{{details}}")
        texts = {**read.texts, "details": "\n".join(told).strip()}
        return long_text(filled, texts, LONG_TEXT_LIMIT)

    def left_out_by(self, read: Read) -> str:
        """Name the filter that leaves the entry out, "" where none does. Raises NotTold."""
        untold: NotTold | None = None
        for is_wanted, part, conditions in (
            (True, "only", self.only),
            (False, "except", self.never),
        ):
            for condition in conditions:
                try:
                    if condition.matches(read) is not is_wanted:
                        return f"{part}.{condition.name}"
                except NotTold as error:
                    untold = error
        if untold is not None:
            raise untold
        return ""

    def event_fields(self, read: Read) -> tuple[dict[str, Field], dict[str, Field]]:
        """Return the fields of the Event, and those that only a new one gets.

        What reads something that is not told must not change a field that is known already.
        """
        event = {name: give(read) for name, give in self._givers}
        on_create: dict[str, Field] = {}
        if not read.untold.isdisjoint(self.reads):
            for rule in self.fields:
                if not read.untold.isdisjoint(rule.names):
                    on_create[rule.name] = event.pop(rule.name)
        return event, on_create


def details(entry: TimeEntry, tags: str) -> list[str]:
    """What the entry has beside its description, a line each; `tags`: their names in a row."""
    told: list[str] = []
    if entry.project:
        client = f" ({entry.client})" if entry.client else ""
        told.append(f"Project: {entry.project}{client}")
    if entry.task:
        told.append(f"Task: {entry.task}")
    if tags:
        told.append(f"Tags: {tags}")
    if entry.billable is not None:
        told.append(f"Billable: {_BILLABLE[entry.billable]}")
    if entry.user:
        told.append(LOGGED_BY + entry.user)
    return told


DEFAULT_RULES = Rules()
