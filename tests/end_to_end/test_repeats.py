"""Clockify repeats any message, byte for byte, 1 to 90 s after newer ones: the clock is moved.

The function runs in this process, so that its clock is the test's; all else is as ever.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from functions_framework import create_app
from google.cloud import secretmanager
from werkzeug.test import TestResponse

from clockify_salesforce import secret
from clockify_salesforce.google_client import GoogleClient
from sandbox.clockify import Message
from sandbox.google_cloud import PROJECT
from sandbox.world import ROOT, World

# Ahead of every clock here: a moment that has passed would be a deadline that has passed, too.
NOON = (datetime.now(UTC) + timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
START = NOON - timedelta(days=23)


@dataclass(order=True)
class Delivery:
    """One message at one moment, in seconds after noon; `again`: a repeat."""

    second: float
    number: int
    entry: str
    message: Message
    again: bool


@pytest.fixture(params=["with a key", "without a key"])
def client(
    request: pytest.FixtureRequest, world: World, monkeypatch: pytest.MonkeyPatch
) -> tuple[FlaskClient, bool]:
    """The function in this process, and whether it may ask Clockify."""
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    has_key = request.param == "with a key"
    if has_key:
        monkeypatch.setenv("CLOCKIFY_API_KEY", f"projects/{PROJECT}/secrets/clockify-api-key")
    else:
        monkeypatch.delenv("CLOCKIFY_API_KEY", raising=False)
    # A connection of its own: no deadline passes while the clock stands still, so that one that
    # another test's Secret Manager has given up would be waited for until tomorrow.
    google = GoogleClient(lambda: secretmanager.SecretManagerServiceClient())
    monkeypatch.setattr(secret, "_SECRET_MANAGER", google)
    app: Flask = create_app("clockify_webhook", str(ROOT / "main.py"))  # type: ignore[no-untyped-call]
    return app.test_client(), has_key


def send(client: FlaskClient, world: World, message: Message) -> TestResponse:
    event_type, entry = message
    return client.post(
        "/",
        data=json.dumps(entry),
        headers={
            "Clockify-Signature": world.signing_secret,
            "Clockify-Webhook-Event-Type": event_type,
        },
    )


def post(client: FlaskClient, world: World, message: Message) -> str:
    response = send(client, world, message)
    assert response.status_code == 200, response.text
    return str(response.get_json()["result"])


def life(world: World, chance: random.Random, user: str) -> Iterator[Message]:
    """One entry's random life, told as it happens; it happens in Clockify too."""
    api = world.clockify
    end = START + timedelta(hours=1)
    event_type, entry = api.add(user, START, end, description="state 0")
    yield event_type, entry
    name = entry["id"]
    deleted = False
    for number in range(chance.randrange(5)):
        if deleted:
            yield api.restore(name)
            deleted = False
        elif chance.random() < 0.4:
            yield api.delete(name)
            deleted = True
        else:
            # Now and then somebody changes something and changes it back.
            state = 0 if chance.random() < 0.2 else number + 1
            yield api.edit(name, description=f"state {state}")


@pytest.mark.parametrize("seed", range(6))
def test_repeats_never_revive_what_is_gone_nor_replace_what_is_newer(
    world: World, client: tuple[FlaskClient, bool], seed: int
) -> None:
    app, has_key = client
    print(f"seed {seed}")
    chance = random.Random(seed)
    user = world.clockify.add_user("Ada Lindqvist")
    org = world.salesforce
    with time_machine.travel(NOON, tick=False) as clock:
        planned: list[tuple[float, int, Any]] = [
            (chance.uniform(0, 60), number, life(world, chance, user)) for number in range(40)
        ]
        repeats: list[Delivery] = []
        first: dict[str, float] = {}  # message -> second of its first receipt
        newest: dict[str, str | None] = {}  # entry -> state by first receipt
        disputed: set[str] = set()  # entries for which a repeat was rightly taken
        while planned or repeats:
            planned.sort(key=lambda each: each[:2])
            repeats.sort()
            if planned and (not repeats or planned[0][0] <= repeats[0].second):
                second, number, story = planned.pop(0)
                clock.move_to(NOON + timedelta(seconds=second))
                message = next(story, None)
                if message is None:
                    continue
                entry = message[1]["id"]
                key = json.dumps(message)
                is_repeat = key in first and second - first[key] <= 120
                first.setdefault(key, second)
                post(app, world, message)
                for _ in range(chance.randrange(3)):
                    later = second + chance.uniform(1, 90)
                    repeats.append(Delivery(later, len(repeats), entry, message, True))
                planned.append((second + chance.uniform(1, 40), number, story))
                if is_repeat and not has_key:
                    disputed.add(entry)  # changed back within two minutes: cannot be told
                else:
                    gone = message[0] == "TIME_ENTRY_DELETED"
                    newest[entry] = None if gone else message[1]["description"]
            else:
                repeat = repeats.pop(0)
                clock.move_to(NOON + timedelta(seconds=repeat.second))
                entry = repeat.entry
                before = org.event(entry)
                post(app, world, repeat.message)
                after = org.event(entry)
                if not has_key and repeat.second - first[json.dumps(repeat.message)] <= 120:
                    assert (before is None) == (after is None)
                    if before and after:
                        assert after["Description"] == before["Description"]
        for entry, state in newest.items():
            event = org.event(entry)
            held = event and event["Description"].split("\n")[0]
            if has_key:
                now = world.clockify.entries.get(entry)
                assert held == (now and now.description)
            elif entry not in disputed:
                assert held == state


