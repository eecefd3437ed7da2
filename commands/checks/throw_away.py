"""Records that a check makes to see what Salesforce does with them, and takes away again.

All carry one mark in their ids, so that a run finds what an earlier one left, even one that was
killed. They lie in the year 2100, far from anybody's day, and belong to the integration user.
"""

import contextlib
import secrets
import time
from datetime import UTC, datetime, timedelta

import mapping
from clockify_salesforce.errors import IntegrationError, SalesforceUnavailable
from clockify_salesforce.mapping_rules import Rules
from clockify_salesforce.salesforce.client import Json, Org
from clockify_salesforce.salesforce.errors import STATE
from mapping import EXTERNAL_ID

MARK = "clockify-check-"
CALL_S = 60.0
BATCH, ROUNDS = 200, 10
# Seconds that are not zero, to see whether an Event keeps them.
START = datetime(2100, 1, 4, 8, 30, 17, tzinfo=UTC)
SUBJECT = "Clockify check: goes away by itself"


class ThrowAway:
    """What one run makes. `org`: signed in as the integration user."""

    def __init__(self, org: Org) -> None:
        self._org = org
        self.run = MARK + secrets.token_hex(6)

    def entry_id(self, what: str) -> str:
        """The id of a made-up time entry of this run's."""
        return f"{self.run}-{what}"

    def key(self, what: str) -> str:
        """The key of its state."""
        return f"time_entry:{self.entry_id(what)}"

    def take_away(self) -> tuple[int, list[str]]:
        """Delete what this run and earlier ones have made.

        Returns how many there were, and what could not be deleted. Raises IntegrationError where
        nothing can be read.
        """
        first = found = self._there()
        for _ in range(ROUNDS):
            if not found:
                break
            before = found
            # States last: without its state, a message that comes late would be new.
            for name in ("Event", STATE):
                self._delete([each for kind, each in before if kind == name])
            found = self._there()
            if found == before:
                break
        return len(first), [f"{name} {each}" for name, each in found]

    def _there(self) -> list[tuple[str, str]]:
        """Object and id of such records, up to 200 of each object."""
        wanted = (
            ("Event", f"{EXTERNAL_ID} LIKE '{MARK}%'"),
            (STATE, f"Key__c LIKE 'time_entry:{MARK}%'"),
        )
        answers = self._org.queries(
            [f"SELECT Id FROM {name} WHERE {which} LIMIT {BATCH}" for name, which in wanted],
            deadline(),
        )
        found = []
        for (name, _), answer in zip(wanted, answers, strict=True):
            if isinstance(answer, SalesforceUnavailable):
                raise answer
            if isinstance(answer, dict):  # what is not deployed, or hidden, has none
                found += [(name, str(row["Id"])) for row in answer["records"]]
        return sorted(found)

    def _delete(self, ids: list[str]) -> None:
        """https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections_delete.htm"""
        if ids:
            with contextlib.suppress(IntegrationError):  # what is still there is told
                self._org.call(
                    "DELETE",
                    "composite/sobjects",
                    deadline(),
                    params={"ids": ",".join(ids), "allOrNone": "false"},
                )


def entry(
    entry_id: str, *, minutes: float | None = 30.0, person: str | None = None
) -> dict[str, mapping.Json]:
    """A time entry as Clockify sends it, for nothing. `minutes`: None while its timer runs.

    It names no workspace, so that Clockify is never asked for what it does not have.
    """
    end = None if minutes is None else _z(START + timedelta(minutes=minutes))
    return {
        "id": entry_id,
        "description": SUBJECT,
        "userId": person,
        "billable": False,
        "projectId": None,
        "timeInterval": {"start": _z(START), "end": end},
        "customFieldValues": [],
        "type": "REGULAR",
        "project": None,
        "task": None,
        "tags": [],
    }


def event_of(content: dict[str, mapping.Json], rules: Rules) -> Json:
    """The Event as the function makes it, without owner and links; filters of `rules` apart."""
    unfiltered = Rules(rules.subject, rules.fields, links=rules.links)
    decision = mapping.decide("NEW_TIME_ENTRY", content, rules=unfiltered)
    if not isinstance(decision, mapping.Upsert):
        raise TypeError("a finished time entry is an Event")
    return {**decision.event, **decision.on_create, "Subject": SUBJECT}


def _z(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def deadline() -> float:
    """When a call that begins now is given up, of time.monotonic()."""
    return time.monotonic() + CALL_S
