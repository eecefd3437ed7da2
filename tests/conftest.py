"""What the tests share: the outside world on loopback, and a function in front of it."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from sandbox.world import Function, World

PAYLOADS = Path(__file__).parent / "payloads"

# Each test has a time entry of its own: a function remembers those that it has heard of.
_entry_ids = [f"{0:024x}"]

# Whoever starts the tests in the background has them ignore Ctrl-C, and with them every process
# that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("world", deadline=None, print_blob=True)
settings.load_profile("world")


def entry_id() -> str:
    """The id of the test's time entry."""
    return _entry_ids[-1]


def sample(name: str = "TIMER_STOPPED", **changes: Any) -> dict[str, Any]:
    """A message as Clockify sends it, with changes; a value of ... takes a field away."""
    entry = json.loads((PAYLOADS / f"{name}.json").read_text())
    entry.update(changes)
    return {key: value for key, value in entry.items() if value is not ...}


def payload(name: str = "TIMER_STOPPED", **changes: Any) -> dict[str, Any]:
    """A message of the test's own entry."""
    return sample(name, **({"id": entry_id()} | changes))


@pytest.fixture(scope="session")
def the_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all tests: gRPC reads its certificate authority once a process."""
    world = World(tmp_path_factory.mktemp("world"))
    yield world
    world.close()


@pytest.fixture
def world(the_world: World) -> World:
    """The world as new."""
    the_world.reset()
    _entry_ids.append(f"{len(_entry_ids):024x}")
    return the_world


@pytest.fixture(scope="module")
def running(the_world: World) -> Iterator[Function]:
    """A function that a module's tests share, with the retry queue."""
    function = Function(the_world)
    yield function
    function.stop()


@pytest.fixture
def function(world: World, running: Function) -> Function:
    """The shared function in front of a world as new, signed in to it already."""
    assert running.post("TIMER_STOPPED", payload()).status_code == 200
    world.salesforce.forget_events()
    _entry_ids.append(f"{len(_entry_ids):024x}")
    world.secret_manager.reads.clear()
    return running


@pytest.fixture
def cold(world: World) -> Iterator[Function]:
    """A function of the test's own that has served nothing yet."""
    function = Function(world)
    yield function
    function.stop()
