"""`make run`: start the outside world and the function, send one time entry, and stay up."""

import signal
import socket
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sandbox import acme
from sandbox.cloud_run import CloudRun
from sandbox.google_cloud import PROJECT
from sandbox.page import Page, full_calendar
from sandbox.page.picture import OTHER_FAULTS
from sandbox.salesforce import FAULTS
from sandbox.world import World, free_port

SHOWN = ("Subject", "StartDateTime", "EndDateTime", "ShowAs", "OwnerId", "WhatId", "Description")
# As deploy.sh sets the function up: in doubt it asks Clockify.
SETTINGS = {"CLOCKIFY_API_KEY": f"projects/{PROJECT}/secrets/clockify-api-key"}


def main() -> int:
    """Run until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    full_calendar()
    with ExitStack() as cleanup:
        folder = cleanup.enter_context(TemporaryDirectory(prefix="clockify-salesforce-"))
        try:
            print(
                "Starting stand-ins for Salesforce, Secret Manager, Cloud Tasks and Clockify's API"
            )
            world = World(Path(folder))
            cleanup.callback(world.close)
            acme.settle(world)
            print("Starting the function under functions-framework")
            run = CloudRun(world, port=port_near(8080), settings=SETTINGS)
            cleanup.callback(run.close)
            page = Page(world, run, port=port_near(8081))
            cleanup.callback(page.close)
            show(world, run, page)
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            print("\nStopping all of it.")
    return 0


def show(world: World, run: CloudRun, page: Page) -> None:
    """Send a first message, print what became of it, and how to go on."""
    event_type, body = acme.first_message(world, datetime.now(UTC))

    async def send() -> None:
        page.webhooks.send([(event_type, body)])

    world.internet.wait(send())
    print(f"\nAda stops her timer; Clockify sends {event_type}.")
    event = first_event(world, run)
    print(f"The function answered {run.requests[0].status} {run.requests[0].answer}")
    names = {
        each: record.get("Name")
        for records in world.salesforce.records.values()
        for each, record in records.items()
    }
    print("Salesforce now holds this Event:\n")
    for name in SHOWN:
        value = names.get(str(event.get(name))) or event.get(name)
        print(f"  {name:14} " + str(value).replace("\n", f"\n  {'':14} "))
    curl = f"curl {run.url} -H 'Clockify-Signature: {world.signing_secret}'"
    print(
        f"""
See the calendar, and do what people do:  {page.url}

Send more by hand; any file of tests/payloads will do:
  {curl} \\
    -H 'Clockify-Webhook-Event-Type: TIME_ENTRY_UPDATED' \\
    --data-binary @tests/payloads/TIME_ENTRY_UPDATED.json
Pull a plug by hand:  curl -X POST {page.url}/faults/outage    (once more: it ends; "none" ends all)
     {", ".join((*FAULTS, *OTHER_FAULTS))}

The function's logs: {world.folder}/function-*.log
Ctrl-C ends all of it.""",
        flush=True,
    )


def first_event(world: World, run: CloudRun) -> dict[str, Any]:
    """The first message's Event, as soon as it is there."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        event = world.salesforce.event(acme.FIRST_ENTRY)
        if event is not None and run.requests[0].status:
            return event
        time.sleep(0.02)
    logs = "\n".join(each.function.raw_log for each in run.instances if each.function)
    raise SystemExit("Salesforce holds no Event: see the log\n" + logs)


def port_near(wanted: int) -> int:
    """The port that is wanted, or a free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
    return wanted


if __name__ == "__main__":
    sys.exit(main())
