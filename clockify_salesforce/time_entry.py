"""A Clockify time entry as far as it is read here: clean texts, well-formed ids, bounded sizes.

Pure. Whatever a message holds, reading never fails, and what has been read is written as JSON that
reads the same again, so that a message may be kept in the retry queue in short.
https://docs.clockify.me/#tag/Time-entry
"""

import functools
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

# So a person is called in entries and reports who has been deleted in Clockify.
# https://clockify.me/help/troubleshooting/inactive-team-members
DELETED_USER = "DeletedUser"
TYPES = ("REGULAR", "BREAK", "HOLIDAY", "TIME_OFF")

# Salesforce counts UTF-16 code units; a line break may count as two.
TEXT_LIMIT, EMAIL_LIMIT, VALUE_LIMIT = 255, 254, 3_000
LONG_TEXT_LIMIT = 32_000  # of Event's Description and of a long text area
# Bytes as JSON in UTF-8. Clockify takes 3,000 characters of description and of a custom field.
# Cloud Tasks takes 100 KB with the headers: what is read of an entry has 96,000 at most.
DESCRIPTION_BYTES, CUSTOM_BYTES, TAGS_BYTES, GROUPS_BYTES = 44_000, 24_000, 14_000, 4_000
INSTANT_LIMIT = 64  # characters; Clockify's have 20
# People, projects, tasks and tags are the same few in most entries: what has been read of so many
# texts is remembered, of texts that are no longer than this.
REMEMBERED, SHORT = 4_096, 300

Json = object  # what json.loads gives
Item = TypeVar("Item")

_CLOCKIFY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# It becomes a part of a path of Clockify's API.
_WORKSPACE_ID = re.compile(r"[A-Za-z0-9]{1,64}")
_AS_JSON = json.JSONEncoder(ensure_ascii=False)  # made once: json.dumps makes one at each call
# What neither XML nor a person can read; tab and line feed stay.
_UNREADABLE = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 127, 0xFFFE, 0xFFFF])


@dataclass(frozen=True, slots=True)
class Named:
    """Something of Clockify's with an id and a name, each "" where it is not told."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CustomField:
    """A custom field's values as texts: one, none, or several of a multiple choice."""

    id: str
    name: str
    values: tuple[str, ...]


class TimeEntry(NamedTuple):
    """One time entry. A text that is not told is "", an id or a choice None.

    A tuple, for one of so many fields is made in less than half the time of a frozen dataclass.
    """

    id: str | None
    workspace_id: str | None
    description: str
    billable: bool | None
    type: str | None  # of TYPES
    approved: bool
    user_id: str | None
    user: str
    email: str | None
    groups: tuple[str, ...] | None  # of the user; None: nobody has asked Clockify
    project_id: str | None
    project: str
    client_id: str | None
    client: str
    task_id: str | None
    task: str
    tags: tuple[Named, ...]
    custom: tuple[CustomField, ...] | None  # None: not told
    has_interval: bool
    start: str  # as Clockify wrote it
    end: str | None  # None: the timer runs
    end_is_told: bool  # also where it is null

    @property
    def is_user_lost(self) -> bool:
        """The person has been deleted in Clockify, which forgets the name then."""
        return self.user in ("", DELETED_USER)

    @property
    def tag_names(self) -> str:
        """The tags' names in a row, no longer than a text field of Salesforce's."""
        return cut(", ".join([tag.name for tag in self.tags if tag.name]), TEXT_LIMIT)

    def custom_values(self, name: str) -> tuple[str, ...]:
        """The values of the custom field with this name or id, none where there is no such."""
        for each in self.custom or ():
            if name in (each.name, each.id):
                return each.values
        return ()

    def as_json(self) -> dict[str, Json]:
        """Return the shortest entry that reads the same, at most 96,000 bytes in UTF-8."""
        interval: dict[str, Json] = {"start": self.start}
        if self.end_is_told:
            interval["end"] = self.end
        kept: dict[str, Json] = {
            "id": self.id,
            "workspaceId": self.workspace_id,
            "description": self.description,
            "billable": self.billable,
            "type": self.type,
            "approvalStatus": "APPROVED" if self.approved else None,
            "userId": self.user_id,
            "user": _told({"name": self.user, "email": self.email}),
            "projectId": self.project_id,
            "project": _told(
                {"name": self.project, "clientId": self.client_id, "clientName": self.client}
            ),
            "task": _told({"id": self.task_id, "name": self.task}),
            "tags": [_tag_json(tag) for tag in self.tags],
            "timeInterval": interval if self.has_interval else None,
        }
        kept = {key: value for key, value in kept.items() if value not in (None, "", [], {})}
        # Of these, none is something else than not told.
        if self.custom is not None:
            kept["customFieldValues"] = [_custom_json(each) for each in self.custom]
        if self.groups is not None:
            kept["groupsOfUser"] = list(self.groups)
        return kept


