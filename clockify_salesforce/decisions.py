"""What a Clockify message may mean for Salesforce: the values that mapping decides between. Pure.

A time entry or a task becomes an activity (`Upsert`); a project, an invoice or a kind of one's own
a record of a custom object (`Record`); a client is matched with an Account (`Match`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Field = str | float | bool | None

TIME_ENTRY = "time_entry"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the records of a kind are in Salesforce. `external_id`: the field with Clockify's id.

    `prefix`: how an activity's own ids begin, "" for all else.
    """

    object: str
    external_id: str
    prefix: str = ""


EVENT = Target("Event", "Clockify_Time_Entry_Id__c", "00U")


@dataclass(frozen=True, slots=True)
class Upsert:
    """Write one activity: the Event of a time entry, or the Task of a task.

    `event`: Salesforce field -> value, without the external id, owner and links. `on_create`: the
    fields that only a new one gets. `shortened`: the fields that replace those of `event` where
    the org refuses more than 24 hours; None for an entry that is not longer. `status`: of a task,
    Clockify's. The rest is what owner and links are looked up by.
    """

    entry_id: str
    event: Mapping[str, Field]
    on_create: Mapping[str, Field] = field(default_factory=dict)
    shortened: Mapping[str, Field] | None = None
    user_id: str | None = None
    user_email: str | None = None
    record_id: str | None = None  # 18 characters, out of the description
    project_id: str | None = None
    client_id: str | None = None
    workspace_id: str | None = None
    user_is_lost: bool = False  # deleted in Clockify: see `mapping.with_known_name`
    kind: str = TIME_ENTRY
    target: Target = EVENT
    status: str = ""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The entry lives, but gets no Event, and why: one that is there goes away."""

    entry_id: str
    reason: str
    kind: str = TIME_ENTRY


@dataclass(frozen=True, slots=True)
class Delete:
    """Take one activity away. `finished`: the entry had an end, so an Event of it may exist."""

    entry_id: str
    finished: bool = True
    kind: str = TIME_ENTRY
    target: Target = EVENT


@dataclass(frozen=True, slots=True)
class Running:
    """The entry's timer runs: no Event of this message, but the entry is alive."""

    entry_id: str
    kind: str = TIME_ENTRY


@dataclass(frozen=True, slots=True)
class Ignore:
    """Nothing to do in Salesforce, and why. `warning`: somebody should look at it."""

    reason: str
    entry_id: str | None = None
    warning: bool = False
    kind: str = TIME_ENTRY


@dataclass(frozen=True, slots=True)
class Reference:
    """A lookup field of a record: it gets the id of the record of `target` with this Clockify id.

    `clockify_id`: None clears the field.
    """

    field: str
    target: Target
    clockify_id: str | None


@dataclass(frozen=True, slots=True)
class Line:
    """A record that belongs to another one. `key`: its external id."""

    key: str
    fields: Mapping[str, Field]


@dataclass(frozen=True, slots=True)
class Lines:
    """All lines of a record: those that Salesforce has besides go away.

    `parent`: their lookup field to the record they belong to.
    """

    target: Target
    parent: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """Write one record of an object of ours. `gone`: Clockify has deleted it; `fields` say so."""

    kind: str
    entry_id: str
    target: Target
    fields: Mapping[str, Field]
    references: tuple[Reference, ...] = ()
    lines: Lines | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Match:
    """Give a record of the company's own Clockify's id, or take it off where `gone`.

    `target.external_id` is the field for it; the record is found by its name.
    """

    kind: str
    entry_id: str
    target: Target
    name: str
    gone: bool = False


Decision = Upsert | Withdraw | Delete | Running | Ignore | Record | Match
