"""Bring one record of a message to Salesforce: read, decide, write, and again if overtaken.

What counts as the newest is decided in `state.py`, purely; that only one of two writers goes
through is Salesforce's part (`salesforce/records.py`). So any number of instances may do this at
once, and each may be killed at any moment: what is here in memory only saves calls.
"""

import time
from collections import OrderedDict
from functools import partial
from typing import Protocol

import mapping
from clockify_salesforce import kinds
from clockify_salesforce import state as states
from clockify_salesforce.clockify.client import ClockifyError, NoWorkspace
from clockify_salesforce.decisions import TIME_ENTRY, Match, Record
from clockify_salesforce.errors import NotRestored, SalesforceUnavailable, SettingsError
from clockify_salesforce.mapping_rules import Rules
from clockify_salesforce.message import Entry, Message, Outcome, Result
from clockify_salesforce.receipts import Receipts
from clockify_salesforce.salesforce.drafts import Drafts
from clockify_salesforce.salesforce.errors import SalesforceRefused
from clockify_salesforce.salesforce.records import Conflict, Draft, Known, Nothing, Records
from clockify_salesforce.state import Action, Next, Receipt, Step
from clockify_salesforce.time_entry import workspace_of
from clockify_salesforce.turns import Turns
from mapping import Decision, Delete, Ignore, Json, Running, Withdraw

TRIES = 5  # against other instances' writes of the same record
REMEMBERED = 4096  # records
# A repeat comes seconds after an answer; by then another instance may have taken something else.
TRUSTED_S = 5.0
# Before these there has been nothing to know of their time entry.
_CREATES = frozenset({"TIMER_STOPPED", "NEW_TIME_ENTRY", None})
# A kind whose object or fields are not in the org is left out for so long.
ABSENT_S = 3600.0
_ABSENT = frozenset({"NOT_FOUND", "INVALID_TYPE", "INVALID_FIELD"})


class AskClockify(Protocol):
    """Clockify's word for an entry's record now; None: it is gone. Raises IntegrationError."""

    def __call__(self, entry: Entry, deadline: float) -> Json: ...