def read_time_entry(entry: Mapping[str, Any], first: Collection[str] = ()) -> TimeEntry:
    """Read one time entry, as a webhook, the API or `as_json` gives it.

    `first`: the names or ids of the custom fields that are read before the others, of which there
    may be too many.
    """
    project, user, task = _object(entry, "project"), _object(entry, "user"), _object(entry, "task")
    client, interval = _object(project, "client"), entry.get("timeInterval")
    has_interval = isinstance(interval, dict)
    times: dict[str, Json] = interval if isinstance(interval, dict) else {}
    kind, billable = entry.get("type"), entry.get("billable")
    groups, custom = entry.get("groupsOfUser"), entry.get("customFieldValues")
    return TimeEntry(
        id=read_id(entry.get("id")),
        workspace_id=workspace_of(entry),
        description=_fitted(clean(entry.get("description")), DESCRIPTION_BYTES),
        billable=billable if isinstance(billable, bool) else None,
        type=kind if isinstance(kind, str) and kind in TYPES else None,
        approved=entry.get("approvalStatus") == "APPROVED",
        user_id=read_id(entry.get("userId")) or read_id(user.get("id")),
        user=read_name(user.get("name")),
        email=_email(user.get("email")),
        groups=_groups(groups) if isinstance(groups, list) else None,
        project_id=read_id(entry.get("projectId")) or read_id(project.get("id")),
        project=read_name(project.get("name")),
        client_id=read_id(project.get("clientId")) or read_id(client.get("id")),
        client=read_name(project.get("clientName")) or read_name(client.get("name")),
        task_id=read_id(task.get("id")) or read_id(entry.get("taskId")),
        task=read_name(task.get("name")),
        tags=_tags(entry),
        custom=_custom_fields(custom, first) if isinstance(custom, list) else None,
        has_interval=has_interval,
        start=_moment(times.get("start")),
        end=None if times.get("end") is None else _moment(times["end"]),
        end_is_told="end" in times,
    )


def workspace_of(entry: Json) -> str | None:
    """Return Clockify's id of the entry's workspace, None where there is no well-formed one."""
    value = entry.get("workspaceId") if isinstance(entry, dict) else None
    return value if isinstance(value, str) and _WORKSPACE_ID.fullmatch(value) else None


def clean(value: Json) -> str:
    """A text that Salesforce and every reader can take: no half characters, no control codes.

    In a composite call, `@{` in any text begins a reference to another part's answer, and there is
    no escape for it: a blank goes between.
    https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_composite_post.htm
    """
    if not isinstance(value, str):
        return ""
    if value.isascii() and value.isprintable():  # most are, and the repair reads a million of them
        return value.replace("@{", "@ {").strip()
    whole = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    lines = whole.replace("\r\n", "\n").replace("\r", "\n")
    return lines.translate(_UNREADABLE).replace("@{", "@ {").strip()


def length(text: str) -> int:
    """Length as Salesforce counts at most: UTF-16 code units, a line break as two."""
    units = len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
    return units + text.count("\n")


def cut(text: str, limit: int) -> str:
    """The text, or as much of it as fits with `…` behind it."""
    if 2 * len(text) <= limit or length(text) <= limit:  # no character counts for more than two
        return text
    units = text.replace("\n", "\r\n").encode("utf-16-le")[: 2 * (limit - 1)]
    return units.decode("utf-16-le", "ignore").replace("\r\n", "\n").rstrip("\r") + "…"


