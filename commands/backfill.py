"""Compare Clockify's history of a period with the Events in Salesforce, and repair what differs.

For a first import, after an outage, and nightly. Clockify's word is the truth, and the same mapping
as for its messages says what an Event looks like. Nothing is changed without --apply. It keeps
nothing but the file of refused entries: stopped at any point, the next run ends in the same state.

Exit code: 0 all in order, 1 something is left (the last lines say what), 2 the call is wrong.
"""

import argparse
import getpass
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from tqdm import tqdm

import mapping
from clockify_salesforce.clockify.client import REGIONS, Clockify, region_and_key
from clockify_salesforce.clockify.history import History, Json, start_of
from clockify_salesforce.errors import IntegrationError
from clockify_salesforce.salesforce.client import Org
from clockify_salesforce.salesforce.directory import Directory
from commands.repair import Refusals, Repair

READ_S = 120.0  # for an answer of Salesforce's: 200 records may start 200 automations of the org's
CLOCKIFY_TIMEOUT = (5.0, 60.0)
CLOCKIFY_PATIENCE_S = 3 * 3600.0  # for one call: the Free plan allows 30 an hour
LINE_EVERY_S = 10.0


CREDENTIALS_FROM = (
    "Credentials come from files, or from Secret Manager as the function's do:"
    " SALESFORCE_CREDENTIALS and CLOCKIFY_API_KEY name the secrets."
)


class WrongCall(IntegrationError):
    """An option or a setting is missing or wrong."""


def add_credentials(parser: argparse.ArgumentParser) -> None:
    """Add the options that name where credentials come from."""
    parser.add_argument(
        "--region",
        default=os.environ.get("CLOCKIFY_REGION", ""),
        choices=REGIONS,
        help="Clockify's region, if any (or CLOCKIFY_REGION)",
    )
    parser.add_argument("--salesforce-credentials-file", type=Path, metavar="FILE")
    parser.add_argument("--clockify-api-key-file", type=Path, metavar="FILE")


def read_arguments() -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with 2."""
    parser = argparse.ArgumentParser(
        description="Compare Clockify's time entries of a period with the Events in Salesforce."
        " Nothing is changed without --apply.",
        epilog=f"{CREDENTIALS_FROM} Exit code: 0 all in order, 1 something is left, 2 the call is"
        " wrong.",
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
    parser.add_argument(
        "--region",
        default=os.environ.get("CLOCKIFY_REGION", ""),
        choices=REGIONS,
        metavar="REGION",
        help=f"Clockify's region:{' '.join(REGIONS)} (or CLOCKIFY_REGION)",
    )
    parser.add_argument(
        "--salesforce-credentials-file", type=Path, metavar="FILE", help="instead of the secret"
    )
    parser.add_argument(
        "--clockify-api-key-file", type=Path, metavar="FILE", help="instead of secret or prompt"
    )
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
    arguments = parser.parse_args()
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


def text_of(file: Path | None, setting: str) -> Callable[[], str] | None:
    """What reads a secret: from the file, else from Secret Manager; None where neither is named.

    Raises WrongCall for a file that cannot be read.
    """
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise WrongCall(f"{file} cannot be read ({type(error).__name__})") from None
        return lambda: text
    name = os.environ.get(setting, "").strip()
    if not name:
        return None
    if not re.fullmatch(r"projects/[^/]+/secrets/[^/]+(/versions/[^/]+)?", name):
        raise WrongCall(f"{setting} is wrong: set it to something like projects/P/secrets/S")
    from clockify_salesforce.secret import Secret  # Google's libraries, which a file does without

    return Secret(name).value


def salesforce_credentials(arguments: argparse.Namespace) -> Callable[[], str]:
    """What reads the credentials' JSON. Raises WrongCall where nothing names them."""
    read = text_of(arguments.salesforce_credentials_file, "SALESFORCE_CREDENTIALS")
    if read is None:
        raise WrongCall(
            "no Salesforce credentials: set SALESFORCE_CREDENTIALS or --salesforce-credentials-file"
        )
    return read


def api_key(arguments: argparse.Namespace) -> tuple[str, str]:
    """Clockify's region and API key; the secret may hold both. Raises IntegrationError."""
    read = text_of(arguments.clockify_api_key_file, "CLOCKIFY_API_KEY")
    if read is not None:
        text = read()
    elif sys.stdin.isatty():
        text = getpass.getpass("Clockify API key: ")
    else:
        raise WrongCall("no Clockify API key: set CLOCKIFY_API_KEY or --clockify-api-key-file")
    region, key = region_and_key(text)
    return region or arguments.region, key


