"""Create the Clockify webhooks that are missing for the function's URL, and print their secrets.

The API key comes on stdin and is kept nowhere; a workspace's region (euc1, use2, euw2, apse2) or
subdomain and a space may stand in front of it. stdout is the signing secrets of all webhooks
that point to the URL, one per line, for `gcloud secrets versions add`, or with --find-workspace the
workspace's id; stderr is for people and holds nothing secret.
https://docs.clockify.me/#tag/Webhooks
"""

import argparse
import re
import sys

from clockify_salesforce.clockify.api_key import read_api_key
from clockify_salesforce.clockify.client import Clockify, ClockifyError, Json
from clockify_salesforce.errors import IntegrationError
from commands.kinds import KINDS, NONE, TIME_ENTRIES, events_of, read_kinds

EVENTS = TIME_ENTRIES  # which are always wanted
# What Clockify tells of itself: https://clockify.me/pricing
PLANS = "Free has 3 webhooks a workspace, Basic to Pro 10 for each person; invoices need Standard"
OF_A_PLAN = frozenset(KINDS["invoices"])  # refused also where there is room
PATIENCE = 120.0  # seconds to wait in all where Clockify asks to slow down
LIMIT_STATUSES = (400, 402, 403)  # what Clockify answers when the plan allows no more


def say(text: str) -> None:
    """Tell the person at the terminal, without what moves its cursor: names may hold that."""
    plain = "".join(each if each.isprintable() or each == "\n" else "?" for each in text)
    print(plain, file=sys.stderr, flush=True)


def find_workspace(clockify: Clockify, wanted: str | None, preferred: str | None = None) -> str:
    """Return the id of the workspace that is wanted, or of the only one that the key sees.

    `preferred` is taken where the key sees it among several. Raises ClockifyError.
    """
    if wanted:
        return wanted
    found = clockify.get("/workspaces")
    seen = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    ids = [str(item.get("id")) for item in seen]
    if not ids or not all(re.fullmatch(r"[0-9a-f]{24}", each) for each in ids):
        raise ClockifyError("This API key sees no Clockify workspace.")
    if preferred in ids:
        return preferred
    if len(ids) > 1:
        names = ", ".join(f"{item['id']} ({str(item.get('name'))[:60]})" for item in seen)
        raise ClockifyError(f"This API key sees several workspaces; name one: --workspace {names}")
    return ids[0]


def hook_name(event: str) -> str:
    """Return the webhook's name in Clockify: 2 to 30 characters."""
    return f"Salesforce {event.replace('_', ' ').lower()}"[:30]


def create_missing(
    clockify: Clockify, workspace: str, url: str, missing: list[str], *, is_first: bool
) -> tuple[list[Json], ClockifyError | None]:
    """Create a webhook for each of these events, until the plan allows no more.

    `is_first`: the URL has none yet. Returns what was created, and the error that stopped it before
    the end, if one did.
    """
    created: list[Json] = []
    without: list[str] = []
    answer = ""
    for place, event in enumerate(missing):
        if event in OF_A_PLAN and OF_A_PLAN.intersection(without):
            without.append(event)
            continue
        try:
            made = clockify.create_webhook(workspace, name=hook_name(event), url=url, event=event)
        except ClockifyError as error:
            # Clockify has no status of its own for a full plan; a first refusal is another matter.
            if error.status not in LIMIT_STATUSES or (is_first and not created):
                say_why_none(error, without + missing[place:])
                return created, error
            without.append(event)
            answer = str(error)
            if event in OF_A_PLAN:
                continue  # the next event tells whether it is the kind or the number
            without += missing[place + 1 :]
            break
        created.append(made)
        say(f"  {event}: created")
    if without:
        say_without(without, answer)
    return created, None


def missing_events(there: list[Json], events: tuple[str, ...]) -> list[str]:
    """The events that have no webhook; says which have one, and which have one unasked."""
    covered = [str(hook.get("webhookEvent")) for hook in there]
    for event in (event for event in events if event in covered):
        say(f"  {event}: is there")
    for event in (event for event in covered if event not in events):
        say(f"  {event}: is there and was not asked for (--with): it stays")
    return [event for event in events if event not in covered]


