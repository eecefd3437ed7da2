"""Whether an Event, as Salesforce returns it, is what it should be. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from clockify_salesforce.mapping_rules import Field

Json = dict[str, Any]


def differences(event: Json, wanted: Mapping[str, Field]) -> list[str]:
    """The names of the fields in which an Event, as Salesforce returns it, is not as wanted."""
    return [
        name
        for name, value in wanted.items()
        if (stored := event.get(name)) != value and not _is_same(name, stored, value)
    ]


def _is_same(name: str, stored: object, wanted: Field) -> bool:
    """Compare with what Salesforce makes of a value: no text is null, ends are trimmed."""
    if isinstance(wanted, float):
        return isinstance(stored, int | float) and abs(stored - wanted) < 0.00005
    if isinstance(wanted, bool):
        return (stored or False) == wanted
    if stored and wanted and name in ("StartDateTime", "EndDateTime"):
        return _is_same_moment(str(stored), wanted)
    return _tidy(stored) == _tidy(wanted)


def _is_same_moment(stored: str, wanted: str) -> bool:
    """Compare two moments as Salesforce keeps them, without milliseconds."""
    if stored[:19] == wanted[:19] and stored.endswith("+0000") and wanted.endswith("Z"):
        return True
    have = datetime.fromisoformat(stored).replace(microsecond=0)
    want = datetime.fromisoformat(wanted).replace(microsecond=0)
    # An org that keeps no seconds must not be written again each time; the hours field tells any
    # change that is more than a shift within the minute.
    return have in (want, want.replace(second=0))


def _tidy(text: object) -> str:
    return str(text or "").replace("\r\n", "\n").strip()
