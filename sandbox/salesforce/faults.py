"""What goes wrong in an org: errors, faults that strike by chance, and flows of the customer's."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

Json = dict[str, Any]

FAULTS = (
    "outage",
    "reset",
    "lost",
    "error",
    "html",
    "hang",
    "lock",
    "expired",
    "limit",
    "rule",
    "flow",
    "slow",
)


class Refusal(Exception):
    """An error of the REST API: `status`, and the only element of the list that is its body."""

    def __init__(self, status: int, code: str, message: str, *fields: str, **more: Any) -> None:
        super().__init__(code)
        self.status = status
        self.error: Json = {"message": message, "errorCode": code, "fields": list(fields)} | more


@dataclass(frozen=True)
class Caller:
    """Who sends the request that is worked on, and what its headers say."""

    is_admin: bool = False
    saves_duplicates: bool = False  # Sforce-Duplicate-Rule-Header: allowSave=true


CALLER: ContextVar[Caller] = ContextVar("caller", default=Caller())  # noqa: B039


@contextmanager
def calling(caller: Caller) -> Iterator[None]:
    """Work as this caller within."""
    token = CALLER.set(caller)
    try:
        yield
    finally:
        CALLER.reset(token)


def saves_duplicates(headers: Mapping[str, str]) -> bool:
    """Whether a request's headers pass a duplicate rule's alert.

    https://developer.salesforce.com/docs/platform/api-rest/guide/headers-duplicaterules.html
    """
    sent = {name.lower(): value for name, value in headers.items()}
    options = sent.get("sforce-duplicate-rule-header", "").replace(" ", "").lower().split(";")
    return "allowsave=true" in options


@dataclass
class Faults:
    """What goes wrong, each a share of the requests from 0 to 1; `chance` is seeded."""

    outage: float = 0  # connections are refused and reset
    reset: float = 0  # the connection breaks before the write
    lost: float = 0  # the write is made and its answer lost
    error: float = 0  # 503 SERVER_UNAVAILABLE as JSON
    html: float = 0  # 502 as a gateway's HTML page
    hang: float = 0  # no answer for 30 s
    lock: float = 0  # UNABLE_TO_LOCK_ROW
    expired: float = 0  # the session has ended
    limit: float = 0  # the day's API calls are used up
    rule: float = 0  # a rule of the org's own refuses every record but states
    flow: float = 0  # a flow of the org's own refuses every record but states
    slow: float = 0  # 2 s
    # The objects whose records meet lock, rule and flow; all where none is named.
    only: frozenset[str] = frozenset()
    chance: Random = field(default_factory=lambda: Random(0))

    def strikes(self, kind: str) -> bool:
        """Tell whether this request meets this fault."""
        share: float = getattr(self, kind)
        return share > 0 and self.chance.random() < share

    def strikes_at(self, kind: str, name: str) -> bool:
        """Tell whether the write of an object's record meets this fault."""
        return (not self.only or name in self.only) and self.strikes(kind)

    def clear(self) -> None:
        """Let everything be well again."""
        for kind in FAULTS:
            setattr(self, kind, 0)
        self.only = frozenset()


@dataclass(frozen=True)
class Flow:
    """Automation of the customer's that runs after each write of a record by the integration.

    It runs in the same transaction and as the same user, so that a refusal rolls the write back and
    a change of its own meets every rule of the org. `sets`: field -> value that it writes then.
    `refuses`: the code under which it refuses instead, saying `error` and `says`; "{Subject}" and
    the like in `says` quote the record, as such messages do.
    https://help.salesforce.com/s/articleView?id=platform.flow_concepts_trigger_record.htm
    """

    sets: Mapping[str, str | None] = field(default_factory=dict)
    refuses: Literal["", "CANNOT_EXECUTE_FLOW_TRIGGER", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"] = ""
    name: str = "Event - Set Related Record"
    error: str = "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    says: str = "{Subject} needs an Opportunity: {Description}"
    object: str = "Event"

    def refusal(self, record: Json, *, created: bool) -> Refusal:
        """The error in the words that Salesforce wraps a flow's or a trigger's with.

        A flow's: https://github.com/restforce/restforce/issues/624 and
        https://github.com/SFDO-Community/declarative-lookup-rollup-summaries/issues/1035
        A trigger's: https://github.com/SalesforceFoundation/NPSP/issues/2914
        """
        quoted = {name: value or "" for name, value in record.items()}
        said = self.says.format_map(defaultdict(str, quoted))
        if self.refuses == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY":
            when = "AfterInsert" if created else "AfterUpdate"
            message = (
                f"{self.name}: execution of {when}\n\ncaused by: System.DmlException: Update"
                f" failed. First exception on row 0 with id {record['Id']}; first error:"
                f" {self.error}, {said}: []\n\nTrigger.{self.name}: line 7, column 1"
            )
        else:
            message = (
                f"We can't save this record because the “{self.name}” process failed. Give your"
                " Salesforce admin these details. This error occurred when the flow tried to"
                f" update records: {self.error}: {said}. You can look up ExceptionCode values in"
                " the SOAP API Developer Guide. Error ID: 1405213620-33528 (-1704150698)"
            )
        return Refusal(400, self.refuses, message)