class Progress:
    """A bar on a terminal, plain lines in a log; both on stderr."""

    def __init__(self, since: datetime, until: datetime) -> None:
        self._began = self._told = time.monotonic()
        self._bar = tqdm(
            total=round((until - since) / timedelta(days=1), 2),
            disable=None,  # not on a terminal
            bar_format="{l_bar}{bar}| {n:.0f} of {total:.0f} days, {remaining} left{postfix}",
            file=sys.stderr,
        )
        self._since, self._until = since, until

    def tell(self, text: str) -> None:
        """Say a sentence without spoiling the bar."""
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()

    def reach(self, moment: datetime, entries: int) -> None:
        """Show that all before `moment` is done."""
        rate = entries / max(0.001, time.monotonic() - self._began)
        told = f"{entries:,} entries, {rate:,.0f}/s"
        self._bar.set_postfix_str(told, refresh=False)
        self._bar.update(round((moment - self._since) / timedelta(days=1), 2) - self._bar.n)
        late = time.monotonic() - self._told >= LINE_EVERY_S
        if self._bar.disable and (late or moment >= self._until):
            self._told = time.monotonic()
            done = (moment - self._since) / (self._until - self._since)
            self.tell(f"{done:4.0%}, up to {moment:%Y-%m-%d %H:%M}: {told}")

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


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
        ("newer", count["newer"], "a message has been quicker"),
        ("left alone", count["foreign"], "made by somebody else, gone in Clockify"),
        ("surplus", count["surplus"], "not deleted: too many"),
        ("refused", count["refused"], "see above"),
        ("notes", count["notes"], "owner or links that were left out"),
    ]
    lines += [line for line in rare if line[1]]
    return "\n".join(f"  {name:<14}{number:>10,}  {why}".rstrip() for name, number, why in lines)


def run(arguments: argparse.Namespace) -> int:
    """Compare and, with --apply, repair. Returns the exit code; raises IntegrationError."""
    since, until = period(arguments, datetime.now(UTC))
    version = os.environ.get("SALESFORCE_API_VERSION") or "65.0"
    subject = mapping.check_subject(os.environ.get("EVENT_SUBJECT") or mapping.DEFAULT_SUBJECT)
    credentials = salesforce_credentials(arguments)
    region, key = api_key(arguments)
    progress = Progress(since, until)

    def clockify(*, timeout: tuple[float, float] = CLOCKIFY_TIMEOUT) -> Clockify:
        return Clockify(
            api_key=key,
            region=region,
            patience=CLOCKIFY_PATIENCE_S,
            on_wait=lambda wait_s: progress.tell(
                f"Clockify asks to wait: going on in {wait_s:,.0f} s"
                f" (at {datetime.now() + timedelta(seconds=wait_s):%H:%M:%S})"
            ),
            timeout=timeout,
        )

    org = Org(credentials, version=version, read_s=READ_S)
    history = History(clockify(), arguments.workspace, arguments.users)
    refusals = Refusals(arguments.refused_file)

    def is_in_period(entry: Json) -> bool:
        start = start_of(entry)
        return start is not None and since <= start < until

    try:
        repair = Repair(
            org,
            history,
            Directory(org, clockify=clockify),
            refusals,
            apply=arguments.apply,
            subject=subject,
            most_deletions=arguments.most_deletions,
            deletes=not arguments.users,
            tell=progress.tell,
            show=print if arguments.list else lambda line: None,
        )
        for window in history.windows(since, until):
            repair.take(window)
            progress.reach(window.until, repair.count["entries"])
        repair.finish(is_in_period)
    finally:
        progress.close()
    is_left = bool(repair.count["surplus"] or repair.count["refused"])
    if arguments.apply and refusals.finish():
        progress.tell(f"{arguments.refused_file} holds what was refused; the next run takes it up.")
    what = "Repaired:" if arguments.apply else "Dry run, nothing is changed:"
    last = until - timedelta(days=1)
    print(f"{what} Clockify's entries from {since:%Y-%m-%d} to {last:%Y-%m-%d} (UTC)")
    print(summary(repair.count, apply=arguments.apply))
    return 1 if is_left else 0


def main() -> int:
    """Run the command line and return the exit code."""
    # Cloud Run ends a job with SIGTERM: as good as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(read_arguments())
    except WrongCall as error:
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
