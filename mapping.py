"""Decide what a Clockify message means for Salesforce: upsert an Event, delete it, or nothing.

Values in, frozen decisions out: no clock, no environment, no network, no file. What a time entry
looks like: https://docs.clockify.me/#tag/Time-entry; which webhooks there are:
https://clockify.me/help/integrations/webhooks. What an Event may hold:
https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_event.htm
"""

import json
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clockify_salesforce.errors import BadMessage, IntegrationError

EXTERNAL_ID = "Clockify_Time_Entry_Id__c"
VERSION = "Clockify_Version__c"

RESTORED = "TIME_ENTRY_RESTORED"
UPDATED = "TIME_ENTRY_UPDATED"
UPSERTS = frozenset({"TIMER_STOPPED", "NEW_TIME_ENTRY", UPDATED, RESTORED, "TIME_ENTRY_SPLIT"})
DELETES = frozenset({"TIME_ENTRY_DELETED", "TIME_ENTRY_BATCH_DELETED"})
# Only these may carry several time entries; elsewhere a list is a mistake that must be heard.
LISTS = frozenset({"TIME_ENTRY_SPLIT", "TIME_ENTRY_BATCH_DELETED"})

DEFAULT_SUBJECT = "Clockify"
SUBJECT_NAMES = frozenset({"description", "project", "client", "task", "tags", "user"})
# Salesforce counts UTF-16 code units; a line break may count as two.
SUBJECT_LIMIT, TEXT_LIMIT, DESCRIPTION_LIMIT = 255, 255, 32_000
# An org that has not switched multiday events on refuses more than 1,440 minutes.
LONGEST_EVENT = timedelta(hours=24)
# The range of a Salesforce date/time field.
EARLIEST, LATEST = datetime(1700, 1, 1, tzinfo=UTC), datetime(4000, 12, 31, tzinfo=UTC)

# Clockify's test button sends a sample whose ids belong to nobody.
TEST_DESCRIPTION = "Webhook Test Description"

Json = object  # what json.loads gives
Field = str | float | bool | None

_CLOCKIFY_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Clockify's browser extension: "#<Salesforce id> <title of the page>".
_RECORD_LINK = re.compile(r"#([A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?)(?!\S)")
# What neither XML nor a person can read; tab and line feed stay.
_UNREADABLE = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 127, 0xFFFE, 0xFFFF])