class Delivery:
    """How an instance delivers. Safe between threads."""

    def __init__(
        self,
        records: Records,
        drafts: Drafts,
        receipts: Receipts,
        *,
        rules: Rules,
        ask: AskClockify | None,
    ) -> None:
        """`rules`: what an Event gets; `ask`: None where there is no API key of Clockify's."""
        self._records = records
        self._drafts = drafts
        self._receipts = receipts
        self._rules = rules
        self._ask = ask
        self._turns = Turns()
        self._memory: OrderedDict[str, tuple[Known, float]] = OrderedDict()
        self._absent_until: dict[str, float] = {}  # by kind

    def deliver(self, message: Message, entry: Entry, receipt: Receipt) -> Outcome:
        """Apply one entry's decision, unless something newer is there. `receipt`: of `receive`.

        Raises SalesforceUnavailable, SalesforceRefused, ClockifyError, NotRestored: then the same
        has to come again.
        """
        decision = entry.decision
        if isinstance(decision, Ignore):
            notes = (decision.reason,) if decision.warning else ()
            return Outcome(Result.IGNORED, decision.entry_id, decision.reason, notes)
        if time.monotonic() < self._absent_until.get(decision.kind, 0.0):
            return Outcome(Result.IGNORED, decision.entry_id, _is_absent(decision.kind))
        with self._turns.take(entry.key, message.deadline):
            try:
                return self._settle(message, entry, receipt)
            except SalesforceRefused as refusal:
                is_own = decision.kind == TIME_ENTRY or refusal.part == "state"
                if is_own or refusal.code not in _ABSENT:
                    raise
                self._absent_until[decision.kind] = time.monotonic() + ABSENT_S
                told = f"{_is_absent(decision.kind)} ({refusal.code})"
                return Outcome(Result.IGNORED, decision.entry_id, told, (told,))

    def receive(self, message: Message, entry: Entry) -> Receipt:
        """Note that the entry has come, and say what this instance knows of when it came first."""
        first_ms, doubtful, by = message.received_ms, message.doubtful, message.received_by
        action = _action(message.event_type, entry.decision)
        if not message.queued and not isinstance(entry.decision, Ignore):
            first_ms, doubtful = self._receipts.receive(
                entry.key, entry.fingerprint, action, first_ms, can_ask=self._can_ask(entry)
            )
        unrestored = self._receipts.unrestored(entry.key)
        is_final = entry.decision.kind != TIME_ENTRY
        return Receipt(
            entry.fingerprint, action, first_ms, by, message.queued, doubtful, unrestored, is_final
        )

    def receive_whole(self, message: Message) -> Receipt:
        """Note that a message has come whose entries are too many to note each of them."""
        known_by = states.fingerprint(message.event_type, message.body)
        first_ms, by = message.received_ms, message.received_by
        if not message.queued:
            key = f"message:{known_by}"
            first_ms, _ = self._receipts.receive(key, known_by, Action.RUN, first_ms, can_ask=False)
        return Receipt(known_by, Action.RUN, first_ms, by, message.queued, message.doubtful)

    def _settle(self, message: Message, entry: Entry, receipt: Receipt) -> Outcome:
        """Decide and write, again as long as another instance is faster."""
        known, is_read = self._known(message, entry, receipt)
        for _ in range(TRIES):
            found = self._decide(entry, receipt, known, can_ask=self._can_ask(entry))
            if found.step is Step.NOTHING:
                if is_read or known.state is None:
                    result = _unwritten(receipt, known)
                    return Outcome(result, entry.decision.entry_id, found.why)
            else:
                try:
                    return self._carry_out(message, entry, receipt, known, found)
                except Conflict:
                    pass
            known, is_read = self._read(entry, message.deadline), True
        raise SalesforceUnavailable("other messages of this record were faster each time")

    def _decide(self, entry: Entry, receipt: Receipt, known: Known, *, can_ask: bool) -> Next:
        now_ms = self._receipts.now_ms()
        return states.decide(known.state, receipt, can_ask=can_ask, now_ms=now_ms)

    def _carry_out(
        self, message: Message, entry: Entry, receipt: Receipt, known: Known, found: Next
    ) -> Outcome:
        """Write what was decided. Raises Conflict where another instance was faster."""
        decision: Decision = entry.decision
        if found.step is Step.ASK:
            try:
                decision, found = self._truth(message, entry, receipt, known, found)
            except ClockifyError as error:
                if not found.is_urgent and not isinstance(error, NoWorkspace):
                    raise
                found = self._decide(entry, receipt, known, can_ask=False)
            else:
                known = self._read_for(decision, entry, known, message.deadline)
        draft: Draft = Nothing(_unwritten(receipt, known), known)
        notes = tuple(note for note in (found.warning, known.note) if note)
        if found.step is Step.WRITE:
            has_mark = self._records.has_mark
            draft, more = self._drafts.draft(decision, known, message.deadline, has_mark=has_mark)
            notes += more
        if found.state is None and found.step is Step.WAIT:
            raise NotRestored(found.why)
        if found.state is None:
            result = _unwritten(receipt, known)
            return Outcome(result, entry.decision.entry_id, found.why, notes)
        written = self._records.write(entry.key, known, found.state, draft, message.deadline)
        self._remember(entry, written.known)
        if found.step is Step.WRITE:
            self._drafts.written(decision, written.known)
        if found.step is Step.WAIT:
            raise NotRestored(found.why)
        if isinstance(decision, Running) or _is_discarded(decision, known):
            why = "the timer was still running"
            return Outcome(Result.IGNORED, entry.decision.entry_id, why, notes)
        why = decision.reason if isinstance(decision, Withdraw) else found.why
        # What Clockify said when it was asked, and the message does not.
        is_overtaken = _is_gone(decision) != _is_gone(entry.decision)
        result = Result.STALE if is_overtaken else written.result
        return Outcome(result, entry.decision.entry_id, why, notes + written.notes)

    def _truth(
        self, message: Message, entry: Entry, receipt: Receipt, known: Known, found: Next
    ) -> tuple[Decision, Next]:
        """Ask Clockify for the entry, and make of its answer what is to be written."""
        if self._ask is None:
            raise SettingsError("CLOCKIFY_API_KEY is not set, so Clockify cannot be asked")
        asked_ms = self._receipts.now_ms()
        content = self._ask(entry, message.deadline)
        decision = self._as_clockify_says(entry, content, known)
        if isinstance(decision, Ignore):
            return decision, Next(Step.NOTHING, None, decision.reason, found.warning)
        return decision, states.asked(
            known.state,
            receipt,
            asked_ms=asked_ms,
            by=self._receipts.instance,
            action=_action(None, decision),
        )

    def _read_for(self, decision: Decision, entry: Entry, known: Known, deadline: float) -> Known:
        """What is known, read again where Clockify says that it belongs to others than the message.

        Raises Conflict where another instance has written in between.
        """
        ask = partial(self._drafts.questions, decision)
        if ask(True) == self._drafts.questions(entry.decision, True):
            return known
        read = self._records.read(entry.key, ask, deadline)
        if read.version != known.version:
            raise Conflict(f"{entry.key}: another write was faster")
        return read

    def _as_clockify_says(self, entry: Entry, content: Json, known: Known) -> Decision:
        """What Clockify's answer means; None: what it was asked for is gone."""
        if kind := kinds.BY_NAME.get(entry.decision.kind):
            if content is not None:
                return kinds.read(kind, content)
            # The message may be an old one: what is there keeps what it holds.
            return kinds.gone(kind, entry.content, is_there=bool(known.exists))
        if content is None:
            return Delete(str(entry.decision.entry_id))
        return mapping.decide(None, content, rules=self._rules)

    def _can_ask(self, entry: Entry) -> bool:
        """Tell whether Clockify can be asked: there is a key, and the workspace is told.

        Tasks and invoices do not tell it: who asks knows whether there is only one.
        """
        is_told = entry.decision.kind != TIME_ENTRY or _names_workspace(entry.content)
        return self._ask is not None and is_told

    # What an instance remembers -------------------------------------------------------------------

    def _known(self, message: Message, entry: Entry, receipt: Receipt) -> tuple[Known, bool]:
        """What is known of the record, and whether that is fresh enough to do nothing for it.

        Of other kinds than time entries, what they are related to is read each time: it may have
        come since.
        """
        if entry.decision.kind != TIME_ENTRY:
            return self._read(entry, message.deadline), True
        if found := self._memory.get(entry.key):
            return found[0], time.monotonic() - found[1] < TRUSTED_S
        if message.event_type in _CREATES and receipt.action is Action.WRITE:
            return Known(), False
        return self._read(entry, message.deadline), True

    def _read(self, entry: Entry, deadline: float) -> Known:
        ask = partial(self._drafts.questions, entry.decision)
        known = self._records.read(entry.key, ask, deadline)
        self._remember(entry, known)
        return known

    def _remember(self, entry: Entry, known: Known) -> None:
        if entry.decision.kind != TIME_ENTRY:
            return
        self._memory[entry.key] = (known, time.monotonic())
        self._memory.move_to_end(entry.key)
        while len(self._memory) > REMEMBERED:
            self._memory.popitem(last=False)


