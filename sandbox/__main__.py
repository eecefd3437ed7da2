"""`make run`: start the outside world and the function, send one time entry, and stay up."""

import signal
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from sandbox import page
from sandbox.salesforce import FAULTS
from sandbox.world import ROOT, Function, World, free_port

PAYLOADS = ROOT / "tests/payloads"
SHOWN = ("Subject", "StartDateTime", "EndDateTime", "ShowAs", "OwnerId", "WhatId", "Description")


def main() -> int:
    """Run until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as cleanup:
        folder = cleanup.enter_context(TemporaryDirectory(prefix="clockify-salesforce-"))
        try:
            print(
                "Starting stand-ins for Salesforce, Secret Manager, Cloud Tasks and Clockify's API"
            )
            world = World(Path(folder))
            cleanup.callback(world.close)
            settle(world)
            print("Starting the function under functions-framework")
            function = Function(world, port=port_near(8080))
            cleanup.callback(function.stop)
            show(world, function)
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            print("\nStopping all of it.")
    return 0


def settle(world: World) -> None:
    """Fill the org and Clockify with those whom the sample messages name."""
    org = world.salesforce
    org.add(
        "User",
        Name="Ada Lindqvist",
        Email="ada@acme.example",
        Clockify_User_Id__c="5a0ab5acb07987125438b60f",
    )
    org.add(
        "User",
        Name="Bo Nakamura",
        Email="bo@acme.example",
        Clockify_User_Id__c="5a0ab5acb07987125438b610",
    )
    account = org.add(
        "Account", Name="Northwind GmbH", Clockify_Client_Id__c="64c777ddd3fcab07cfbb210c"
    )
    org.add(
        "Opportunity",
        Name="Website relaunch",
        AccountId=account,
        Clockify_Project_Id__c="64c777ddd3fcab07cfbb211d",
    )
    org.add(
        "Opportunity", record_id="006Kj00000A1b2cIAB", Name="Northwind renewal", AccountId=account
    )


def show(world: World, function: Function) -> None:
    """Send the sample, print what became of it, and how to send more and pull plugs."""
    sample = (PAYLOADS / "TIMER_STOPPED.json").read_bytes()
    response = function.post("TIMER_STOPPED", sample)
    print("\nPosted tests/payloads/TIMER_STOPPED.json, as Clockify would when a timer is stopped.")
    print(f"The function answered {response.status_code} {response.text}")
    event = world.salesforce.event("64c777ddd3fcab07cfbb210d")
    if event is None:
        raise SystemExit("Salesforce holds no Event: see the log\n" + function.raw_log)
    names = {
        each: record.get("Name")
        for records in world.salesforce.records.values()
        for each, record in records.items()
    }
    print("Salesforce now holds this Event:\n")
    for name in SHOWN:
        value = names.get(str(event.get(name))) or event.get(name)
        print(f"  {name:14} " + str(value).replace("\n", f"\n  {'':14} "))
    port = port_near(8081)
    page.serve(world, port)
    curl = f"curl {function.url} -H 'Clockify-Signature: {world.signing_secret}'"
    print(
        f"""
Send more, for example the edit that follows; any file of tests/payloads will do:
  {curl} \\
    -H 'Clockify-Webhook-Event-Type: TIME_ENTRY_UPDATED' \\
    --data-binary @tests/payloads/TIME_ENTRY_UPDATED.json

See the calendar and the queue, and pull a plug:  http://127.0.0.1:{port}
or:  curl -X POST http://127.0.0.1:{port}/faults/outage    (once more: it ends; "none" ends all)
     {", ".join((*FAULTS, *page.OTHERS))}

The function's log: {function.log_file}
Ctrl-C ends all of it.""",
        flush=True,
    )


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
