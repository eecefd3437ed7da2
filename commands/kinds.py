"""The kinds of Clockify's besides time entries as options name them, and their webhooks' events.

Needs nothing but Python, because deploy.sh checks its options with it.
https://clockify.me/help/integrations/webhooks
"""

from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest

from clockify_salesforce.errors import SettingsError

# In order of worth: a Free workspace has three webhooks, and the first two are the time entries.
TIME_ENTRIES = (
    *("TIMER_STOPPED", "NEW_TIME_ENTRY", "TIME_ENTRY_UPDATED"),
    *("TIME_ENTRY_DELETED", "TIME_ENTRY_RESTORED", "TIME_ENTRY_SPLIT"),
)
KINDS: Mapping[str, tuple[str, ...]] = {
    "clients": ("NEW_CLIENT", "CLIENT_UPDATED", "CLIENT_DELETED"),
    "projects": ("NEW_PROJECT", "PROJECT_UPDATED", "PROJECT_DELETED"),
    "tasks": ("NEW_TASK", "TASK_UPDATED", "TASK_DELETED"),
    "invoices": ("NEW_INVOICE", "INVOICE_UPDATED"),
}
NONE = "none"


def read_kinds(text: str) -> tuple[str, ...]:
    """Read kinds with commas between them, each once; `none` is none. Raises SettingsError."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if names == (NONE,):
        return ()
    if strange := [name for name in names if name not in KINDS]:
        shown = "".join(each for each in strange[0][:40] if each.isprintable())
        raise SettingsError(
            f"--with takes {', '.join(KINDS)}, with commas between them, or {NONE}; not '{shown}'."
        )
    return names


def events_of(kinds: Iterable[str]) -> tuple[str, ...]:
    """The events of time entries and of these kinds, in order of worth.

    What creates a record of each kind stands before what changes one, and that before what deletes
    one: the repair brings what a plan has no webhook for, and that is worth least.
    """
    by_worth = zip_longest(*(KINDS[kind] for kind in kinds))
    return (*TIME_ENTRIES, *filter(None, chain.from_iterable(by_worth)))
