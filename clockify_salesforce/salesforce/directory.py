"""Find the Salesforce records of an Event: whose calendar it is in, and what it is related to.

The records that carry Clockify's ids are few, so they are read all at once, in one call, and kept
for an hour; a message costs no call of its own. A look-up that fails is told to the log and costs
the Event its owner or link, never the Event. Nothing is written here.
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_composite.htm
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol
from urllib.parse import quote

from clockify_salesforce.clockify.client import Clockify
from clockify_salesforce.errors import IntegrationError
from clockify_salesforce.salesforce.client import Org, quoted
from clockify_salesforce.salesforce.errors import SalesforceRefused
from clockify_salesforce.salesforce.records import Links
from mapping import Upsert

FOUND_S, MISSING_S = 60 * 60.0, 5 * 60.0
# After a look-up without an answer, so that not every message waits for it.
PAUSE_S = 15.0
# A message has 7.5 s in all: look-ups take a third of what is left of them at most.
PATIENCE_S, SHARE = 2.5, 1 / 3
# One answer of Salesforce's holds 2,000 rows. Where there are more, the latest are read, and the
# others one by one when they are needed.
ROWS = 2000
KEPT = 10_000  # answers that are kept of each table

# Key prefixes of the standard objects that Clockify's browser extension is used on.
# https://help.salesforce.com/s/articleView?id=000385203
WHO_PREFIXES = {"003": "Contact", "00Q": "Lead"}
WHAT_PREFIXES = {
    "001": "Account",
    "006": "Opportunity",
    "01t": "Product2",
    "02i": "Asset",
    "0Q0": "Quote",
    "0WO": "WorkOrder",
    "500": "Case",
    "501": "Solution",
    "701": "Campaign",
    "800": "Contract",
    "801": "Order",
}


class ClockifyAccess(Protocol):
    """How a Clockify client is had; it raises IntegrationError where there is no key for it."""

    def __call__(self, *, timeout: tuple[float, float]) -> Clockify: ...


class _Failed(IntegrationError):
    """A look-up had no answer; the text is for the log."""


class _Table:
    """What is known of one object's records by one of its fields. The caller holds the lock."""

    def __init__(self, source: str, key: str, condition: str = "") -> None:
        self.name = f"{source}.{key}"
        self._select = f"SELECT Id, {key} FROM {source} WHERE {condition}{key}"
        self._key = key
        self._answers: OrderedDict[str, tuple[tuple[str, ...], float]] = OrderedDict()
        self._read_at: float | None = None
        self._is_whole = False  # no record is missing from the answers
        self._off_until = 0.0

    def ids(self, key: str) -> tuple[str, ...] | None:
        """The records with this key, none of them too; None where that is not known."""
        if key in self._answers:
            return self._answers[key][0]
        return () if self._is_whole else None

    def is_off(self, now: float) -> bool:
        """True while Salesforce refuses this look-up, as for a field that is not deployed."""
        return now < self._off_until

    def is_due(self, key: str, now: float) -> bool:
        """Tell whether what is known is too old, or nothing is known."""
        ids = self.ids(key)
        if self.is_off(now) or ids is None:
            return not self.is_off(now)
        known_at = self._answers[key][1] if key in self._answers else self._read_at
        return known_at is None or now - known_at > (FOUND_S if ids else MISSING_S)

    def wants_all(self, now: float) -> bool:
        """Tell whether a look-up reads all records, or only the one that is asked for."""
        return self._is_whole or self._read_at is None or now - self._read_at > FOUND_S

    def goes_along(self, now: float) -> bool:
        """Tell whether it is worth being read in a call that is made for another table."""
        return self._is_whole and self._read_at is not None and now - self._read_at > MISSING_S

    def soql(self, key: str, *, all_records: bool) -> str:
        """The query for all records, or for this one."""
        if all_records:
            return f"{self._select} != null ORDER BY LastModifiedDate DESC LIMIT {ROWS}"
        return f"{self._select} = {quoted(key)} LIMIT 2"

    def learn(self, answer: Mapping[str, Any], key: str, now: float, *, all_records: bool) -> None:
        """Keep what Salesforce answered to `soql`."""
        found: dict[str, tuple[str, ...]] = {} if all_records else {key: ()}
        for row in answer["records"]:
            row_key = self._normal(str(row[self._key]))
            found[row_key] = (*found.get(row_key, ()), str(row["Id"]))
        if all_records:
            self._read_at = now
            self._is_whole = answer.get("done") is True and len(answer["records"]) < ROWS
            self._answers.clear()
            if not self._is_whole and self._key == "Email":
                found = {}  # it is not unique: another User may have it among those left out
        for row_key, ids in found.items():
            self._answers[row_key] = (ids, now)
            self._answers.move_to_end(row_key)
        while len(self._answers) > KEPT:
            self._answers.popitem(last=False)

    def switch_off(self, now: float) -> None:
        """Ask no more for an hour."""
        self._off_until = now + FOUND_S
        self._answers.clear()
        self._read_at, self._is_whole = None, False

    def _normal(self, key: str) -> str:
        return key.casefold() if self._key == "Email" else key