def _names_workspace(content: Json) -> bool:
    return isinstance(content, dict) and workspace_of(content) is not None


def _is_gone(decision: Decision) -> bool:
    """Tell whether Clockify has deleted it."""
    is_marked = isinstance(decision, Record | Match) and decision.gone
    return is_marked or isinstance(decision, Delete)


def _is_absent(kind: str) -> str:
    return (
        f"no {kind} is written for an hour: its object or a field of it is not in the org, or"
        " hidden from the integration user: deploy force-app/main/data and assign the permission"
        f" set Clockify_Data, then 'python -m commands.backfill --kinds {kind}s' (docs/kinds.md)"
    )


def _action(event_type: str | None, decision: Decision) -> Action:
    """What a decision says of its record."""
    if isinstance(decision, Record | Match):
        return Action.DELETE if decision.gone else Action.WRITE
    restores = event_type == mapping.RESTORED
    if isinstance(decision, Delete):
        return Action.DELETE if decision.finished else Action.DISCARD
    if isinstance(decision, Running):
        return Action.RESTORE_RUNNING if restores else Action.RUN
    return Action.RESTORE if restores else Action.WRITE


def _unwritten(receipt: Receipt, known: Known) -> Result:
    """The newest message once more is answered as before; all else is stale or means nothing."""
    if known.state is None or receipt.action in _MEAN_NOTHING:
        return Result.IGNORED
    if receipt.fingerprint != known.state.newest:
        return Result.STALE
    return Result.DELETED if known.state.gone else Result.UPDATED


_MEAN_NOTHING = frozenset({Action.RUN, Action.RESTORE_RUNNING, Action.DISCARD})


def _is_discarded(decision: Decision, before: Known) -> bool:
    """A timer that was thrown away before there was an Event of it."""
    return isinstance(decision, Delete) and not decision.finished and before.exists is False
