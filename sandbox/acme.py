"""The company that the sandbox plays: its people, clients and projects, and their working days."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from random import Random
from typing import Any

from sandbox.clockify import Entry, Message, Project, User
from sandbox.world import World

# The ids of tests/payloads, so that any file of it may be sent too.
ADA, BO, CHIARA = (f"5a0ab5acb07987125438b6{n}" for n in ("0f", "10", "11"))
NORTHWIND, WEBSITE = "64c777ddd3fcab07cfbb210c", "64c777ddd3fcab07cfbb211d"
FIRST_ENTRY = "64c777ddd3fcab07cfbb210d"
RENEWAL = "006Kj00000A1b2cIAB"
_WORK = (
    "Review of the checkout flow",
    "Call with the buyer",
    "Sketches for the start page",
    "Data model, second round",
    "Answers to the steering committee",
    "Fixing the import of prices",
    "Training for the warehouse",
    "Test plan",
)


def settle(world: World) -> None:
    """Fill Clockify and Salesforce with the company."""
    clockify, org = world.clockify, world.salesforce
    for user, name in ((ADA, "Ada Lindqvist"), (BO, "Bo Nakamura"), (CHIARA, "Chiara Rossi")):
        email = f"{name.split()[0].lower()}@acme.example"
        clockify.users[user] = User(user, name, email)
        if user != CHIARA:  # she has no licence for Salesforce
            org.add("User", Name=name, Email=email, Clockify_User_Id__c=user)
    clockify.clients[NORTHWIND] = "Northwind GmbH"
    clockify.projects[WEBSITE] = Project(WEBSITE, "Website relaunch", NORTHWIND)
    alpine, harbour = clockify.add_client("Alpenblick AG"), clockify.add_client("Harbour Foods")
    roll_out = clockify.add_project("Warehouse roll-out", alpine)
    clockify.add_project("Support", harbour)  # no Opportunity: its entries go to the Account
    clockify.add_project("Internal")  # and these to nothing at all
    accounts = {
        client: org.add("Account", Name=clockify.clients[client], Clockify_Client_Id__c=client)
        for client in (NORTHWIND, alpine, harbour)
    }
    for project, client in ((WEBSITE, NORTHWIND), (roll_out, alpine)):
        org.add(
            "Opportunity",
            Name=clockify.projects[project].name,
            AccountId=accounts[client],
            Clockify_Project_Id__c=project,
        )
    org.add(
        "Opportunity", record_id=RENEWAL, Name="Northwind renewal", AccountId=accounts[NORTHWIND]
    )


def first_message(world: World, now: datetime) -> Message:
    """Let Ada stop a timer that ran until a moment ago; return what Clockify sends."""
    end = now.astimezone(UTC).replace(second=30, microsecond=0) - timedelta(minutes=5)
    world.clockify.import_entries(
        [
            Entry(
                FIRST_ENTRY,
                ADA,
                end - timedelta(hours=1, minutes=35),
                None,
                description=_WORK[0],
                project=WEBSITE,
                task="Review",
                tags=("on site",),
                billable=True,
            )
        ]
    )
    return world.clockify.stop(FIRST_ENTRY, end)


def working_week(world: World, monday: datetime) -> Iterator[Message]:
    """Let all log a week, absences and breaks in it; `monday`: its 0:00, where they work."""
    projects = list(world.clockify.projects)
    for person, user in enumerate(world.clockify.users):
        for day in range(5):
            morning = monday + timedelta(days=day, hours=8 + person / 2)
            if (person + day) % 5 == 4:
                kind = "HOLIDAY" if person else "TIME_OFF"
                yield _add(world, user, morning, 8 * 60, description="Away", type=kind)
                continue
            for part, (after, minutes) in enumerate(((0, 150), (165, 75), (300, 180))):
                number = person + day + part
                yield _add(
                    world,
                    user,
                    morning + timedelta(minutes=after),
                    minutes,
                    description=_WORK[number * 3 % len(_WORK)],
                    project=projects[number % len(projects)],
                    billable=part != 1,
                )
            lunch = morning + timedelta(minutes=245)
            yield _add(world, user, lunch, 30, description="Lunch", type="BREAK")


def many_entries(world: World, count: int, monday: datetime) -> Iterator[Message]:
    """Add so many short entries to the four weeks that begin with `monday`."""
    chance = Random(count)
    users, projects = list(world.clockify.users), list(world.clockify.projects)
    for number in range(count):
        day = monday + timedelta(days=7 * (number % 4) + chance.randrange(5))
        yield _add(
            world,
            users[number % len(users)],
            day + timedelta(minutes=7 * 60 + 5 * chance.randrange(120)),
            10 + 5 * chance.randrange(12),
            description=chance.choice(_WORK),
            project=chance.choice(projects),
        )


def monday_of(now: datetime, zone: tzinfo) -> datetime:
    """The beginning of the week that `now` lies in, where the clocks show `zone`."""
    there = now.astimezone(zone)
    return (there - timedelta(days=there.weekday())).replace(
        hour=0, minute=0, second=0, microsecond=0
    )


def _add(world: World, user: str, start: datetime, minutes: int, **fields: Any) -> Message:
    begin = start.astimezone(UTC)
    return world.clockify.add(user, begin, begin + timedelta(minutes=minutes), **fields)
