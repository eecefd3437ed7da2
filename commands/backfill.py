"""Compare Clockify's history of a period with the Events in Salesforce, and repair what differs.

For a first import, after an outage, and nightly. Clockify's word is the truth, and the same mapping
as for its messages says what an Event looks like. Nothing is changed without --apply. It keeps
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
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from clockify_salesforce.clockify.client import Clockify
from clockify_salesforce.clockify.history import Asks, History
from clockify_salesforce.errors import IntegrationError, SettingsError
from clockify_salesforce.salesforce.bulk import BulkOrg
from clockify_salesforce.salesforce.directory import Directory
from clockify_salesforce.settings import chosen_rules
from commands.repair.reading import Readers
from commands.repair.refusals import Refusals
from commands.repair.repair import Repair, Wishes
from commands.repair.settle import Clock
from commands.terminal import (
    CREDENTIALS_FROM,
    Progress,
    WrongCall,
    add_credentials,
    api_key,
    salesforce_credentials,
    settings,
)

READ_S = 120.0  # for an answer of Salesforce's: 200 records may start 200 automations of the org's
LARGEST_ANSWER = 64 * 1024 * 1024  # bytes: what became of a bulk job's 20 MB
CLOCKIFY_TIMEOUT = (5.0, 60.0)
M_MMAP_THRESHOLD = -3
CLOCKIFY_PATIENCE_S = 3 * 3600.0  # for one call: the Free plan allows 30 an hour


def read_arguments() -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with 2."""
    parser = argparse.ArgumentParser(
        description="Compare Clockify's time entries of a period with the Events in Salesforce."
        " Nothing is changed without --apply.",
        epilog=f"{CREDENTIALS_FROM} Exit code: 0 all in order, 1 something is left, 2 the call is"
        " wrong, 3 only entries that were refused are left.",
    )
    parser.add_argument(
        "--workspace", required=True, metavar="ID", help="Clockify's id of the workspace"
    )
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
    parser.add_argument("--apply", action="store_true", help="change Salesforce")
    parser.add_argument("--list", action="store_true", help="print each change")
    add_credentials(parser)
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
        default=10_000,
        metavar="N",
        help="write N changes in calls of 200 records, and what is beyond as bulk jobs"
        " (%(default)s); 0: no bulk jobs",
    )
    arguments = parser.parse_args()
    if not 1 <= arguments.jobs <= 25:
        parser.error("--jobs is 1 to 25")
    if arguments.bulk_beyond < 0:
        parser.error("--bulk-beyond is 0 or more")
    if (arguments.days is None) == (arguments.since is None):
        parser.error("name the period: --days N, or --from DAY and perhaps --to DAY")
    if arguments.days is not None and (arguments.days < 1 or arguments.until):
        parser.error("--days is at least 1 and goes without --to")
    if arguments.since and arguments.until and arguments.until < arguments.since:
        parser.error("--to lies before --from")
    return arguments


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


def run(arguments: argparse.Namespace) -> int:
    """Compare and, with --apply, repair. Returns the exit code; raises IntegrationError."""
    since, until = period(arguments, datetime.now(UTC))
    found = settings()
    credentials = salesforce_credentials(arguments, found)
    region, key = api_key(arguments, found)
    rules = chosen_rules(found.event_subject)
    progress = Progress(since, until)
    clients: list[Clockify] = []

    def wait(wait_s: float) -> None:
        readers.is_limited = True
        progress.tell(
            f"Clockify asks to wait: going on in {wait_s:,.0f} s"
            f" (at {datetime.now() + timedelta(seconds=wait_s):%H:%M:%S})"
        )

    def clockify(*, timeout: tuple[float, float] = CLOCKIFY_TIMEOUT) -> Clockify:
        patience = CLOCKIFY_PATIENCE_S
        client = Clockify(
            api_key=key, region=region, patience=patience, on_wait=wait, timeout=timeout
        )
        clients.append(client)
        return client

    def history() -> History:
        return History(clockify(), arguments.workspace, asks=Asks.of(rules, arguments.users))

    org = BulkOrg(
        credentials, version=found.salesforce_api_version, read_s=READ_S, largest=LARGEST_ANSWER
    )
    readers = Readers(history)
    refusals = Refusals(arguments.refused_file)
    repair = Repair(
        org,
        readers,
        Directory(org, clockify=clockify, links=rules.links),
        refusals,
        Clock(lambda: max([0.0, *(client.clock_ahead_s for client in clients)])),
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
        rules=rules,
        tell=progress.tell,
        show=print if arguments.list else lambda line: None,
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
