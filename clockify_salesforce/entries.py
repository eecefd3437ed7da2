"""The time entries of a message, each with what it means and the fingerprint it is known by."""

import json
import re
from collections.abc import Callable, Iterable, Sequence

import mapping
from clockify_salesforce import state
from clockify_salesforce.clockify.client import ClockifyError
from clockify_salesforce.errors import BadMessage, IntegrationError, UnusableEntry
from clockify_salesforce.hand_over import ENTRIES_A_TASK, FINGERPRINT
from clockify_salesforce.mapping_rules import Rules
from clockify_salesforce.message import Entry, Message, Outcome, Result, Waiting
from mapping import Json

# A kind, a body of it and a deadline -> the body with more in it.
TellMore = Callable[[str, Json, float], Json]

# A message that has waited this long is given up, out loud: the repair takes its entry up.
KEPT_MS = 7 * 24 * 3600 * 1000


Found = Entry | Outcome | Waiting


def read(
    message: Message, *, rules: Rules, now_ms: int, tell: TellMore | None = None
) -> list[Found]:
    """Read the entries of a message; what needs no more is an Outcome already.

    `now_ms`: the time. `tell`: adds to an entry what the rules read and no message tells; where it
    cannot, the entry has to wait. Raises BadMessage where nothing of it can be a time entry.
    """
    event_type = message.event_type
    contents = mapping.entries(event_type, _parsed(message))
    several = len(contents) > 1
    found: list[Found] = []
    for content in _each_once(contents):
        try:
            decision = mapping.decide(event_type, content, rules=rules)
        except UnusableEntry as error:
            found.append(Outcome(Result.UNUSABLE, error.entry_id, str(error)))
        except BadMessage as error:
            if not several:
                raise
            found.append(Outcome(Result.UNUSABLE, None, str(error)))
        else:
            said = json.dumps(content).encode() if several else message.body
            known_by = _carried(message, content) or state.fingerprint(event_type, said)
            entry = Entry(content, decision, known_by)
            found.append(_told(message, entry, rules, tell) if tell else entry)
    if several and not any(isinstance(each, Entry | Waiting) or each.entry_id for each in found):
        raise BadMessage("the list holds no time entry")
    return [_given_up(each) for each in found] if _is_too_old(message, now_ms) else found


def _told(message: Message, entry: Entry, rules: Rules, tell: TellMore) -> Entry | Waiting:
    try:
        content = tell(entry.decision.kind, entry.content, message.deadline)
    except ClockifyError as error:
        return Waiting(entry, error)
    if content is entry.content:
        return entry
    decision = mapping.decide(message.event_type, content, rules=rules)
    return Entry(content, decision, entry.fingerprint)


def too_many(found: Sequence[Found]) -> IntegrationError | None:
    """Why a message is not worked on but put into the queue in pieces; None for most."""
    if len(found) <= ENTRIES_A_TASK:
        return None
    return IntegrationError(f"it holds {len(found)} entries: they come in pieces")


def _parsed(message: Message) -> Json:
    try:
        return mapping.parse(message.body)
    except BadMessage:
        if message.event_type is None or message.event_type in mapping.KNOWN:
            raise
        return None


def _each_once(contents: Iterable[Json]) -> list[Json]:
    """The entries, of those with one id only the first."""
    first: dict[object, Json] = {}
    for number, content in enumerate(contents):
        entry_id = content.get("id") if isinstance(content, dict) else None
        first.setdefault(entry_id if isinstance(entry_id, str) else number, content)
    return list(first.values())


def _carried(message: Message, content: Json) -> str:
    """The fingerprint that an entry out of the queue carries where it was cut, else ""."""
    carried = content.get(FINGERPRINT) if message.queued and isinstance(content, dict) else None
    return carried if isinstance(carried, str) and re.fullmatch(r"[0-9a-f]{24}", carried) else ""


def _is_too_old(message: Message, now_ms: int) -> bool:
    return message.queued and now_ms - message.received_ms > KEPT_MS


def _given_up(found: Found) -> Outcome:
    if isinstance(found, Outcome):
        return found
    if isinstance(found, Waiting):
        found = found.entry
    return Outcome(
        Result.EXPIRED,
        found.decision.entry_id,
        "it waited for more than 7 days and is given up: run 'python -m commands.backfill' for the"
        " days since then (docs/backfill.md)",
    )