# Where to look for one field, one after the other until something is found.
_Chain = list[tuple[_Table, str | None]]


class Directory:
    """What an instance knows of Salesforce's users, accounts and opportunities, and of objects.

    Safe between threads: one of them reads, the others go on with what is known.
    """

    def __init__(self, org: Org, *, clockify: ClockifyAccess | None = None) -> None:
        """`clockify`: tells a person's e-mail address, which a webhook leaves out."""
        self._org = org
        self._clockify = clockify
        active = "IsActive = true AND "
        self._users = _Table("User", "Clockify_User_Id__c", active)
        self._users_by_email = _Table("User", "Email", active)
        self._opportunities = _Table("Opportunity", "Clockify_Project_Id__c")
        self._accounts = _Table("Account", "Clockify_Client_Id__c")
        self._tables = (self._users, self._users_by_email, self._opportunities, self._accounts)
        self._lock = threading.Lock()  # of the tables, never held during a call
        self._reading = threading.Lock()
        self._paused_until = 0.0
        self._problem = ""
        self._custom_prefixes: frozenset[str] | None = None
        self._described_at = 0.0
        self._emails: dict[str, str] = {}  # Clockify's user id -> e-mail address
        self._emails_due_at = 0.0
        self._emails_problem = ""

    def links(self, decision: Upsert, deadline: float) -> Links:
        """Find owner and links. `deadline`: of time.monotonic(); a part of it is used at most.

        Owner: the active User with Clockify's user id, else the only one with the e-mail address;
        nobody: the owner stays as it is. Links: the record that the description names, which then
        is the only one; else the project's Opportunity; else the client's Account; nothing: None,
        which clears. A look-up that fails gives a note, and its field stays as it is.
        """
        now = time.monotonic()
        until = now + min(PATIENCE_S, max(0.0, deadline - now) * SHARE)
        fields: dict[str, str | None] = {}
        notes: list[str] = []
        failed = False
        chains = [self._owner_chain(decision, decision.user_email)]
        if decision.record_id is None:
            chains.append(self._what_chain(decision))
        for name, find in (("OwnerId", self._owner), ("WhatId, WhoId", self._related)):
            try:
                self._read(chains, until, notes)
                fields |= find(decision, until, notes)
            except IntegrationError as failure:
                notes.append(f"{name}: {failure}")
                failed = True
            except Exception as error:  # noqa: BLE001
                # A mistake of ours, or an answer that nobody has foreseen, costs no Event.
                notes.append(f"{name}: unexpected {type(error).__name__}")
                failed = True
        return Links(fields, tuple(notes), failed=failed)

    def _owner_chain(self, decision: Upsert, email: str | None) -> _Chain:
        return [(self._users, decision.user_id), (self._users_by_email, email)]

    def _what_chain(self, decision: Upsert) -> _Chain:
        return [(self._opportunities, decision.project_id), (self._accounts, decision.client_id)]

    def _owner(self, decision: Upsert, until: float, notes: list[str]) -> Mapping[str, str | None]:
        chain = self._owner_chain(decision, decision.user_email)
        found, _ = self._first(chain, notes)
        if found is None and (email := self._email(decision, until)):
            chain = self._owner_chain(decision, email)
            self._read([chain], until, notes)
            found, _ = self._first(chain, notes)
        return {"OwnerId": found} if found else {}

    def _related(
        self, decision: Upsert, until: float, notes: list[str]
    ) -> Mapping[str, str | None]:
        record_id = decision.record_id
        if record_id is not None:
            name = self._link_field(record_id[:3], until)
            if name is not None:
                return {"WhatId": None, "WhoId": None, name: record_id}
            notes.append(f"no object with Events has ids like the description's, {record_id[:3]}…")
        chain = self._what_chain(decision)
        self._read([chain], until, notes)
        found, is_sure = self._first(chain, notes)
        return {"WhatId": found, "WhoId": None} if found or is_sure else {"WhoId": None}

    def _first(self, chain: _Chain, notes: list[str]) -> tuple[str | None, bool]:
        """The first record found, and whether every table of the chain could be asked.

        Raises _Failed where a table should be known and is not.
        """
        is_sure = True
        now = time.monotonic()
        with self._lock:
            for table, key in chain:
                if key is None:
                    continue
                if table.is_off(now):
                    is_sure = False
                    continue
                ids = table.ids(key)
                if ids is None:
                    raise _Failed(f"{table.name} was not read: {self._problem or 'no time left'}")
                if len(ids) == 1:
                    return ids[0], True
                if ids:
                    notes.append(f"{table.name}: several records have the same value")
        return None, is_sure

    def _read(self, chains: Iterable[_Chain], until: float, notes: list[str]) -> None:
        """Ask Salesforce, in one call, for what the chains need and is unknown or too old.

        Where a table's records are more than one answer holds, a second call asks for the one.
        """
        for _ in range(2):
            due = self._due(chains)
            if not due:
                return
            now = time.monotonic()
            with self._lock:
                alone = any(table.wants_all(now) for table in due)
                known = all(table.ids(key) is not None for table, key in due.items())
            if not alone:
                self._query(due, until, notes)
                return
            # What is only too old is good enough while another thread reads it.
            with suppress(_Failed), self._alone(now if known else until):
                if due := self._due(chains):
                    self._query(due, until, notes)

    def _due(self, chains: Iterable[_Chain]) -> dict[_Table, str]:
        due: dict[_Table, str] = {}
        now = time.monotonic()
        if now < self._paused_until:
            return due
        with self._lock:
            for chain in chains:
                for table, key in chain:
                    if key is not None and table.is_due(key, now):
                        due[table] = key
                    if key is not None and table.ids(key):
                        break
            if any(table.wants_all(now) for table in due):
                # So that all of them are read anew in one call every five minutes at most.
                along = (table for table in self._tables if table.goes_along(now))
                due = dict.fromkeys(along, "") | due
        return due

    def _query(self, due: Mapping[_Table, str], until: float, notes: list[str]) -> None:
        now = time.monotonic()
        with self._lock:
            every = {table: table.wants_all(now) for table in due}
            soql = [table.soql(key, all_records=every[table]) for table, key in due.items()]
        try:
            answers = self._org.queries(soql, until)
        except IntegrationError as error:
            self._pause(str(error))
            return
        with self._lock:
            for (table, key), answer in zip(due.items(), answers, strict=True):
                if isinstance(answer, SalesforceRefused):
                    table.switch_off(now)
                    notes.append(f"{table.name} is not looked up for an hour: {answer.code}")
                elif isinstance(answer, IntegrationError):
                    self._pause(str(answer))
                else:
                    self._problem = ""
                    table.learn(answer, key, now, all_records=every[table])

    def _pause(self, problem: str) -> None:
        self._problem, self._paused_until = problem, time.monotonic() + PAUSE_S

    def _link_field(self, prefix: str, until: float) -> str | None:
        """WhoId or WhatId, for a record whose id begins so; None where it can have no Events."""
        if prefix in WHO_PREFIXES:
            return "WhoId"
        if prefix in WHAT_PREFIXES or prefix in self._described(until):
            return "WhatId"
        return None

    def _described(self, until: float) -> frozenset[str]:
        """Key prefixes of the org's custom objects. Raises _Failed.

        Whether one may have Events, its description does not tell: Salesforce refuses the link, and
        the Event is written without it.
        https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_describeGlobal.htm
        """
        with self._alone(until):
            now = time.monotonic()
            is_old = self._custom_prefixes is None or now - self._described_at > FOUND_S
            if is_old and now >= self._paused_until:
                try:
                    answer = self._org.call("GET", "sobjects", until)
                except IntegrationError as error:
                    self._pause(str(error))
                else:
                    self._described_at = now
                    self._custom_prefixes = frozenset(
                        str(each["keyPrefix"])
                        for each in answer["sobjects"]
                        if str(each["name"]).endswith("__c") and each["keyPrefix"]
                    )
            if self._custom_prefixes is None:
                raise _Failed(f"the org's objects were not read: {self._problem}")
            return self._custom_prefixes

    def _email(self, decision: Upsert, until: float) -> str | None:
        """A person's e-mail address as Clockify knows it.

        Its Free plan allows 30 calls an hour, so all people are read, once an hour at most.
        https://docs.clockify.me/#tag/User/operation/getUsersOfWorkspace
        """
        user_id, workspace = decision.user_id, decision.workspace_id
        if self._clockify is None or user_id is None or workspace is None or decision.user_email:
            return None
        if user_id not in self._emails:
            with self._alone(until):
                now = time.monotonic()
                if now >= self._emails_due_at:
                    self._emails_due_at = now + 2 * MISSING_S
                    self._emails_problem = "Clockify's people were not read"
                    self._read_emails(self._clockify, workspace, until)
                    self._emails_due_at, self._emails_problem = now + FOUND_S, ""
        if user_id not in self._emails and self._emails_problem:
            raise _Failed(self._emails_problem)
        return self._emails.get(user_id)

    def _read_emails(self, clockify: ClockifyAccess, workspace: str, until: float) -> None:
        left = until - time.monotonic()
        people = clockify(timeout=(max(0.3, left / 3), max(0.6, left * 2 / 3))).get_pages(
            f"/workspaces/{quote(workspace, '')}/users"
        )
        for person in people:
            if isinstance(person.get("email"), str) and len(self._emails) < KEPT:
                self._emails[str(person.get("id"))] = person["email"].casefold()
            if time.monotonic() > until:
                raise _Failed("Clockify has too many people to read them in time")

    @contextmanager
    def _alone(self, until: float) -> Iterator[None]:
        """Read as the only thread; what others have read in the meantime is there already."""
        if not self._reading.acquire(timeout=max(0.0, until - time.monotonic())):
            raise _Failed("another look-up is still on its way")
        try:
            yield
        finally:
            self._reading.release()
