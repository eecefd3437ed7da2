"""From what a message means to what is asked and written: one draft for each sort of decision."""

from collections.abc import Callable, Sequence
from functools import partial

from clockify_salesforce.decisions import Decision, Delete, Match, Record, Upsert
from clockify_salesforce.mapping_rules import Rules
from clockify_salesforce.message import Result
from clockify_salesforce.salesforce import account, record
from clockify_salesforce.salesforce.client import quoted
from clockify_salesforce.salesforce.directory import Directory
from clockify_salesforce.salesforce.errors import LINKS
from clockify_salesforce.salesforce.event import EventDraft, Removal
from clockify_salesforce.salesforce.records import Draft, Known, Nothing
from mapping import EVENT, Target

# https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_taskstatus.htm
_STATUSES = "SELECT ApiName, IsClosed, IsDefault FROM TaskStatus ORDER BY SortOrder"


class Drafts:
    """How drafts are made. Safe between threads."""

    def __init__(
        self, directory: Directory, *, rules: Rules, own_user_id: Callable[[float], str]
    ) -> None:
        """`own_user_id`: of the integration user, given a deadline."""
        self._directory = directory
        self._rules = rules
        self._own_user_id = own_user_id

    def questions(self, decision: Decision, has_mark: bool) -> Sequence[str]:
        """What `Records.read` asks of the record. `has_mark`: Clockify_Links__c is there."""
        if isinstance(decision, Record):
            return record.questions(decision)
        if isinstance(decision, Match):
            return account.questions(decision)
        target: Target = decision.target if isinstance(decision, Upsert | Delete) else EVENT
        mark = f", {LINKS}" if has_mark else ""
        asked = [
            f"SELECT Id{mark} FROM {target.object} WHERE {target.external_id} ="
            f" {quoted(str(decision.entry_id))} AND IsDeleted = false"
        ]
        if isinstance(decision, Upsert) and decision.status:
            asked.append(_STATUSES)
        return asked

    def written(self, decision: Decision, known: Known) -> None:
        """Keep what has been written: an Event or a Task that comes next may belong to it."""
        if isinstance(decision, Record | Match) and known.record_id and not decision.gone:
            self._directory.learn(decision.target, decision.entry_id, known.record_id)

    def draft(
        self, decision: Decision, known: Known, deadline: float, *, has_mark: bool
    ) -> tuple[Draft, tuple[str, ...]]:
        """The record as it is to be, and what is to be told of it. Raises as Org.call does."""
        if isinstance(decision, Record):
            return record.draft(decision, known)
        if isinstance(decision, Match):
            own_user_id = partial(self._own_user_id, deadline)
            return account.draft(decision, known, self._rules.accounts, own_user_id)
        if not isinstance(decision, Upsert):
            target = decision.target if isinstance(decision, Delete) else EVENT
            return _removal(str(decision.entry_id), known, target), ()
        wish = self._directory.wish(decision, deadline)
        is_left_out = wish.is_nobody and self._rules.unmatched == "no event"
        if is_left_out and decision.target == EVENT:
            return _removal(decision.entry_id, known, EVENT), wish.notes
        status, notes = _status(decision, known)
        draft = EventDraft(decision, wish, known, has_mark=has_mark, status=status)
        return draft, wish.notes + notes


def _removal(entry_id: str, known: Known, target: Target) -> Draft:
    if known.exists is False:
        return Nothing(Result.DELETED, known)
    return Removal(entry_id, known, target=target)


def _status(decision: Upsert, known: Known) -> tuple[str, tuple[str, ...]]:
    """The org's own word for the status of a task, "" where it has none."""
    if not decision.status:
        return "", ()
    is_done = decision.status == "DONE"
    rows = known.rows[1] if len(known.rows) > 1 else ()
    fitting = [row for row in rows if bool(row["IsClosed"]) == is_done]
    fitting.sort(key=lambda row: row["IsDefault"] is not True)
    if fitting:
        return str(fitting[0]["ApiName"]), ()
    kind = "closed" if is_done else "open"
    return "", (
        f"Status: the org has no {kind} status of Tasks: add one in Setup, Object Manager, Task,"
        " Status (docs/kinds.md)",
    )
