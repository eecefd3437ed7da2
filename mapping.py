"""Decide what a Clockify message means for Salesforce: upsert an Event, delete it, or nothing.

Values in, frozen decisions out: no clock, no environment, no network, no file. What a time entry
means is decided here; a client, project, task or invoice has a module of its own in
`clockify_salesforce/kinds`. What a time entry looks like:
https://docs.clockify.me/#tag/Time-entry; which webhooks there are:
https://clockify.me/help/integrations/webhooks. What an Event may hold:
https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_event.htm
"""

import json
import re
import string
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from clockify_salesforce import kinds
from clockify_salesforce.decisions import EVENT as EVENT
from clockify_salesforce.decisions import Decision as Decision
from clockify_salesforce.decisions import Delete as Delete
from clockify_salesforce.decisions import Field as Field
from clockify_salesforce.decisions import Ignore as Ignore
from clockify_salesforce.decisions import Match as Match
from clockify_salesforce.decisions import Record as Record
from clockify_salesforce.decisions import Running as Running
from clockify_salesforce.decisions import Target as Target
from clockify_salesforce.decisions import Upsert as Upsert
from clockify_salesforce.decisions import Withdraw as Withdraw
from clockify_salesforce.errors import BadMessage, SettingsError, UnusableEntry
from clockify_salesforce.mapping_rules import DEFAULT_RULES as DEFAULT_RULES
from clockify_salesforce.mapping_rules import DEFAULT_SUBJECT as DEFAULT_SUBJECT
from clockify_salesforce.mapping_rules import LOGGED_BY, NotTold, Read, template
from clockify_salesforce.mapping_rules import NAMES as NAMES
from clockify_salesforce.mapping_rules import Rules as Rules
from clockify_salesforce.time_entry import DELETED_USER, TimeEntry, read_time_entry
from clockify_salesforce.time_entry import Json as Json

EXTERNAL_ID = EVENT.external_id

STARTED = "NEW_TIMER_STARTED"
RESTORED = "TIME_ENTRY_RESTORED"
UPDATED = "TIME_ENTRY_UPDATED"
UPSERTS = frozenset({"TIMER_STOPPED", "NEW_TIME_ENTRY", UPDATED, RESTORED, "TIME_ENTRY_SPLIT"})
DELETES = frozenset({"TIME_ENTRY_DELETED", "TIME_ENTRY_BATCH_DELETED"})
# Only these may carry several time entries; elsewhere a list is a mistake that must be heard.
LISTS = frozenset({"TIME_ENTRY_SPLIT", "TIME_ENTRY_BATCH_DELETED"})

# What is decided upon; of all else, nothing is done and the body is not looked at.
KNOWN = UPSERTS | DELETES | kinds.BY_EVENT.keys()

# An org that has not switched multiday events on refuses more than 1,440 minutes.
LONGEST_EVENT = timedelta(hours=24)
# The range of a Salesforce date/time field.
EARLIEST, LATEST = datetime(1700, 1, 1, tzinfo=UTC), datetime(4000, 12, 31, tzinfo=UTC)

# Clockify's test button sends a sample of its documentation, whose ids were made in July 2020:
# the first eight digits of an id are its second of birth.
TEST_DESCRIPTION = "Webhook Test Description"
_TEST_ID = re.compile(r"5e[0-9a-f]{22}|5f[0-9a-f]{22}|6[01][0-9a-f]{22}")  # 2020, 2021

# Clockify's browser extension: "#<Salesforce id> <title of the page>".
_RECORD_LINK = re.compile(r"#([A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?)(?!\S)")


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


def decide(event_type: str | None, entry: Json, *, rules: Rules = DEFAULT_RULES) -> Decision:
    """Decide what one time entry of a message means.

    `event_type`: the `Clockify-Webhook-Event-Type` header; None, as in the recipe, is a finished
    entry. Raises BadMessage naming the field that cannot be read, UnusableEntry for what no repeat
    can make right.
    """
    if kind := kinds.BY_EVENT.get(event_type or ""):
        return kinds.decide(kind, entry, gone=event_type in kind.deletes)
    if event_type is not None and event_type not in UPSERTS | DELETES:
        return _ignored_kind(event_type, entry)
    if not isinstance(entry, dict):
        raise BadMessage("the body is not a time entry: a JSON object belongs here")
    read = read_time_entry(entry, rules.custom_fields)
    if read.id is None:
        raise BadMessage("id: Clockify's id of the time entry belongs here (letters and digits)")
    if event_type in DELETES:
        return Delete(read.id, finished=read.end is not None or not read.end_is_told)
    if read.description == TEST_DESCRIPTION and _TEST_ID.fullmatch(read.id):
        return Ignore("Clockify's test message", read.id)
    if not read.has_interval:
        raise BadMessage("timeInterval: an object with start and end belongs here")
    start = _instant(read.start, "timeInterval.start", read.id)
    if read.end is None:
        return Running(read.id)
    end = _instant(read.end, "timeInterval.end", read.id)
    if end < start:
        raise UnusableEntry("timeInterval.end: it lies before timeInterval.start", entry_id=read.id)
    return _filtered(read, start, end, rules)


def essential(entry: Json, *, rules: Rules = DEFAULT_RULES, event_type: str | None = None) -> Json:
    """Reduce an entry to what `decide` reads, clean and bounded.

    `decide` reads an entry and what this gives of it the same. As JSON in UTF-8 it has at most
    96,000 bytes, which fits a Cloud Tasks task; an invoice of hundreds of lines may have more.
    """
    if kind := kinds.BY_EVENT.get(event_type or ""):
        return kinds.essential(kind, entry)
    if not isinstance(entry, dict):
        return None
    return read_time_entry(entry, rules.custom_fields).as_json()