def say_without(events: list[str], answer: str) -> None:
    """Tell which events have no webhook because of the plan, and what Clockify has answered."""
    why = "no more webhooks, which is the plan's limit"
    if OF_A_PLAN.issuperset(events):
        why = "no webhooks for invoices in this plan"
    say(f"  Clockify takes {why}. Without: {', '.join(events)}")
    say(f"  {PLANS}. What these would tell comes with the repair: docs/backfill.md")
    say(f"  Its answer: {answer}")


def say_why_none(error: ClockifyError, events: list[str]) -> None:
    """Tell what is not created because of an error that ends the run."""
    say(f"  Not created: {', '.join(events)}")
    if error.status in LIMIT_STATUSES:
        say(
            "  It may be the plan's limit (Free: 3 webhooks a workspace): delete one in"
            " Clockify, or take another plan."
        )


def secrets_of(hooks: list[Json]) -> list[str]:
    """Return the signing secrets of the webhooks, each once, and tell which have none to read."""
    found = []
    for hook in hooks:
        token = hook.get("authToken")
        if isinstance(token, str) and token:
            found.append(token)
        else:
            say(
                f"  Clockify does not tell the signing secret of {hook.get('webhookEvent')}: copy"
                " it from the webhook's page and give it with --signing-secrets-file."
            )
        if hook.get("enabled") is False or hook.get("deliveryEnabled") is False:
            say(f"  {hook.get('webhookEvent')} is switched off in Clockify: switch it on there.")
    return list(dict.fromkeys(found))


def delete_all(clockify: Clockify, workspace: str, hooks: list[Json], *, dry_run: bool) -> None:
    """Delete the webhooks given."""
    for hook in hooks:
        if not dry_run:
            clockify.delete_webhook(workspace, str(hook.get("id")))
        say(f"  {hook.get('webhookEvent')}: {'would be ' if dry_run else ''}deleted")


def read_arguments() -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with 2."""
    parser = argparse.ArgumentParser(description="The API key is read from stdin.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--url", help="where the function answers")
    what.add_argument(
        "--find-workspace", action="store_true", help="only print the id of the key's workspace"
    )
    parser.add_argument("--preferred", help="with --find-workspace: this one, if the key sees it")
    parser.add_argument("--workspace", help="Clockify's workspace id; needed if there are several")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--delete", action="store_true", help="delete the URL's webhooks instead")
    parser.add_argument(
        "--with",
        dest="kinds",
        default=NONE,
        metavar="KINDS",
        help=f"beside time entries: {','.join(KINDS)}",
    )
    parser.add_argument(
        "--without", default=NONE, metavar="KINDS", help="delete the URL's webhooks of these kinds"
    )
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> ClockifyError | None:
    """Do what the command line says; return what stopped it before the end, if anything did.

    Raises IntegrationError where nothing was done.
    """
    events = events_of(read_kinds(arguments.kinds))
    dropped = {event for kind in read_kinds(arguments.without) for event in KINDS[kind]}
    given = read_api_key(sys.stdin.readline())
    clockify = Clockify(
        api_key=given.key,
        region=given.region,
        patience=PATIENCE,
        on_wait=lambda seconds: say(f"  Clockify asks to wait {seconds:.0f} s"),
    )
    workspace = find_workspace(clockify, arguments.workspace, arguments.preferred)
    if arguments.find_workspace:
        print(workspace)
        return None
    url = arguments.url.rstrip("/")
    hooks = clockify.webhooks(workspace)
    there = [hook for hook in hooks if str(hook.get("url", "")).rstrip("/") == url]
    if arguments.delete:
        delete_all(clockify, workspace, there, dry_run=arguments.dry_run)
        return None
    unwanted = [hook for hook in there if hook.get("webhookEvent") in dropped - {*events}]
    delete_all(clockify, workspace, unwanted, dry_run=arguments.dry_run)
    there = [hook for hook in there if hook not in unwanted]
    missing = missing_events(there, events)
    if arguments.dry_run:
        for event in missing:
            say(f"  {event}: would be created")
        missing = []
    created, stopped_by = create_missing(
        clockify, workspace, arguments.url, missing, is_first=not there
    )
    # What exists must be let in, even if another one could not be created.
    for secret in secrets_of(there + created):
        print(secret)
    return stopped_by


def main() -> int:
    """Run the command line; 0 when all is there that the plan allows, else 1."""
    arguments = read_arguments()
    try:
        stopped_by: IntegrationError | None = run(arguments)
    except IntegrationError as error:
        stopped_by = error
    if stopped_by:
        say(str(stopped_by))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
