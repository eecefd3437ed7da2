"""Salesforce, or whatever stands in front of it, answers wrongly: nothing is lost, nothing hangs.

Every 2xx that does not say itself that it was carried out counts as not taken.
"""

import gzip
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from conftest import entry_id, payload

from sandbox.internet import Answer, Request
from sandbox.salesforce import HOST
from sandbox.world import Function, World

Site = Callable[[Request], Awaitable[Answer]]
GONE = [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}]


def part(reference: str, status: Any = 201, body: Any = None) -> dict[str, Any]:
    """One part of a composite's answer; a good one is spoiled by what is given."""
    good = {"id": "00UKj0000000001AAA", "success": True, "errors": [], "created": True}
    return {
        "httpStatusCode": status,
        "body": good if body is None else body,
        "referenceId": reference,
    }


def composite(*parts: Any) -> dict[str, Any]:
    return {"compositeResponse": list(parts)}


WRONG: dict[str, Answer] = {
    "nothing": Answer(200),
    "no content": Answer(204),
    "accepted": Answer(202, composite()),
    "an empty list": Answer(200, []),
    "an empty object": Answer(200, {}),
    "a number": Answer(200, 7),
    "a text as JSON": Answer(200, '"done"', content_type="application/json"),
    "a page": Answer(200, "<html>Log in</html>"),
    "half a JSON": Answer(200, '{"compositeResponse": [', content_type="application/json"),
    "success false": Answer(200, {"success": False}),
    "success true": Answer(200, {"success": True, "created": True}),
    "no parts": Answer(200, composite()),
    "null parts": Answer(200, composite(None, None)),
    "one part of two": Answer(200, composite(part("state"))),
    "the other part": Answer(200, composite(part("event"))),
    "parts of another call": Answer(200, composite(part("a"), part("b"))),
    "parts in another order": Answer(200, composite(part("event"), part("state"))),
    "three parts": Answer(200, composite(part("state"), part("event"), part("more"))),
    "status a text": Answer(200, composite(part("state", "ok"), part("event"))),
    "status null": Answer(200, composite(part("state", None), part("event"))),
    "status 202": Answer(200, composite(part("state"), part("event", 202))),
    "part empty": Answer(200, composite(part("state"), part("event", 200, {}))),
    "part a list": Answer(200, composite(part("state"), part("event", 200, []))),
    "part refused": Answer(200, composite(part("state"), part("event", 200, {"success": False}))),
    "part success a text": Answer(
        200, composite(part("state"), part("event", 200, {"success": "true"}))
    ),
    "part an error": Answer(200, composite(part("state"), part("event", 503, "<html>"))),
    "all halted": Answer(
        200,
        composite(
            *(
                part(name, 400, [{"errorCode": "PROCESSING_HALTED", "message": "rolled back"}])
                for name in ("state", "event")
            )
        ),
    ),
    "a redirect": Answer(302, None, {"Location": "https://elsewhere.example/"}),
    "a teapot": Answer(418, {"short": "stout"}),
    "300": Answer(300, ["/a", "/b"]),
}


@pytest.fixture
def answers(world: World) -> Iterator[Callable[[Answer], None]]:
    """Have Salesforce answer all but sign-ins with this, until the test ends."""
    org: Site = world.internet.sites[HOST]

    def give(answer: Answer) -> None:
        async def site(request: Request) -> Answer:
            if "/oauth2/" in request.path:
                return await org(request)
            return answer

        world.internet.sites[HOST] = site

    yield give
    world.internet.sites[HOST] = org


def drained(world: World) -> bool:
    deadline = time.monotonic() + 30
    while world.tasks.waiting and time.monotonic() < deadline:
        time.sleep(0.02)
    return not world.tasks.waiting


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("event_type", ["TIMER_STOPPED", "TIME_ENTRY_DELETED"])
def test_wrong_answer_is_not_taken_for_done(
    function: Function,
    world: World,
    answers: Callable[[Answer], None],
    event_type: str,
    kind: str,
) -> None:
    org = world.internet.sites[HOST]
    if event_type == "TIME_ENTRY_DELETED":
        assert function.post("TIMER_STOPPED", payload()).status_code == 200
    world.tasks.paused = True
    answers(WRONG[kind])
    response = function.post(event_type, payload())
    assert (response.status_code, response.json()["result"]) == (202, "queued")
    assert response.elapsed.total_seconds() < 7.5
    world.internet.sites[HOST] = org
    world.tasks.paused = False
    assert drained(world)
    assert bool(world.salesforce.event(entry_id())) is (event_type == "TIMER_STOPPED")


def test_missing_field_is_not_taken_for_a_missing_event(function: Function, world: World) -> None:
    assert function.post("TIMER_STOPPED", payload()).status_code == 200
    world.tasks.paused = True
    world.salesforce.hidden.add("Event.Clockify_Time_Entry_Id__c")
    assert function.post("TIME_ENTRY_DELETED", payload()).status_code == 202
    assert "force-app" in function.log[-1]["reason"]
    world.salesforce.hidden.clear()
    world.tasks.paused = False
    assert drained(world)
    assert world.salesforce.events() == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, composite(part("state"), part("event")), drips_s=0.5),
        Answer(200, gzip.compress(b" " * 300_000_000), {"Content-Encoding": "gzip"}),
    ],
    ids=["a byte at a time", "300 MB packed"],
)
def test_answer_without_end_is_given_up_in_time_and_memory(
    world: World, cold: Function, answers: Callable[[Answer], None], answer: Answer
) -> None:
    assert cold.post("TIMER_STOPPED", payload(id="warm")).status_code == 200
    world.tasks.paused = True
    answers(answer)
    response = cold.post("TIMER_STOPPED", payload())
    assert (response.status_code, response.json()["result"]) == (202, "queued")
    assert response.elapsed.total_seconds() < 7.6
    with open(f"/proc/{cold.pid}/task/{cold.pid}/children") as children:
        worker = children.read().split()[0]
    with open(f"/proc/{worker}/status") as status:
        peak_kb = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    assert peak_kb < 250_000


def test_batch_of_a_whole_mebibyte_is_bounded(world: World, cold: Function) -> None:
    ids = [f"{number:024x}" for number in range(38_000)]
    body = json.dumps(ids, separators=(",", ":")).encode()
    assert len(body) < 1024 * 1024
    world.tasks.paused = True
    response = cold.post("TIME_ENTRY_BATCH_DELETED", body)
    assert response.status_code in (202, 503)
    assert response.elapsed.total_seconds() < 9
    assert len(world.tasks.created) <= 76
    assert world.salesforce.requests == []
    # Once more: nothing stands in the queue twice.
    cold.post("TIME_ENTRY_BATCH_DELETED", body)
    assert len(world.tasks.waiting) <= 76


def test_batch_with_each_id_many_times_does_it_once(function: Function, world: World) -> None:
    assert function.post("TIMER_STOPPED", payload()).status_code == 200
    response = function.post("TIME_ENTRY_BATCH_DELETED", [entry_id()] * 1000)
    assert (response.status_code, response.json()["result"]) == (200, "deleted")
    assert world.salesforce.events() == []
    assert len(world.salesforce.requests) <= 3