@dataclass(frozen=True, slots=True)
class Upsert:
    """Write one Event.

    `event`: Salesforce field -> value, without the external id, the version, owner and links.
    `shortened`: the fields that replace those of `event` where the org refuses more than 24 hours;
    None for an entry that is not longer. The rest is what owner and links are looked up by.
    """

    entry_id: str
    event: Mapping[str, Field]
    shortened: Mapping[str, Field] | None = None
    user_id: str | None = None
    user_email: str | None = None
    record_id: str | None = None  # 18 characters, out of the description
    project_id: str | None = None
    client_id: str | None = None
    workspace_id: str | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Take one Event away. `finished`: the entry had an end, so an Event of it may exist."""

    entry_id: str
    finished: bool = True


@dataclass(frozen=True, slots=True)
class Ignore:
    """Nothing to do in Salesforce, and why."""

    reason: str
    entry_id: str | None = None


Decision = Upsert | Delete | Ignore


def parse(body: bytes) -> Json:
    """Read a webhook's body: UTF-8 JSON without a byte order mark and without NaN.

    Raises BadMessage for anything else, also for JSON nested too deep to be read.
    """
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadMessage(
            "the body is not JSON in UTF-8: send the time entry as Clockify's webhook does"
        ) from None


def entries(event_type: str | None, message: Json) -> list[Json]:
    """Split a message into its time entries: one, or as many as a list holds.

    TIME_ENTRY_BATCH_DELETED is not documented: an entry, a list of entries or of ids, or an object
    that holds such a list; ids come out as entries. Raises BadMessage where no entry can be.
    """
    if event_type == "TIME_ENTRY_BATCH_DELETED":
        if isinstance(message, dict) and "id" not in message:
            lists = [value for value in message.values() if isinstance(value, list)]
            message = lists[0] if len(lists) == 1 else message
        if isinstance(message, list):
            return [{"id": item} if isinstance(item, str) else item for item in message]
    if isinstance(message, list) and event_type in LISTS:
        return message
    return [message]


def decide(event_type: str | None, entry: Json, *, subject: str = DEFAULT_SUBJECT) -> Decision:
    """Decide what one time entry of a message means.

    `event_type`: the `Clockify-Webhook-Event-Type` header; None, as in the recipe, is a finished
    entry. `subject`: a template that `check_subject` has passed. Raises BadMessage naming the field
    that cannot be read.
    """
    if event_type is not None and event_type not in UPSERTS | DELETES:
        return Ignore("this kind of event changes no Event")
    if not isinstance(entry, dict):
        raise BadMessage("the body is not a time entry: a JSON object belongs here")
    if entry.get("description") == TEST_DESCRIPTION:
        return Ignore("Clockify's test message")
    entry_id = entry.get("id")
    if not isinstance(entry_id, str) or not _CLOCKIFY_ID.fullmatch(entry_id):
        raise BadMessage("id: Clockify's id of the time entry belongs here (letters and digits)")
    if event_type in DELETES:
        interval = entry.get("timeInterval")
        running = isinstance(interval, dict) and interval.get("end", "") is None
        return Delete(entry_id, finished=not running)
    interval = entry.get("timeInterval")
    if not isinstance(interval, dict):
        raise BadMessage("timeInterval: an object with start and end belongs here")
    start = _instant(interval.get("start"), "timeInterval.start")
    if interval.get("end") is None:
        return Ignore("the timer is still running", entry_id)
    end = _instant(interval.get("end"), "timeInterval.end")
    if end < start:
        raise BadMessage("timeInterval.end: it lies before timeInterval.start")
    return _upsert(entry_id, entry, start, end, subject)


def essential(entry: Json) -> Json:
    """Reduce an entry to what `decide` reads, each text cut to what an Event can hold.

    For any entry: deciding on it and on what this gives is the same, and a time entry of any size
    fits a Cloud Tasks task (96 KB of UTF-8 at most).
    """
    if not isinstance(entry, dict):
        return entry
    names = _names(entry)
    project, user = _object(entry, "project"), _object(entry, "user")
    interval = entry.get("timeInterval")
    kept: dict[str, Json] = {"id": entry.get("id"), "workspaceId": _id(entry.get("workspaceId"))}
    if isinstance(entry.get("billable"), bool):
        kept["billable"] = entry["billable"]
    if entry.get("type") == "BREAK":
        kept["type"] = "BREAK"
    if isinstance(interval, dict):
        kept["timeInterval"] = {key: interval[key] for key in ("start", "end") if key in interval}
    elif "timeInterval" in entry:
        kept["timeInterval"] = None
    return kept | {
        "description": _cut(_text(entry.get("description")), DESCRIPTION_LIMIT),
        "userId": _id(entry.get("userId")) or _id(user.get("id")),
        "projectId": _id(entry.get("projectId")) or _id(project.get("id")),
        "project": {
            "name": names["project"],
            "clientName": names["client"],
            "clientId": _client_id(entry),
        },
        "task": {"name": names["task"]},
        "tags": [{"name": names["tags"]}],
        "user": {"name": names["user"], "email": _email(user)},
    }


def check_subject(template: str) -> str:
    """Return the Subject template; raise IntegrationError if it names what no entry has."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        parts = [("", "{", "", None)]
    for _, name, spec, conversion in parts:
        if name is not None and (name not in SUBJECT_NAMES or spec or conversion):
            known = ", ".join(f"{{{known}}}" for known in sorted(SUBJECT_NAMES))
            raise IntegrationError(f"EVENT_SUBJECT: only {known} may stand in braces")
    return template


def salesforce_id(text: str) -> str | None:
    """Return the 18-character form of a Salesforce id, or None where `text` cannot be one.

    The last three characters say which of the first fifteen are capitals, so that a mistyped or
    lower-cased id is told: https://help.salesforce.com/s/articleView?id=000383751
    """
    if not re.fullmatch(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?", text):
        return None
    checksum = "".join(
        (string.ascii_uppercase + "012345")[
            sum(1 << place for place, char in enumerate(text[at : at + 5]) if "A" <= char <= "Z")
        ]
        for at in (0, 5, 10)
    )
    return text[:15] + checksum if text[15:].upper() in ("", checksum) else None


def _upsert(
    entry_id: str, entry: dict[str, Json], start: datetime, end: datetime, subject: str
) -> Upsert:
    names = _names(entry)
    text = _text(entry.get("description"))
    details = _details(entry, names)
    event: dict[str, Field] = {
        "Subject": _subject(subject, names | {"description": text}),
        "StartDateTime": _written(start),
        "EndDateTime": _written(end),
        "Description": _description(text, details),
        "ShowAs": "Free" if entry.get("type") == "BREAK" else "Busy",
        # Four decimals tell every second, and Event itself may drop the seconds.
        "Clockify_Hours__c": round((end - start).total_seconds() / 3600, 4),
        "Clockify_Project__c": names["project"] or None,
        "Clockify_Client__c": names["client"] or None,
        "Clockify_Task__c": names["task"] or None,
        "Clockify_Tags__c": names["tags"] or None,
        "Clockify_Billable__c": entry.get("billable") is True,
    }
    shortened: dict[str, Field] | None = None
    if end - start > LONGEST_EVENT:
        span = f"Whole span: {_written(start)} to {_written(end)} ({event['Clockify_Hours__c']} h)"
        shortened = {
            "EndDateTime": _written(start + LONGEST_EVENT),
            "Description": _description(text, [span, *details]),
        }
    link = _RECORD_LINK.match(text)
    return Upsert(
        entry_id,
        event,
        shortened,
        user_id=_id(entry.get("userId")) or _id(_object(entry, "user").get("id")),
        user_email=_email(_object(entry, "user")),
        record_id=salesforce_id(link[1]) if link else None,
        project_id=_id(entry.get("projectId")) or _id(_object(entry, "project").get("id")),
        client_id=_client_id(entry),
        workspace_id=_id(entry.get("workspaceId")),
    )


def _names(entry: Mapping[str, Json]) -> dict[str, str]:
    """The entry's names, each on one line and no longer than its field."""
    project, tags = _object(entry, "project"), entry.get("tags")
    names = {
        "project": _text(project.get("name")),
        "client": _text(project.get("clientName")) or _text(_object(project, "client").get("name")),
        "task": _text(_object(entry, "task").get("name")),
        "tags": ", ".join(
            name
            for tag in (tags if isinstance(tags, list) else [])
            if isinstance(tag, dict) and (name := _text(tag.get("name")))
        ),
        "user": _text(_object(entry, "user").get("name")),
    }
    return {key: _cut(" ".join(name.split()), TEXT_LIMIT) for key, name in names.items()}


def _details(entry: Mapping[str, Json], names: Mapping[str, str]) -> list[str]:
    project = names["project"]
    if project and names["client"]:
        project += f" ({names['client']})"
    billable = {True: "yes", False: "no"}.get(entry.get("billable") is True)
    lines = {
        "Project": project,
        "Task": names["task"],
        "Tags": names["tags"],
        "Billable": billable if isinstance(entry.get("billable"), bool) else "",
        "Logged by": names["user"],
    }
    return [f"{label}: {value}" for label, value in lines.items() if value]


def _description(text: str, details: list[str]) -> str:
    """The person's own words first; they give way where both do not fit."""
    below = "\n".join(details)
    room = DESCRIPTION_LIMIT - _length(below) - 2
    return "\n".join(part for part in (_cut(text, room), below) if part)


def _subject(template: str, names: Mapping[str, str]) -> str:
    filled = " ".join(template.format(**names).split()) if "{" in template else template
    # A template with an empty name at its edge leaves its punctuation there: "{project}: …".
    return _cut(filled.strip(" :;,.|/-–—") if "{" in template else filled, SUBJECT_LIMIT) or (
        DEFAULT_SUBJECT
    )


def _instant(value: Json, field: str) -> datetime:
    """An instant of Clockify's: ISO 8601 with Z or an offset, in UTC."""
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
        if moment.tzinfo is None:
            raise ValueError
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadMessage(
            f"{field}: a time with its zone belongs here, like 2026-11-02T08:30:00Z"
        ) from None
    if not EARLIEST <= moment <= LATEST:
        raise BadMessage(f"{field}: Salesforce keeps times between 1700 and 4000 only")
    return moment


def _written(moment: datetime) -> str:
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def _text(value: Json) -> str:
    """A text that Salesforce and every reader can take: no half characters, no control codes."""
    if not isinstance(value, str):
        return ""
    whole = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\r\n", "\n").replace("\r", "\n").translate(_UNREADABLE).strip()


def _length(text: str) -> int:
    """Length as Salesforce counts at most: UTF-16 code units, a line break as two."""
    return len(text.encode("utf-16-le")) // 2 + text.count("\n")


def _cut(text: str, limit: int) -> str:
    """The text, or as much of it as fits with `…` behind it."""
    if _length(text) <= limit:
        return text
    units = text.replace("\n", "\r\n").encode("utf-16-le")[: 2 * (limit - 1)]
    return units.decode("utf-16-le", "ignore").replace("\r\n", "\n").rstrip("\r") + "…"


def _object(holder: Mapping[str, Json], key: str) -> dict[str, Json]:
    value = holder.get(key)
    return value if isinstance(value, dict) else {}


def _id(value: Json) -> str | None:
    return value if isinstance(value, str) and _CLOCKIFY_ID.fullmatch(value) else None


def _client_id(entry: Mapping[str, Json]) -> str | None:
    project = _object(entry, "project")
    return _id(project.get("clientId")) or _id(_object(project, "client").get("id"))


def _email(user: Mapping[str, Json]) -> str | None:
    value = user.get("email")
    return value.casefold() if isinstance(value, str) and 3 <= len(value) <= 254 else None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
