"""The kinds of Clockify's besides time entries: a module each, and a line in this table. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from clockify_salesforce.decisions import Decision, Ignore, Record
from clockify_salesforce.errors import BadMessage
from clockify_salesforce.kinds import client, invoice, project, task
from clockify_salesforce.kinds.kind import Body, Kind
from clockify_salesforce.time_entry import Json

KINDS: tuple[Kind, ...] = (client.KIND, project.KIND, task.KIND, invoice.KIND)

BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in KINDS}
BY_EVENT: Mapping[str, Kind] = {event: kind for kind in KINDS for event in kind.events}


def decide(kind: Kind, content: Json, *, gone: bool = False) -> Decision:
    """Decide what a message of one of these kinds means. `gone`: Clockify has deleted it.

    Raises BadMessage naming the field that cannot be read, UnusableEntry for what no repeat can
    make right.
    """
    found = read(kind, content, gone=gone)
    field, value = kind.sample
    if isinstance(content, dict) and content.get(field) == value:
        return Ignore("Clockify's test message", found.entry_id, kind=kind.name)
    return found


def read(kind: Kind, content: Json, *, gone: bool = False) -> Decision:
    """Read one of a kind, as a webhook or the REST API tells it. Raises as `decide`."""
    if not isinstance(content, dict):
        raise BadMessage(f"the body is not a {kind.name}: a JSON object belongs here")
    return kind.read(Body(kind.name, content), gone)


def gone(kind: Kind, content: Json, *, is_there: bool) -> Decision:
    """Say what it means that Clockify has deleted what a body tells of, in whatever state.

    `is_there`: Salesforce holds it. Then a record says so and keeps all else; one that says nothing
    of it stays as it is, or is not made. Raises as `decide`.
    """
    found = read(kind, content, gone=True)
    if not isinstance(found, Record):
        return found
    before = read(kind, content)
    held = before.fields if isinstance(before, Record) else {}
    says = {name: value for name, value in found.fields.items() if held.get(name) != value}
    if says and not is_there:
        return found
    return replace(found, fields=says, references=(), lines=None)


def essential(kind: Kind, content: Json) -> Json:
    """Reduce a body to what `read` reads of it, for the retry queue."""
    if not isinstance(content, dict):
        return None
    return {
        key: _only(value, kind.within[key]) if key in kind.within else value
        for key, value in content.items()
        if key in kind.keys
    }


def _only(items: Json, keys: frozenset[str]) -> Json:
    """A list's objects with these keys alone."""
    return [
        {key: value for key, value in item.items() if key in keys}
        for item in (items if isinstance(items, list) else [])
        if isinstance(item, dict)
    ]