def _fitted(text: str, limit: int) -> str:
    """The text, or as much of it as has `limit` bytes as JSON, with `…` behind it."""
    if 6 * len(text) + 2 <= limit:  # no character takes more
        return text
    while (size := _size(text)) > limit:
        text = text[: len(text) * (limit - 5) // size - 1] + "…"
    return text


def _size(value: Json) -> int:
    return len(_AS_JSON.encode(value).encode())


def read_name(value: Json, limit: int = TEXT_LIMIT) -> str:
    """A name on one line, no longer than a text field of Salesforce's."""
    if not isinstance(value, str):
        return ""
    return _name(value, limit) if len(value) <= SHORT else _name.__wrapped__(value, limit)


@functools.lru_cache(maxsize=REMEMBERED)
def _name(text: str, limit: int) -> str:
    return cut(" ".join(clean(text).split()), limit)


def _email(value: Json) -> str | None:
    if not isinstance(value, str):
        return None
    return _address(value) if len(value) <= SHORT else _address.__wrapped__(value)


@functools.lru_cache(maxsize=REMEMBERED)
def _address(text: str) -> str | None:
    address = clean(text).casefold()
    return address if 3 <= length(address) <= EMAIL_LIMIT else None


def _moment(value: Json) -> str:
    """A time as Clockify wrote it; "" for what cannot be one."""
    if not isinstance(value, str) or len(value) > INSTANT_LIMIT:
        return ""
    return value if value.isascii() and value.isprintable() else ""


def read_id(value: Json) -> str | None:
    """An id of Clockify's, None where it is not one."""
    return value if isinstance(value, str) and _CLOCKIFY_ID.fullmatch(value) else None


def _object(holder: Mapping[str, Json], key: str) -> dict[str, Json]:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}


def _told(holder: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in holder.items() if value}


def _tags(entry: Mapping[str, Json]) -> tuple[Named, ...]:
    """The tags; samples in Clockify's documentation tell their ids alone as well."""
    tags, ids = entry.get("tags"), entry.get("tagIds")
    if not isinstance(tags, list):
        tags = [{"id": each} for each in ids] if isinstance(ids, list) else []
    if not tags:
        return ()
    read = [
        _tag(read_id(tag.get("id")) or "", read_name(tag.get("name")))
        for tag in tags
        if isinstance(tag, dict)
    ]
    return _within([(tag, size) for tag, size in read if tag.id or tag.name], TAGS_BYTES)


@functools.lru_cache(maxsize=REMEMBERED)
def _tag(tag_id: str, name: str) -> tuple[Named, int]:
    """A tag and its bytes as JSON."""
    tag = Named(tag_id, name)
    return tag, _size(_tag_json(tag))


def _tag_json(tag: Named) -> dict[str, Json]:
    return _told({"id": tag.id, "name": tag.name})


def _groups(groups: list[Any]) -> tuple[str, ...]:
    names = (read_name(group) for group in groups)
    return _within(((name, _size(name)) for name in names if name), GROUPS_BYTES)


def _custom_fields(fields: list[Any], first: Collection[str]) -> tuple[CustomField, ...]:
    """The custom fields, those that somebody waits for before the others."""
    if not fields:
        return ()
    read = [
        CustomField(
            read_id(field.get("customFieldId")) or "",
            read_name(field.get("name")),
            _values(field.get("value")),
        )
        for field in fields
        if isinstance(field, dict)
    ]
    if first:
        read.sort(key=lambda field: field.id not in first and field.name not in first)
    known = (field for field in read if field.id or field.name)
    return _within(((field, _size(_custom_json(field))) for field in known), CUSTOM_BYTES)


def _custom_json(field: CustomField) -> dict[str, Json]:
    values: Json = field.values[0] if len(field.values) == 1 else list(field.values)
    return _told({"customFieldId": field.id, "name": field.name, "value": values})


def _values(value: Json) -> tuple[str, ...]:
    """The texts of a custom field: text, number, boolean, list of choices, or nothing."""
    if isinstance(value, list):
        return tuple(text for each in value if (text := _value(each)))
    text = _value(value)
    return (text,) if text else ()


def _value(value: Json) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:.15g}" if abs(value) < 1e15 else ""
    return cut(clean(value), VALUE_LIMIT)


def _within(items: Iterable[tuple[Item, int]], limit: int) -> tuple[Item, ...]:
    """As many of the items, from the first, as have `limit` bytes, a comma each included."""
    kept: list[Item] = []
    for item, size in items:
        if size + 2 <= limit:
            kept.append(item)
            limit -= size + 2
    return tuple(kept)