def check_subject(text: str) -> str:
    """Return EVENT_SUBJECT as a template; raise SettingsError if it names what no entry has."""
    if "{" not in text:
        return text.replace("}", "}}")
    try:
        template(text)
    except SettingsError as error:
        raise SettingsError(f"EVENT_SUBJECT: {error}") from None
    return text


def with_known_name(decision: Upsert, held: str | None) -> Upsert:
    """Return the decision with the name that an Event's Description tells already.

    Clockify forgets the name of a person whom somebody deletes there, and calls all of them
    DeletedUser. `held`: the Description of the Event as Salesforce has it.
    """
    if not decision.user_is_lost:
        return decision
    known = held.rpartition("\n")[2] if held else ""
    if not known.startswith(LOGGED_BY):
        return decision

    def told(fields: Mapping[str, Field]) -> dict[str, Field]:
        text = fields.get("Description")
        lines = text.split("\n") if isinstance(text, str) and text else []
        if lines[-1:] == [LOGGED_BY + DELETED_USER]:
            del lines[-1]
        return {**fields, "Description": "\n".join([*lines, known])}

    shortened = None if decision.shortened is None else told(decision.shortened)
    return replace(decision, event=told(decision.event), shortened=shortened)


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


def _ignored_kind(event_type: str, entry: Json) -> Ignore:
    """Say nothing of the kinds that concern no Event, but of a time entry of an unknown kind."""
    read = read_time_entry(entry) if isinstance(entry, dict) else None
    if event_type == STARTED or read is None or read.id is None or not read.start:
        return Ignore("this kind of event changes no Event", read.id if read else None)
    shown = re.sub(r"[^A-Za-z0-9_.-]", "?", event_type[:64])
    return Ignore(
        f"a time entry came with the event type {shown}, which is not known here: look in Clockify"
        " which webhook sends it",
        read.id,
        warning=True,
    )


def _filtered(entry: TimeEntry, start: datetime, end: datetime, rules: Rules) -> Decision:
    """Leave the entry out where a filter says so, else upsert it."""
    read = rules.read(entry, end - start)
    try:
        filter_name = rules.left_out_by(read)
    except NotTold as error:
        reason = f"mapping.toml asks for the {error} of an entry, which this one does not tell"
        return Ignore(reason, entry.id, warning=True)
    if filter_name:
        return Withdraw(str(entry.id), f"mapping.toml leaves it out: {filter_name}")
    return _upsert(read, start, end, rules)


def _upsert(read: Read, start: datetime, end: datetime, rules: Rules) -> Upsert:
    entry = read.entry
    event, on_create = rules.event_fields(read)
    # What follows them is no template's, and so was cleaned as it is.
    _break_references(event)
    _break_references(on_create)
    event |= {
        "StartDateTime": _written(start),
        "EndDateTime": _written(end),
        # Four decimals tell every second, and Event itself may drop the seconds.
        "Clockify_Hours__c": read.hours,
        "Clockify_Project__c": entry.project or None,
        "Clockify_Client__c": entry.client or None,
        "Clockify_Task__c": entry.task or None,
        "Clockify_Tags__c": read.texts["tags"] or None,
        "Clockify_Billable__c": entry.billable is True,
        "Clockify_Workspace_Id__c": entry.workspace_id,
    }
    if entry.type:
        event["Clockify_Type__c"] = entry.type
    on_create["IsReminderSet"] = False
    link = _RECORD_LINK.match(entry.description)
    shortened = _shortened(read, start, end, rules) if end - start > LONGEST_EVENT else None
    return Upsert(
        str(entry.id),
        event,
        on_create,
        shortened,
        user_id=entry.user_id,
        user_email=entry.email,
        record_id=salesforce_id(link[1]) if link else None,
        project_id=entry.project_id,
        client_id=entry.client_id,
        workspace_id=entry.workspace_id,
        user_is_lost=entry.is_user_lost,
    )


def _shortened(read: Read, start: datetime, end: datetime, rules: Rules) -> dict[str, Field]:
    """The fields of an Event that ends after 24 hours and tells the whole span."""
    span = f"Whole span: {_written(start)} to {_written(end)} ({read.hours} h)"
    fields: dict[str, Field] = {
        "EndDateTime": _written(start + LONGEST_EVENT),
        "Description": rules.description_with(span, read),
    }
    _break_references(fields)
    return fields


def _break_references(fields: dict[str, Field]) -> None:
    """Break what a template has put together to `@{`, as `time_entry.clean` does in each text."""
    for name, value in fields.items():
        if isinstance(value, str) and "@{" in value:
            fields[name] = value.replace("@{", "@(")


def _instant(value: str, field: str, entry_id: str) -> datetime:
    """An instant of Clockify's: ISO 8601 with Z or an offset, in UTC."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadMessage(f"{field}: a time with its zone belongs here, like 2026-11-02T08:30:00Z")
    if moment.tzinfo is not UTC:
        try:
            moment = moment.astimezone(UTC)
        except OverflowError:
            moment = datetime.min.replace(tzinfo=UTC)
    if not EARLIEST <= moment <= LATEST:
        raise UnusableEntry(
            f"{field}: Salesforce keeps times between 1700 and 4000 only", entry_id=entry_id
        )
    return moment


def _written(moment: datetime) -> str:
    """A moment in UTC as Salesforce takes it."""
    text = moment.isoformat(timespec="milliseconds") if moment.microsecond else moment.isoformat()
    return text[: -len("+00:00")] + "Z"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
