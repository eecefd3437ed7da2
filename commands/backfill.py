"""Compare Clockify's history of a period with the Events in Salesforce, and repair what differs.

For a first import, after an outage, and nightly; and the same with clients, projects, tasks and
invoices (--kinds), of whatever age. Clockify's word is the truth, and the same mapping as for its
messages says what an Event or a record looks like. Nothing is changed without --apply. It keeps
nothing but the file of refused entries: stopped at any point, the next run ends in the same state.

Exit code: 0 all in order, 1 something is left or it broke off (the last lines say what), 2 the call
is wrong, 3 nothing is left but entries that were refused.
"""

import argparse
import contextlib
import ctypes
import gc
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from clockify_salesforce.clockify.client import Clockify
from clockify_salesforce.clockify.history import Asks, History
from clockify_salesforce.errors import IntegrationError, SettingsError
from clockify_salesforce.kinds.project import PROJECT
from clockify_salesforce.salesforce.bulk import BulkOrg
from clockify_salesforce.salesforce.directory import Directory
from clockify_salesforce.settings import chosen_rules
from commands.repair.bulk_jobs import BULK_BEYOND
from commands.repair.kinds import Kinds
from commands.repair.one_kind import KINDS, KindWishes, Shared
from commands.repair.patience import PatientOrg
from commands.repair.reading import Readers
from commands.repair.records import References
from commands.repair.refusals import Refusals
from commands.repair.repair import Repair, Wishes
from commands.repair.settle import Clock
from commands.repair.tasks import Tasks
from commands.terminal import (
    CREDENTIALS_FROM,
    Progress,
    WrongCall,
    add_credentials,
    api_key,
    salesforce_credentials,
    settings,
)

TIME_ENTRIES, ALL = "time-entries", "all"
LONG = timedelta(days=31)  # a run over more is thorough, also where that takes many requests
READ_S = 120.0  # for an answer of Salesforce's: 200 records may start 200 automations of the org's
ALWAYS = ("created", "updated", "unchanged", "deleted", "refused")
COLUMNS = (*ALWAYS, "meanwhile", "unmatched", "left alone", "surplus", "notes")
LARGEST_ANSWER = 64 * 1024 * 1024  # bytes: what became of a bulk job's 20 MB
CLOCKIFY_TIMEOUT = (5.0, 60.0)
M_MMAP_THRESHOLD = -3
CLOCKIFY_PATIENCE_S = 3 * 3600.0  # for one call: the Free plan allows 30 an hour


def read_arguments() -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with 2."""
    parser = argparse.ArgumentParser(
        description="Compare Clockify's time entries of a period with the Events in Salesforce, and"
        " its clients, projects, tasks and invoices (--kinds). Nothing is changed without --apply.",
        epilog=f"{CREDENTIALS_FROM} Exit code: 0 all in order, 1 something is left, 2 the call is"
        " wrong, 3 only entries that were refused are left.",
    )
    parser.add_argument(
        "--workspace", required=True, metavar="ID", help="Clockify's id of the workspace"
    )
    parser.add_argument(
        "--kinds",
        type=_kinds,
        default=(TIME_ENTRIES,),
        metavar="KIND,…",
        help=f"what is compared: {', '.join((TIME_ENTRIES, *KINDS))}; or all: time entries, and"
        f" each kind for which the org has what it needs ({TIME_ENTRIES}). Only time entries need a"
        " period",
    )
    parser.add_argument(
        "--all-tasks",
        action="store_true",
        help="tasks: of every project, a request of Clockify's each; else of those that have"
        " changed",
    )
    _add_period(parser)
    parser.add_argument("--apply", action="store_true", help="change Salesforce")
    parser.add_argument("--list", action="store_true", help="print each change")
    add_credentials(parser)
    _add_writing(parser)
    arguments = parser.parse_args()
    _check(parser, arguments)
    return arguments


def _add_period(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int, metavar="N", help="the last N days, today and tomorrow")
    parser.add_argument(
        "--from", dest="since", type=_day, metavar="DAY", help="first day (UTC), like 2026-01-31"
    )
    parser.add_argument(
        "--to", dest="until", type=_day, metavar="DAY", help="last day (UTC); else tomorrow"
    )
    parser.add_argument(
        "--user",
        dest="users",
        action="append",
        default=[],
        metavar="ID",
        help="these users' entries only (Clockify's ids); nothing is deleted then",
    )


def _add_writing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--refused-file",
        type=Path,
        metavar="FILE",
        default=Path("backfill-refused.jsonl"),
        help="what Salesforce refused, for the next run to take up (%(default)s)",
    )
    parser.add_argument(
        "--most-deletions",
        type=int,
        default=1000,
        metavar="N",
        help="where more Events than this are surplus, delete none (%(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=8,
        metavar="N",
        help="write so much at once (%(default)s); fewer where the org has other work",
    )
    parser.add_argument(
        "--bulk-beyond",
        type=int,
        metavar="N",
        help="write N changes in calls of 200 records, and what is beyond as bulk jobs (without it,"
        f" {BULK_BEYOND}, where such a call takes long); 0: no bulk jobs",
    )


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the program with 2 where options do not go together."""
    if not 1 <= arguments.jobs <= 25:
        parser.error("--jobs is 1 to 25")
    if arguments.bulk_beyond is not None and arguments.bulk_beyond < 0:
        parser.error("--bulk-beyond is 0 or more")
    has_period = arguments.days is not None or arguments.since is not None
    if not has_period and TIME_ENTRIES not in arguments.kinds and ALL not in arguments.kinds:
        return
    if (arguments.days is None) == (arguments.since is None):
        parser.error("name the period: --days N, or --from DAY and perhaps --to DAY")
    if arguments.days is not None and (arguments.days < 1 or arguments.until):
        parser.error("--days is at least 1 and goes without --to")
    if arguments.since and arguments.until and arguments.until < arguments.since:
        parser.error("--to lies before --from")


