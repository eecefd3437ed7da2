"""The kinds of Clockify's besides time entries as options name them, and their webhooks' events.

Needs nothing but Python, because deploy.sh checks its options with it.
https://clockify.me/help/integrations/webhooks
"""

import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable, Mapping
from itertools import chain, zip_longest

from clockify_salesforce import kinds
from clockify_salesforce.errors import SettingsError
from clockify_salesforce.kinds.kind import Kind

# In order of worth: a Free workspace has three webhooks, and the first two are the time entries.
TIME_ENTRIES = (
    *("TIMER_STOPPED", "NEW_TIME_ENTRY", "TIME_ENTRY_UPDATED"),
    *("TIME_ENTRY_DELETED", "TIME_ENTRY_RESTORED", "TIME_ENTRY_SPLIT"),
)
NONE = "none"
# A field of Account that an org has where clients are told to it: the id is there for time entries.
CLIENTS_ARE_THERE = "Clockify_Hours__c"


def _by_worth(kind: Kind) -> tuple[str, ...]:
    """A kind's events: what creates a record, what changes one, what deletes one."""
    writes = sorted(kind.writes, key=lambda event: (not _CREATES.search(event), event))
    return (*writes, *sorted(kind.deletes))


_CREATES = re.compile("^NEW_|_CREATED$")
KINDS: Mapping[str, tuple[str, ...]] = {each.plural: _by_worth(each) for each in kinds.KINDS}


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


def add_kinds(parser: ArgumentParser, otherwise: str) -> None:
    """Add --with, which is None where it is not given; `otherwise`: what then happens."""
    parser.add_argument(
        "--with",
        dest="kinds",
        type=_option,
        metavar="KINDS",
        help=f"beside time entries: {','.join(KINDS)}; {otherwise}",
    )


def _option(text: str) -> tuple[str, ...]:
    try:
        return read_kinds(text)
    except SettingsError as error:
        raise ArgumentTypeError(str(error)) from None


def events_of(kinds: Iterable[str]) -> tuple[str, ...]:
    """The events of time entries and of these kinds, in order of worth.

    What creates a record of each kind stands before what changes one, and that before what deletes
    one: the repair brings what a plan has no webhook for, and that is worth least.
    """
    by_worth = zip_longest(*(KINDS[kind] for kind in kinds))
    return (*TIME_ENTRIES, *filter(None, chain.from_iterable(by_worth)))
