"""Create the Clockify webhooks that are missing for the function's URL, and print their secrets.

The API key comes on stdin and is kept nowhere; for a regional workspace it is the region (euc1,
use2, euw2, apse2), a space and the key. stdout is the signing secrets of all webhooks
that point to the URL, one per line, for `gcloud secrets versions add`; stderr is for people
and holds nothing secret. https://docs.clockify.me/#tag/Webhooks
"""

import argparse
import sys

from clockify_salesforce.clockify.client import Clockify, ClockifyError, Json, region_and_key
from clockify_salesforce.errors import IntegrationError

# In order of worth: a Free workspace has three webhooks, and the first two are the time entries.
EVENTS = (
    "TIMER_STOPPED",
    "NEW_TIME_ENTRY",
    "TIME_ENTRY_UPDATED",
    "TIME_ENTRY_DELETED",
    "TIME_ENTRY_RESTORED",
    "TIME_ENTRY_SPLIT",
)
PATIENCE = 120.0  # seconds to wait in all where Clockify asks to slow down
LIMIT_STATUSES = (400, 402, 403)  # what Clockify answers when the plan allows no more


def say(text: str) -> None:
    """Tell the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


def find_workspace(clockify: Clockify, wanted: str | None) -> str:
    """Return the id of the workspace that is wanted, or of the only one that the key sees."""
    if wanted:
        return wanted
    found = clockify.get("/workspaces")
    if not isinstance(found, list) or not found:
        raise ClockifyError("This API key sees no Clockify workspace.")
    if len(found) > 1:
        names = ", ".join(f"{item.get('id')} ({item.get('name')})" for item in found)
        raise ClockifyError(f"This API key sees several workspaces; name one: --workspace {names}")
    return str(found[0]["id"])


def hook_name(event: str) -> str:
    """Return the webhook's name in Clockify: 2 to 30 characters."""
    return f"Salesforce {event.replace('_', ' ').lower()}"[:30]


def create_missing(
    clockify: Clockify, workspace: str, url: str, there: list[Json], *, dry_run: bool
) -> tuple[list[Json], ClockifyError | None]:
    """Create a webhook for each event that has none, until the plan allows no more.

    Returns what was created, and the error that stopped it before the end, if one did.
    """
    created: list[Json] = []
    covered = {hook.get("webhookEvent") for hook in there}
    missing = [event for event in EVENTS if event not in covered]
    for event in (event for event in EVENTS if event in covered):
        say(f"  {event}: is there")
    for place, event in enumerate(missing):
        if dry_run:
            say(f"  {event}: would be created")
            continue
        try:
            created.append(
                clockify.create_webhook(workspace, name=hook_name(event), url=url, event=event)
            )
        except ClockifyError as error:
            left = ", ".join(missing[place:])
            # Clockify has no status of its own for a full plan; a first refusal is another matter.
            if error.status in LIMIT_STATUSES and (created or there):
                say(
                    f"  Clockify takes no more webhooks, which is the plan's limit. Without: {left}"
                )
                say(f"  Its answer: {error}")
                return created, None
            say(f"  Not created: {left}")
            return created, error
        say(f"  {event}: created")
    return created, None


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


def main() -> int:
    """Run the command line; 0 when all is there that the plan allows, else 1."""
    parser = argparse.ArgumentParser(description="The API key is read from stdin.")
    parser.add_argument("--url", required=True, help="where the function answers")
    parser.add_argument("--workspace", help="Clockify's workspace id; needed if there are several")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--delete", action="store_true", help="delete the URL's webhooks instead")
    arguments = parser.parse_args()
    try:
        region, key = region_and_key(sys.stdin.readline())
        clockify = Clockify(
            api_key=key,
            region=region,
            patience=PATIENCE,
            on_wait=lambda seconds: say(f"  Clockify asks to wait {seconds:.0f} s"),
        )
        workspace = find_workspace(clockify, arguments.workspace)
        url = arguments.url.rstrip("/")
        there = [
            hook
            for hook in clockify.webhooks(workspace)
            if str(hook.get("url", "")).rstrip("/") == url
        ]
        if arguments.delete:
            delete_all(clockify, workspace, there, dry_run=arguments.dry_run)
            return 0
        created, stopped_by = create_missing(
            clockify, workspace, arguments.url, there, dry_run=arguments.dry_run
        )
    except IntegrationError as error:
        say(str(error))
        return 1
    # What exists must be let in, even if another one could not be created.
    for secret in secrets_of(there + created):
        print(secret)
    if stopped_by:
        say(str(stopped_by))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
