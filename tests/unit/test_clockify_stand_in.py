"""The stand-in of Clockify's API, read by a client that was written elsewhere.

clockify-python-115's models are made of Clockify's own API description. Where they and what
Clockify is seen to send differ, the stand-in keeps to the latter:

- `customFieldValues.value`: an object in the models; in captured messages and in Clockify's samples
  the text, number, boolean or list of choices itself.
- rows of the detailed report: `id` in the models, `_id` in real reports; both are read. `type` and
  `customFields` are not in the models; rows are seen with them and without.
- `TIME_ENTRY_BATCH_DELETED` is none of the models' events: it was documented until 2025.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import clockify
import httpx
import pytest
from clockify.models import TimeEntryDtoImplV1
from conftest import PAYLOADS, sample
from pydantic import ValidationError

import mapping
from sandbox.clockify import KEY, WORKSPACE, ClockifyApi

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
SAMPLES = sorted(path for path in PAYLOADS.glob("*.json") if "TIME" in path.stem)


@pytest.fixture
def api() -> ClockifyApi:
    """A workspace with something of everything."""
    api = ClockifyApi()
    client = api.add_client("Northwind GmbH")
    project = api.add_project("Website relaunch", client)
    people = [api.add_user("Ada Lindqvist"), api.add_user("Grace Hopper", status="DELETED")]
    api.groups["Consultants"] = people[:1]
    for number in range(5):
        start = START + timedelta(hours=number)
        api.add(
            people[number % 2],
            start,
            start + timedelta(hours=1),
            description="Review",
            project=project if number else None,
            task="Review" if number else None,
            tags=("on site", "night")[:number],
            billable=number > 2,
            type=("REGULAR", "BREAK", "HOLIDAY")[number % 3],
        )
    api.start(people[0], START + timedelta(hours=9))
    api.add_webhook("TIMER_STOPPED", "https://example.org/hook")
    return api


@pytest.fixture
def other(api: ClockifyApi) -> clockify.ClockifyClient:
    """The other client, whose requests the stand-in answers."""

    def answer(request: httpx.Request) -> httpx.Response:
        path, headers = request.url.raw_path.decode(), dict(request.headers)
        status, body, told = api(request.method, path, headers, request.content)
        return httpx.Response(status, json=body, headers=told)

    return clockify.ClockifyClient(
        api_key=KEY,
        workspace_id=WORKSPACE,
        http_client=httpx.AsyncClient(transport=httpx.MockTransport(answer)),
    )


def test_lists_are_read_by_the_other_client(other: clockify.ClockifyClient) -> None:
    async def read() -> None:
        assert [each.id for each in await other.workspaces.list()] == [WORKSPACE]
        users = await other.users.list()
        assert [user.email for user in users] == ["ada@acme.example", "grace@acme.example"]
        assert [each.user_ids for each in await other.user_groups.list()] == [[users[0].id]]
        assert [each.name for each in await other.clients.list()] == ["Northwind GmbH"]
        assert [each.name for each in await other.projects.list()] == ["Website relaunch"]
        hooks = (await other.webhooks.list()).webhooks or []
        assert [hook.webhook_event for hook in hooks] == ["TIMER_STOPPED"]

    asyncio.run(read())


def test_entries_are_read_by_the_other_client(
    api: ClockifyApi, other: clockify.ClockifyClient
) -> None:
    async def read() -> None:
        for entry in api.entries:
            found = await other.time_entries.get(entry, hydrated=True)
            assert (found.id, found.workspace_id) == (entry, WORKSPACE)

    asyncio.run(read())


def test_report_is_read_by_the_other_client(
    api: ClockifyApi, other: clockify.ClockifyClient
) -> None:
    request = {
        "dateRangeStart": "2026-03-01T00:00:00.000Z",
        "dateRangeEnd": "2026-03-31T23:59:59.999Z",
        "detailedFilter": {"page": 1, "pageSize": 200},
        "users": {"contains": "CONTAINS", "status": "ALL"},
    }
    report = asyncio.run(other.reports.detailed(request))
    assert len(report.timeentries or []) == len(api.entries)
    assert report.totals is not None
    assert report.totals[0].entries_count == len(api.entries)


def test_entry_that_is_gone_is_refused_as_the_other_client_knows_it(
    api: ClockifyApi, other: clockify.ClockifyClient
) -> None:
    entry = next(iter(api.entries))
    api.delete(entry)
    with pytest.raises(clockify.ClockifyAPIError) as caught:
        asyncio.run(other.time_entries.get(entry))
    assert caught.value.status_code == 400


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_sample_message_is_an_entry_but_for_its_custom_fields(path: Path) -> None:
    TimeEntryDtoImplV1.model_validate(sample(path.stem, customFieldValues=[]))


def test_value_of_a_custom_field_is_no_object_as_the_models_want_it() -> None:
    with pytest.raises(ValidationError, match=r"customFieldValues\.0\.value"):
        TimeEntryDtoImplV1.model_validate(sample())


def test_webhook_message_of_the_stand_in_is_an_entry(api: ClockifyApi) -> None:
    for entry in api.entries.values():
        body = api.webhook_body(entry)
        TimeEntryDtoImplV1.model_validate(body)
        assert mapping.decide("NEW_TIME_ENTRY", body).entry_id == entry.id
