"""What a Clockify workspace holds, each a value of its own."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

WORKSPACE = "64a687e29ae1f428e7ebe303"

Json = dict[str, Any]
Answer = tuple[int, Any, dict[str, str]]
Message = tuple[str, Json]  # Clockify-Webhook-Event-Type and the body

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class User:
    """A member of the workspace."""

    id: str
    name: str
    email: str
    status: str = "ACTIVE"


@dataclass(frozen=True, slots=True)
class Client:
    """What a client has beside its id and its name."""

    archived: bool = False
    email: str | None = None
    address: str | None = None
    note: str | None = None
    currency: str = "EUR"


@dataclass(frozen=True, slots=True)
class Project:
    """A project; `client` is the id of a client or None, `hourly_rate` in minor units."""

    id: str
    name: str
    client: str | None = None
    billable: bool = True
    archived: bool = False
    note: str = ""
    color: str = "#0B83D9"
    estimate: timedelta = timedelta(0)
    estimate_type: str = "AUTO"  # MANUAL
    hourly_rate: int | None = None
    currency: str = "EUR"
    tracked: timedelta | None = None  # where it is not what its entries amount to


@dataclass(frozen=True, slots=True)
class Task:
    """A task of a project."""

    id: str
    name: str
    project: str
    assignees: tuple[str, ...] = ()
    status: str = "ACTIVE"  # DONE
    billable: bool = True
    estimate: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Line:
    """An item of an invoice, its numbers as Clockify has them: hundredths and minor units."""

    order: int
    description: str = ""
    quantity: int = 100
    unit_price: int = 0
    amount: int = 0
    type: str = "Service"


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice; amounts in minor units, `tax`, `tax2` and `discount` in percent."""

    id: str
    number: str
    client: str | None = None
    status: str = "UNSENT"
    issued: datetime = _EPOCH
    due: datetime = _EPOCH
    currency: str = "EUR"
    subject: str = ""
    note: str = ""
    discount: float = 0.0
    tax: float = 0.0
    tax2: float = 0.0
    lines: tuple[Line, ...] = ()
    paid: int = 0

    @property
    def subtotal(self) -> int:
        """What the lines amount to."""
        return sum(line.amount for line in self.lines)

    def share(self, percent: float) -> int:
        """So many percent of the subtotal less the discount, in whole minor units."""
        return round((self.subtotal - round(self.subtotal * self.discount / 100)) * percent / 100)

    @property
    def amount(self) -> int:
        """What is to be paid."""
        discount = round(self.subtotal * self.discount / 100)
        return self.subtotal - discount + self.share(self.tax) + self.share(self.tax2)


@dataclass(frozen=True, slots=True)
class Entry:
    """A time entry; `end` is None while its timer runs. `touched`: of the API's clock."""

    id: str
    user: str
    start: datetime
    end: datetime | None
    description: str = ""
    project: str | None = None
    task: str | None = None  # its name
    tags: tuple[str, ...] = ()
    billable: bool = False
    type: str = "REGULAR"
    custom: tuple[tuple[str, Any], ...] = ()  # custom fields: name and value
    approved: bool = False
    touched: float = 0.0

    @property
    def span(self) -> timedelta:
        """How long it lasted; nothing while its timer runs."""
        return self.end - self.start if self.end else timedelta(0)