def test_repeat_after_a_deletion_is_stale(world: World, client: tuple[FlaskClient, bool]) -> None:
    app, has_key = client
    user = world.clockify.add_user("Ada Lindqvist")
    with time_machine.travel(NOON, tick=False) as clock:
        made = world.clockify.add(user, START, START + timedelta(hours=1))
        assert post(app, world, made) == "created"
        clock.shift(5)
        assert post(app, world, world.clockify.delete(made[1]["id"])) == "deleted"
        for seconds in (5, 30, 60):
            clock.shift(seconds)
            assert post(app, world, made) == "stale"
        clock.shift(300)
        # Without a key it might be edited, and what restored it on its way: it has to come again.
        assert send(app, world, made).status_code == (200 if has_key else 503)
    assert world.salesforce.events() == []


def test_change_and_change_back_is_settled_by_clockify(
    world: World, client: tuple[FlaskClient, bool]
) -> None:
    app, has_key = client
    api = world.clockify
    user = api.add_user("Ada Lindqvist")
    with time_machine.travel(NOON, tick=False) as clock:
        made = api.add(user, START, START + timedelta(hours=1), description="A")
        name = made[1]["id"]
        post(app, world, made)
        for seconds, state in ((5, "B"), (5, "A"), (5, "B"), (5, "A"), (200, "B"), (5, "A")):
            clock.shift(seconds)
            post(app, world, api.edit(name, description=state))
    event = world.salesforce.event(name)
    assert event is not None
    if has_key:
        assert event["Description"].startswith("A")


def test_clockify_unreachable_in_doubt_waits_in_the_queue(
    world: World, client: tuple[FlaskClient, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    app, has_key = client
    api = world.clockify
    user = api.add_user("Ada Lindqvist")
    with time_machine.travel(NOON, tick=False) as clock:
        made = api.add(user, START, START + timedelta(hours=1), description="A")
        post(app, world, made)
        clock.shift(5)
        edited = api.edit(made[1]["id"], description="B")
        post(app, world, edited)
        clock.shift(20)
        api.faults.broken = 1
        response = send(app, world, made)
        assert response.status_code == (503 if has_key else 200)
        assert "result" not in response.get_json() or not has_key
    event = world.salesforce.event(made[1]["id"])
    assert event is not None
    assert event["Description"].startswith("B")


def test_doubt_about_an_id_without_a_workspace_is_stale(
    world: World, client: tuple[FlaskClient, bool]
) -> None:
    app, _ = client
    api = world.clockify
    user = api.add_user("Ada Lindqvist")
    with time_machine.travel(NOON, tick=False) as clock:
        made = api.add(user, START, START + timedelta(hours=1))
        batch: Any = [made[1]["id"]]
        assert post(app, world, made) == "created"
        clock.shift(5)
        api.delete(batch[0])
        assert post(app, world, ("TIME_ENTRY_BATCH_DELETED", batch)) == "deleted"
        clock.shift(5)
        assert post(app, world, api.restore(batch[0])) == "created"
        clock.shift(60)
        assert post(app, world, ("TIME_ENTRY_BATCH_DELETED", batch)) == "stale"
    assert len(world.salesforce.events()) == 1