def _kinds(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(each.strip() for each in text.split(",") if each.strip()))
    known = (TIME_ENTRIES, *KINDS, ALL)
    if not names or not set(names) <= set(known):
        raise argparse.ArgumentTypeError(f"it is one or several of {', '.join(known)}")
    return names


def _day(text: str) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day like 2026-01-31") from None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def period(arguments: argparse.Namespace, now: datetime) -> tuple[datetime, datetime]:
    """The first moment of the period and the first one behind it."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    day = timedelta(days=1)
    if arguments.days is not None:
        # Where the sun rises first, tomorrow has begun.
        return today - arguments.days * day, today + 2 * day
    return arguments.since, (arguments.until or today + day) + day


def summary(count: Counter[str], *, apply: bool) -> str:
    """The run's result, a line for each kind."""
    done = ("created", "updated", "deleted") if apply else ("to create", "to update", "to delete")
    lines = [
        (done[0], count["created"], ""),
        (done[1], count["updated"], ""),
        (done[2], count["deleted"], ""),
        ("unchanged", count["unchanged"], ""),
    ]
    rare = [
        ("still running", count["running"], "no Event before it is stopped"),
        ("left out", count["withdrawn"], "by mapping.toml"),
        ("meanwhile", count["meanwhile"], "a message came too: Clockify's word of then is written"),
        ("left alone", count["foreign"], "not known to be this workspace's"),
        ("surplus", count["surplus"], "not deleted: too many"),
        ("refused", count["refused"], "see above"),
        ("notes", count["notes"], "owner or links that were left out"),
        ("cleaned up", count["cleaned up"], "what messages said, 30 days ago or longer"),
    ]
    lines += [line for line in rare if line[1]]
    return "\n".join(f"  {name:<14}{number:>10,}  {why}".rstrip() for name, number, why in lines)


