"""Entries whose messages came while history was written: settled one by one, as a message is.

History is written in bulk without `Clockify_State__c`. So after each batch Salesforce is asked once
which states have changed since before the batch was read, and those entries take the message's own
way: read the state, ask Clockify, write by compare-and-set. What a message brings meanwhile wins.
"""

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from clockify_salesforce import kinds
from clockify_salesforce.decisions import TIME_ENTRY
from clockify_salesforce.delivery import Delivery
from clockify_salesforce.kinds.kind import Kind
from clockify_salesforce.mapping_rules import Rules
from clockify_salesforce.message import Entry, Message, Outcome
from clockify_salesforce.receipts import Receipts
from clockify_salesforce.salesforce.directory import Directory
from clockify_salesforce.salesforce.drafts import Drafts
from clockify_salesforce.salesforce.errors import STATE
from clockify_salesforce.salesforce.records import Records
from commands.repair.patience import PatientOrg
from commands.repair.reading import Readers
from mapping import Json, Upsert

# A report may lack what happened in Clockify so shortly before it, and Salesforce's servers' clocks
# differ by seconds.
LAG = timedelta(seconds=90)
# A clock here that is ahead is set right by Clockify's, but by no more than this.
MOST_AHEAD_S = 15 * 60.0
ENTRY_S = 300.0  # for one entry
CLEANED = 20_000  # states in a run, 200 in a call


class Clock(Receipts):
    """The time that a state keeps of what Clockify said.

    A clock here that is ahead would make messages that come later look older. Clockify's `Date` can
    make the time older, and by minutes at most.
    """

    def __init__(self, ahead_s: Callable[[], float]) -> None:
        """`ahead_s`: by how much this machine's clock is ahead of Clockify's, in seconds."""
        super().__init__()
        self._ahead_s = ahead_s

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        ahead_s = min(max(self._ahead_s(), 0.0), MOST_AHEAD_S)
        return super().now_ms() - round(ahead_s * 1000)


class Settling:
    """How single entries are settled, and which ones have to be."""

    def __init__(
        self,
        org: PatientOrg,
        directory: Directory,
        readers: Readers,
        clock: Clock,
        *,
        rules: Rules,
        workspace: str,
        kind: Kind | None = None,
    ) -> None:
        """`kind`: None for time entries."""
        self._kind = kind
        self._key = f"{kind.name if kind else TIME_ENTRY}:"
        self._org = org
        self._readers = readers
        self._clock = clock
        self._workspace = workspace
        self._mark: datetime | None = None
        # What Clockify has to be told, beside its id, to be asked for one.
        self.more: Callable[[str], dict[str, str]] = lambda entry_id: {}
        records = Records(org.org)
        drafts = Drafts(
            directory, rules=rules, own_user_id=lambda deadline: org.org.user_id(deadline)
        )
        self._delivery = Delivery(records, drafts, clock, rules=rules, ask=self._ask)

    def begin(self) -> None:
        """Note a moment, by Salesforce's own clock, before anything is read.

        Where no message has come yet, every state will be behind it.
        """
        newest = f"SELECT SystemModstamp FROM {STATE} ORDER BY SystemModstamp DESC LIMIT 1"
        for row in self._org.rows(newest):
            self._mark = datetime.fromisoformat(row["SystemModstamp"]).astimezone(UTC) - LAG

    def messaged(self, entry_ids: Collection[str]) -> list[str]:
        """Which of the entries a message has come for since then."""
        soql = f"SELECT Key__c FROM {STATE}"
        if self._mark is not None:
            soql += f" WHERE SystemModstamp >= {self._mark:%Y-%m-%dT%H:%M:%SZ}"
        wanted = set(entry_ids)
        found = (str(row["Key__c"]) for row in self._org.rows(soql))
        return [
            each.removeprefix(self._key)
            for each in found
            if each.startswith(self._key) and each.removeprefix(self._key) in wanted
        ]

    def settle(self, entry_id: str) -> Outcome:
        """Bring one entry to Salesforce as Clockify has it now. Raises IntegrationError."""
        # To the message's way this is one that only Clockify can tell to be the newest or not.
        message = Message(
            event_type=None,
            body=b"",
            signature="",
            received_ms=self._clock.now_ms(),
            received_by=self._clock.instance,
            queued=True,
            doubtful=True,
            deadline=time.monotonic() + ENTRY_S,
        )
        entry = self._entry(entry_id, {"id": entry_id, "workspaceId": self._workspace})
        return self._delivery.deliver(message, entry, self._delivery.receive(message, entry))

    def _entry(self, entry_id: str, content: dict[str, Any]) -> Entry:
        """What a message would tell of it; what it is related to decides what is read of it."""
        if self._kind is None:
            return Entry(content, Upsert(entry_id, {}), "history")
        content |= self.more(entry_id)
        found = self._now(self._kind, content)
        is_gone = found is None
        content |= found or {}
        return Entry(content, kinds.read(self._kind, content, gone=is_gone), "history")

    def _ask(self, entry: Entry, deadline: float) -> Json:
        if self._kind is None:
            return self._readers.now(str(entry.decision.entry_id))
        content = entry.content if isinstance(entry.content, dict) else {}
        return self._now(self._kind, content)

    def _now(self, kind: Kind, content: dict[str, Any]) -> dict[str, Any] | None:
        path, record_id = kind.path_of(content), str(content["id"])
        found = self._readers.use(lambda history: history.lists.record(path, record_id))
        return found and found | {"workspaceId": self._workspace}

    def clean_up(self) -> int:
        """Take away states that nothing has touched for 30 days; return how many.

        Nothing older than the queue can come again. Each first gets another key, by compare-and-set
        as every write: so none goes that a message has just changed, and what lies in the recycle
        bin holds on to no key.
        """
        old = f"SELECT Id, Version__c FROM {STATE} WHERE SystemModstamp < LAST_N_DAYS:30 LIMIT 200"
        cleaned = 0
        while cleaned < CLEANED:
            renamed = self._renamed(list(self._org.rows(old)))
            results = self._org.collection("DELETE", "", renamed) if renamed else []
            done = sum(each.get("success") is True for each in results)
            if not done:
                break
            cleaned += done
        return cleaned

    def _renamed(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Give the states keys that no message asks for; return those that got one."""
        records = [
            {
                "attributes": {"type": STATE},
                "id": row["Id"],
                "Key__c": f"gone:{row['Id']}",
                "Version__c": (row["Version__c"] or 0) + 1,
                "Based_On__c": row["Version__c"],
            }
            for row in rows
        ]
        results = self._org.collection("PATCH", "", records) if records else []
        pairs = zip(records, results, strict=True)
        return [record for record, result in pairs if result.get("success") is True]