class Desk:
    """What a run works with: Clockify's clients, Salesforce, the choices, the progress."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        """Read settings and credentials. Raises WrongCall."""
        found = settings()
        credentials = salesforce_credentials(arguments, found)
        self._region, self._key = api_key(arguments, found)
        self.arguments = arguments
        self.rules = chosen_rules(found.event_subject)
        self.has_entries = bool({TIME_ENTRIES, ALL} & set(arguments.kinds))
        self.period = period(arguments, datetime.now(UTC)) if self.has_entries else None
        self.progress: Progress | None = None
        self._clients: list[Clockify] = []
        self.org = BulkOrg(
            credentials, version=found.salesforce_api_version, read_s=READ_S, largest=LARGEST_ANSWER
        )
        self.readers = Readers(self._history)
        self.directory = Directory(
            self.org, clockify=self.clockify, links=self.rules.links, projects=[PROJECT]
        )
        self.clock = Clock(lambda: max([0.0, *(each.clock_ahead_s for each in self._clients)]))
        self.show = print if arguments.list else lambda line: None

    def tell(self, text: str) -> None:
        """Say a sentence to whoever waits."""
        if self.progress:
            self.progress.tell(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def clockify(self, *, timeout: tuple[float, float] = CLOCKIFY_TIMEOUT) -> Clockify:
        """A client of its own."""
        client = Clockify(
            api_key=self._key,
            region=self._region,
            patience=CLOCKIFY_PATIENCE_S,
            on_wait=self._wait,
            timeout=timeout,
        )
        self._clients.append(client)
        return client

    def _history(self) -> History:
        asks = Asks.of(self.rules, self.arguments.users)
        return History(self.clockify(), self.arguments.workspace, asks=asks)

    def _wait(self, wait_s: float) -> None:
        self.readers.is_limited = True
        self.tell(
            f"Clockify asks to wait: going on in {wait_s:,.0f} s"
            f" (at {datetime.now() + timedelta(seconds=wait_s):%H:%M:%S})"
        )


def run_kinds(desk: Desk) -> int:
    """Compare and, with --apply, repair all but time entries. Returns the exit code."""
    arguments = desk.arguments
    names = list(KINDS) if ALL in arguments.kinds else arguments.kinds
    since, until = desk.period or (None, None)
    wishes = KindWishes(
        names=names,
        asked=arguments.kinds,
        apply=arguments.apply,
        most_deletions=arguments.most_deletions,
        at_once=arguments.jobs,
        all_tasks=arguments.all_tasks,
        is_patient=since is None or until is None or until - since > LONG,
    )
    org = PatientOrg(desk.org, desk.tell)
    kinds = Kinds(
        Shared(
            org,
            desk.readers,
            Tasks(lambda what: desk.tell(f"Waiting for {what}.")),
            desk.directory,
            desk.clock,
            References(org),
            wishes,
            arguments.workspace,
            desk.rules,
            desk.tell,
            desk.show,
        )
    )
    kinds.run()
    what = "Repaired:" if arguments.apply else "Dry run, nothing is changed:"
    if kinds.counts:
        print(f"{what} Clockify's {', '.join(kinds.counts)}")
        print(table(kinds.counts, kinds.hours))
    is_all_left_out = not kinds.counts and not {TIME_ENTRIES, ALL} & set(arguments.kinds)
    if is_all_left_out or any(count["surplus"] for count in kinds.counts.values()):
        return 1
    return 3 if any(count["refused"] for count in kinds.counts.values()) else 0


def table(counts: Mapping[str, Counter[str]], hours: Counter[str]) -> str:
    """A line for each kind, and what was written of hours."""
    columns = [name for name in COLUMNS if name in ALWAYS or any(c[name] for c in counts.values())]
    lines = ["  " + " " * 12 + "".join(f"{name:>12}" for name in columns)]
    lines += [
        f"  {kind:<12}" + "".join(f"{count[name]:>12,}" for name in columns)
        for kind, count in counts.items()
    ]
    if any(hours.values()):
        told = ", ".join(f"{name} {number:,}" for name, number in sorted(hours.items()) if number)
        lines.append(f"  {'hours':<12}{told}")
    return "\n".join(lines)


def run_entries(desk: Desk, since: datetime, until: datetime) -> int:
    """Compare and, with --apply, repair time entries. Returns the exit code."""
    arguments = desk.arguments
    progress = desk.progress = Progress(since, until)
    refusals = Refusals(arguments.refused_file)
    repair = Repair(
        desk.org,
        desk.readers,
        desk.directory,
        refusals,
        desk.clock,
        Wishes(
            since,
            until,
            apply=arguments.apply,
            deletes=not arguments.users,
            most_deletions=arguments.most_deletions,
            at_once=arguments.jobs,
            bulk_beyond=arguments.bulk_beyond,
        ),
        workspace=arguments.workspace,
        rules=desk.rules,
        tell=progress.tell,
        show=desk.show,
    )
    try:
        repair.run(progress.reach)
    finally:
        progress.close()
    if arguments.apply and refusals.finish():
        progress.tell(f"{arguments.refused_file} holds what was refused; the next run takes it up.")
    what = "Repaired:" if arguments.apply else "Dry run, nothing is changed:"
    last = until - timedelta(days=1)
    print(f"{what} Clockify's entries from {since:%Y-%m-%d} to {last:%Y-%m-%d} (UTC)")
    print(summary(repair.count, apply=arguments.apply))
    if repair.count["surplus"]:
        return 1
    return 3 if repair.count["refused"] else 0


def run(arguments: argparse.Namespace) -> int:
    """Compare and, with --apply, repair. Returns the exit code; raises IntegrationError."""
    desk = Desk(arguments)
    codes = []
    # Before the time entries, which may be related to what this makes.
    if set(arguments.kinds) != {TIME_ENTRIES}:
        codes.append(run_kinds(desk))
    if desk.period:
        codes.append(run_entries(desk, *desk.period))
    return 1 if 1 in codes else max(codes)


def prepare_for_many_records() -> None:
    """Keep time and memory low while millions of small values, none in a circle, come and go."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    # glibc stops giving large blocks back once some have been freed, unless it is told a limit.
    # https://man7.org/linux/man-pages/man3/mallopt.3.html
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 128 * 1024)


def main() -> int:
    """Run the command line and return the exit code."""
    # Cloud Run ends a job with SIGTERM: as good as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    prepare_for_many_records()
    try:
        return run(read_arguments())
    except (WrongCall, SettingsError) as error:
        print(error, file=sys.stderr)
        return 2
    except IntegrationError as error:
        print(f"{error}\nStopped before the end: run the same command again.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: the same command goes on where it matters.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
