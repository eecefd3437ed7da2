"""Clockify's side over TLS: what the API client makes of answers, and a period's entries."""

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from clockify.models import DetailedReportRequest, WebhookRequest
from clockify.operations.registry import ALL_OPERATIONS

import mapping
from clockify_salesforce.clockify.client import Clockify, ClockifyError
from clockify_salesforce.clockify.groups import Groups
from clockify_salesforce.clockify.history import Asks, History, Json
from clockify_salesforce.clockify.people import WORKSPACES
from clockify_salesforce.errors import BadMessage
from clockify_salesforce.mapping_file import read_rules
from sandbox.clockify import KEY, WORKSPACE, ClockifyApi
from sandbox.internet import Answer, Request
from sandbox.world import World

ENTRY = "64c777ddd3fcab07cfbb210d"
PATH = f"/workspaces/{WORKSPACE}/time-entries/{ENTRY}"
SECRET = "ada@acme.example"
SINCE, UNTIL = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 31, tzinfo=UTC)


@pytest.fixture
def api(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClockifyApi]:
    """The stand-in, to which this process's requests are led; each is one of Clockify's API."""
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    there, wrong = world.internet.sites[".clockify.me"], list[str]()

    async def site(request: Request) -> Answer:
        wrong.extend(mistakes(request))
        return await there(request)

    monkeypatch.setitem(world.internet.sites, ".clockify.me", site)
    yield world.clockify
    assert wrong == []


def mistakes(request: Request) -> list[str]:
    """What Clockify's API description does not know of a request."""
    url = urlsplit(request.path)
    path = re.sub(r"^/(api/|report/)?v1", "", url.path)
    for operation in ALL_OPERATIONS:
        pattern = re.sub(r"\{\w+\}", "[^/]+", operation.path)
        if operation.http_method == request.method and re.fullmatch(pattern, path):
            break
    else:
        return [f"{request.method} {path}"]
    known = {parameter.wire_name for parameter in operation.query_parameters}
    if operation.pagination:
        known |= {operation.pagination.page_parameter, operation.pagination.page_size_parameter}
    found = [f"{path}?{name}" for name in parse_qs(url.query) if name not in known]
    if operation.sdk_method == "detailed":
        DetailedReportRequest.model_validate(json.loads(request.body))
    if operation.sdk_method == "create":
        WebhookRequest.model_validate(json.loads(request.body))
    return found


def client(**options: Any) -> Clockify:
    return Clockify(api_key=KEY, **options)


# A single entry -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 404])
def test_entry_that_clockify_says_is_gone_is_none(api: ClockifyApi, status: int) -> None:
    api.gone_status = status
    clockify = client()
    assert clockify.time_entry(WORKSPACE, ENTRY) is None
    assert clockify.time_entry(WORKSPACE, ENTRY) is None
    paths = [path.partition("?")[0] for _, path in api.requests]
    # The key is seen to read the workspace, once a minute.
    assert paths == [f"/api/v1{PATH}", "/api/v1/workspaces", f"/api/v1{PATH}"]


def test_clients_of_one_key_share_what_it_reads(api: ClockifyApi) -> None:
    readable: dict[str, float] = {}
    for _ in range(2):
        assert client(readable=readable).time_entry(WORKSPACE, ENTRY) is None
    assert len(api.requests) == 3


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, "<html>Not found</html>"),
        (404, {"message": f"Not Found: {SECRET}"}),
        (404, {"code": 404}),
        (404, {"message": SECRET, "code": "404"}),
        (404, [SECRET]),
        (400, {"message": f"{SECRET} is no time", "code": 501}),
        (400, {"message": f"Time entry doesn't belong to Workspace {SECRET}"}),
        (400, {"message": f"Time entry doesn't belong to Workspace {SECRET}", "code": 3000}),
        (400, "doesn't belong to Workspace"),
        (401, {"message": f"Api key of {SECRET} does not exist", "code": 4003}),
        (403, {"message": f"Access of {SECRET} denied", "code": 1000}),
        (302, None),
        (500, {"message": "Time entry doesn't belong to Workspace", "code": 501}),
        (200, "<html>Sign in</html>"),
        (200, [SECRET]),
        (200, None),
        (200, {"id": "64c777ddd3fcab07cfbb210e", "description": SECRET}),
        (200, "[" * 100_000),
    ],
)
def test_any_other_answer_than_clockifys_own_is_not_gone(
    api: ClockifyApi, status: int, body: Any
) -> None:
    api.canned["GET", PATH] = (status, body, {"Location": "https://example.org/"})
    with pytest.raises(ClockifyError) as caught:
        client().time_entry(WORKSPACE, ENTRY)
    assert SECRET not in str(caught.value)
    assert caught.value.status in (status, None)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, [{"id": "64a687e29ae1f428e7ebe3ff"}]),
        (200, []),
        (200, [None, "x", {}]),
        (200, {"id": WORKSPACE}),
        (401, {"message": "Api key does not exist", "code": 4003}),
        (503, None),
    ],
)
def test_entry_is_not_gone_where_the_key_does_not_read_the_workspace(
    api: ClockifyApi, status: int, body: Any
) -> None:
    api.canned["GET", "/workspaces"] = (status, body, {})
    with pytest.raises(ClockifyError):
        client().time_entry(WORKSPACE, ENTRY)


def test_code_of_clockifys_own_error_is_told(api: ClockifyApi) -> None:
    api.canned["GET", PATH] = (400, {"message": SECRET, "code": 3001}, {})
    with pytest.raises(ClockifyError, match="HTTP 400, code 3001") as caught:
        client().time_entry(WORKSPACE, ENTRY)
    assert (caught.value.status, caught.value.code) == (400, 3001)


def test_answer_without_end_is_given_up(api: ClockifyApi) -> None:
    api.canned["GET", PATH] = (200, "x" * 34_000_000, {})
    with pytest.raises(ClockifyError, match="too large"):
        client().time_entry(WORKSPACE, ENTRY)


# Waiting ------------------------------------------------------------------------------------------


class Waits(Exception):
    """How long the client would have waited."""


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0.1, 0.1),
        (None, 2, 2),
        ("", 2, 2),
        ("nan", 2, 2),
        ("inf", 2, 2),
        ("-5", 2, 2),
        ("1e3", 2, 2),
        ("soon", 2, 2),
        ("9" * 400, 2, 2),
        ("in 90 s", 60, 90),
        (format_datetime(datetime(1999, 1, 1, tzinfo=UTC), usegmt=True), 0.1, 0.1),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 2, 2),
    ],
)
def test_retry_after_is_a_number_or_a_date_and_nothing_else(
    api: ClockifyApi, header: str | None, least: float, most: float
) -> None:
    def wait(seconds: float) -> None:
        raise Waits(seconds)

    if header == "in 90 s":
        header = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    api.faults.too_many, api.faults.retry_after = 1, header
    with pytest.raises(Waits) as caught:
        client(patience=1000.0, on_wait=wait).workspaces()
    assert least <= caught.value.args[0] <= most


# Regions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("", "api.clockify.me"),
        ("euc1", "euc1.clockify.me"),
        ("acme", "acme.clockify.me"),
        ("https://acme.clockify.me/tracker", "acme.clockify.me"),
    ],
)
def test_region_or_subdomain_is_the_host(
    world: World, api: ClockifyApi, region: str, host: str
) -> None:
    assert client(region=region).workspaces() == [WORKSPACE]
    assert set(world.internet.handshakes) == {host}


@pytest.mark.parametrize(
    ("region", "host"),
    [("", "reports.api.clockify.me"), ("acme", "acme.clockify.me"), ("use2", "use2.clockify.me")],
)
def test_reports_of_a_region_or_subdomain(
    world: World, api: ClockifyApi, region: str, host: str
) -> None:
    add(api)
    assert len(entries(client(region=region))) == 1
    assert set(world.internet.handshakes) == {host}
    assert api.requests[0][1].startswith("/report/v1/" if region else "/v1/")


# Lists --------------------------------------------------------------------------------------------


def test_list_is_read_to_its_end_without_what_is_no_object(api: ClockifyApi) -> None:
    for number in range(450):
        api.add_user(f"Person {number}")
    path = f"/workspaces/{WORKSPACE}/users"
    assert len(list(client().get_pages(path))) == 450
    api.canned["GET", path] = (200, [None, {"id": "a"}, 7], {"Last-Page": "true"})
    assert list(client().get_pages(path)) == [{"id": "a"}]


@pytest.mark.parametrize("last", [{"Last-Page": "false"}, {}])
def test_list_that_ignores_the_page_ends_with_an_error(api: ClockifyApi, last: Any) -> None:
    path = f"/workspaces/{WORKSPACE}/users"
    api.canned["GET", path] = (200, [{"id": str(n)} for n in range(200)], last)
    with pytest.raises(ClockifyError, match="the same page again"):
        list(client().get_pages(path))


def test_groups_are_told_by_person(api: ClockifyApi) -> None:
    ada, grace = api.add_user("Ada"), api.add_user("Grace")
    api.groups |= {"Consultants": [ada, grace], "Vienna": [ada], "Empty": []}
    groups = client().user_groups(WORKSPACE)
    assert [name for name in groups[ada] if len(name) < 24] == ["Consultants", "Vienna"]
    assert len(groups[grace]) == 2


def test_webhook_is_created_as_clockify_wants_it(api: ClockifyApi) -> None:
    hook = client().create_webhook(
        WORKSPACE, name="Salesforce", url="https://example.org", event="TIMER_STOPPED"
    )
    assert [each["id"] for each in client().webhooks(WORKSPACE)] == [hook["id"]]
    client().delete_webhook(WORKSPACE, hook["id"])
    assert client().webhooks(WORKSPACE) == []


# A period's entries -------------------------------------------------------------------------------


def add(api: ClockifyApi, person: str = "", number: int = 0, **fields: Any) -> str:
    """Add one finished entry of 2026-03-02 and return its id."""
    person = person or api.add_user("Ada Lindqvist")
    start = datetime(2026, 3, 2, 9, tzinfo=UTC) + timedelta(minutes=number)
    return str(api.add(person, start, start + timedelta(minutes=30), **fields)[1]["id"])


def entries(clockify: Clockify | None = None, **asks: Any) -> list[Json]:
    history = History(clockify or client(), WORKSPACE, asks=Asks(**asks))
    return [entry for window in history.windows(SINCE, UNTIL) for entry in window.entries]


@pytest.mark.parametrize("takes_status", ["yes", "empty", "no"])
@pytest.mark.parametrize("has_inactive", [True, False])
def test_report_of_everybody_in_whatever_way_it_is_to_be_asked_for(
    api: ClockifyApi, takes_status: str, has_inactive: bool
) -> None:
    api.report_takes_status, api.report_has_inactive = takes_status, has_inactive
    active = add(api)
    inactive = add(api, api.add_user("Grace Hopper", status="INACTIVE"))
    all_are_told = takes_status == "yes" or has_inactive
    expected = [active, inactive] if all_are_told else [active]
    assert sorted(entry["id"] for entry in entries()) == sorted(expected)


def test_deactivated_person_who_is_named_is_told(api: ClockifyApi) -> None:
    api.report_has_inactive = False
    person = api.add_user("Grace Hopper", status="INACTIVE")
    entry = add(api, person)
    assert [each["id"] for each in entries(users=[person])] == [entry]


def test_nulls_among_the_rows_are_passed_over(api: ClockifyApi) -> None:
    api.report_has_gaps = True
    person = api.add_user("Ada Lindqvist")
    expected = [add(api, person, number) for number in range(3)]
    assert sorted(entry["id"] for entry in entries()) == expected


@pytest.mark.parametrize("totals", [True, False])
@pytest.mark.parametrize("number", [1, 5, 450])
def test_report_that_ignores_the_page_is_read_whole(
    api: ClockifyApi, totals: bool, number: int
) -> None:
    api.report_is_one_page, api.report_totals, api.report_page = True, totals, 200
    person = api.add_user("Ada Lindqvist")
    expected = {add(api, person, minute) for minute in range(number)}
    assert {entry["id"] for entry in entries()} == expected


@pytest.mark.parametrize("totals", [True, False])
def test_report_that_cannot_be_read_whole_is_an_error(api: ClockifyApi, totals: bool) -> None:
    """More of one second than a page holds, and the page is ignored."""
    api.report_is_one_page, api.report_totals, api.report_page = True, totals, 200
    person = api.add_user("Ada Lindqvist")
    for _ in range(250):
        add(api, person)
    with pytest.raises(ClockifyError, match="each of its pages is the same"):
        entries()


def test_times_without_a_zone_are_utc_as_they_were_asked_for(api: ClockifyApi) -> None:
    entry = add(api)
    interval = {"start": "2026-03-02T09:00:00", "end": "2026-03-02T09:30:00"}
    api.rows[entry] = {"timeInterval": interval}
    decision = mapping.decide(None, entries()[0])
    assert isinstance(decision, mapping.Upsert)
    assert decision.event["StartDateTime"] == "2026-03-02T09:00:00Z"


@pytest.mark.parametrize("interval", [None, [], {}, {"start": None}, {"start": 7}])
def test_row_without_times_is_an_entry_that_cannot_be_read(api: ClockifyApi, interval: Any) -> None:
    entry = add(api)
    api.rows[entry] = {"timeInterval": interval}
    found = entries()
    assert [each["id"] for each in found] == [entry]
    with pytest.raises(BadMessage):
        mapping.decide(None, found[0])


CUSTOM: dict[str, Any] = {
    "custom": (("Order", "SO-1"), ("Skills", ["A", "B"])),
    "tags": ("on site",),
}


@pytest.mark.parametrize("tells", [{"type", "customFields"}, {"type"}, {"customFields"}, set()])
def test_what_a_row_does_not_tell_is_asked_for(api: ClockifyApi, tells: set[str]) -> None:
    api.report_tells = frozenset(tells)
    entry = add(api, type="BREAK", **CUSTOM)
    (found,) = entries(told=("type", "customFieldValues"))
    assert found["type"] == "BREAK"
    assert [each["value"] for each in found["customFieldValues"]] == ["SO-1", ["A", "B"]]
    assert [each["name"] for each in found["tags"]] == ["on site"]
    asked = [path for _, path in api.requests if entry in path]
    assert len(asked) == (0 if len(tells) == 2 else 1)


def test_row_alone_is_enough_where_nothing_more_is_asked(api: ClockifyApi) -> None:
    api.report_tells = frozenset()
    add(api, type="BREAK")
    assert [entry["type"] for entry in entries()] == [None]
    assert len(api.requests) == 1


def test_approved_entries_are_told_as_such_and_no_others(api: ClockifyApi) -> None:
    person = api.add_user("Ada Lindqvist")
    approved = add(api, person, approved=True)
    add(api, person)
    assert [(each["id"], each["approvalStatus"]) for each in entries(approved=True)] == [
        (approved, "APPROVED")
    ]


def test_groups_of_the_person_are_told_with_each_entry(api: ClockifyApi) -> None:
    ada, grace = api.add_user("Ada"), api.add_user("Grace")
    api.groups["Consultants"] = [ada]
    first, second = add(api, ada), add(api, grace)
    told = {each["id"]: each["groupsOfUser"] for each in entries(groups=True)}
    assert told[first][0] == "Consultants"
    assert told[second] == []
    history = History(client(), WORKSPACE, asks=Asks(groups=True))
    assert (history.now(first) or {})["groupsOfUser"][0] == "Consultants"


class Access:
    """How the function has a client of Clockify's."""

    def __call__(self, *, timeout: tuple[float, float]) -> Clockify:
        return client(timeout=timeout)


def test_message_is_told_the_groups_of_its_person_once_read(api: ClockifyApi) -> None:
    ada, grace = api.add_user("Ada"), api.add_user("Grace")
    api.groups["Consultants"] = [ada]
    groups, until = Groups(Access()), time.monotonic() + 7
    message = {"id": ENTRY, "workspaceId": WORKSPACE}
    for person, name in (({"userId": ada}, "Consultants"), ({"user": {"id": ada}}, "Consultants")):
        told = groups.told(message | person, until)
        assert isinstance(told, dict)
        assert told["groupsOfUser"][0] == name
    for nobody in ({"userId": grace}, {}):
        assert groups.told(message | nobody, until) == message | nobody | {"groupsOfUser": []}
    assert groups.told([7], until) == [7]
    assert groups.told({"id": ENTRY}, until) == {"id": ENTRY}
    assert len(api.requests) == 1


def test_groups_that_cannot_be_read_are_an_error(api: ClockifyApi) -> None:
    api.faults.broken = 1
    groups, message = Groups(Access()), {"id": ENTRY, "workspaceId": WORKSPACE}
    with pytest.raises(ClockifyError, match="groups of workspace 64a687e29ae1f428e7ebe303"):
        groups.told(message, time.monotonic() + 7)
    with pytest.raises(ClockifyError):
        groups.told(message, time.monotonic() + 7)
    assert len(api.requests) == 1  # for a minute none is tried
    for number in range(WORKSPACES - 1):
        with pytest.raises(ClockifyError):
            groups.told(message | {"workspaceId": f"{number:024x}"}, time.monotonic())
    with pytest.raises(ClockifyError, match="and of no more"):
        groups.told(message | {"workspaceId": "f" * 24}, time.monotonic() + 7)


def test_entry_of_another_workspace_is_not_gone_unless_it_is_known_to_be_ours(
    api: ClockifyApi,
) -> None:
    other = "64a687e29ae1f428e7ebe3ff"
    api.workspaces.append(other)
    entry = {"id": ENTRY, "workspaceId": other, "user": {"name": "Ada"}}

    def there() -> Json | None:
        return History(client(), WORKSPACE).now(ENTRY)

    assert there() is None
    api.canned["GET", f"/workspaces/{other}/time-entries/{ENTRY}"] = (200, entry, {})
    assert there() == entry
    assert History(client(), WORKSPACE).now(ENTRY, is_ours=True) is None
    api.canned["GET", f"/workspaces/{other}/time-entries/{ENTRY}"] = (403, None, {})
    with pytest.raises(ClockifyError):
        there()


def test_person_of_a_single_entry_is_told(api: ClockifyApi) -> None:
    person = api.add_user("Ada Lindqvist")
    entry = add(api, person)
    found = History(client(), WORKSPACE).now(entry)
    assert found is not None
    assert (found["user"]["name"], found["user"]["email"]) == ("Ada Lindqvist", "ada@acme.example")


def test_row_and_message_of_an_entry_give_the_same_event(api: ClockifyApi) -> None:
    project = api.add_project("Website relaunch", api.add_client("Northwind GmbH"))
    entry = add(api, project=project, task="Review", description="Work", **CUSTOM)
    by_row = mapping.decide(None, entries()[0])
    by_message = mapping.decide(None, api.webhook_body(api.entries[entry]))
    assert isinstance(by_row, mapping.Upsert)
    assert isinstance(by_message, mapping.Upsert)
    assert (by_row.event, by_row.on_create) == (by_message.event, by_message.on_create)


@pytest.mark.parametrize(
    ("rules", "matching", "other"),
    [
        ('project = ["Website*"]', {}, {"project": None}),
        ('client = "northwind gmbh"', {}, {"project": None}),
        ('task = "Review"', {}, {"task": "Drafting"}),
        ('tag = "on site"', {}, {"tags": ("night",)}),
        ('person = "Ada*"', {}, {"user": "Grace Hopper"}),
        ('group = "Consultants"', {}, {"user": "Grace Hopper"}),
        ('type = "REGULAR"', {}, {"type": "BREAK"}),
        ("billable = true", {}, {"billable": False}),
        ('description = "*#SF*"', {}, {"description": "private"}),
        ('custom.Order = "SO-*"', {}, {"custom": ()}),
        ("at_least_minutes = 30", {}, {"minutes": 29}),
        ("approved = true", {}, {"approved": False}),
    ],
)
@pytest.mark.parametrize("tells", [{"type", "customFields"}, set()])
def test_filter_says_the_same_of_message_row_single_entry_and_queue(
    api: ClockifyApi, tells: set[str], rules: str, matching: Any, other: Any
) -> None:
    """An entry that is edited to match and not to, as each way of reading it has it."""
    api.report_tells = frozenset(tells)
    people = {name: api.add_user(name) for name in ("Ada Lindqvist", "Grace Hopper")}
    api.groups["Consultants"] = [people["Ada Lindqvist"]]
    project = api.add_project("Website relaunch", api.add_client("Northwind GmbH"))
    usual = {"project": project, "task": "Review", "billable": True, "approved": True}
    usual |= {"tags": ("on site", "night"), "description": "Call #SF", "type": "REGULAR"}
    usual |= {"custom": (("Order", "SO-1"),), "user": "Ada Lindqvist", "minutes": 30}
    entry = add(api, people["Ada Lindqvist"])
    read = read_rules(f'[only]\n{rules}\n[fields]\nOrder__c = "{{custom.Order}}"')
    kinds = []
    for change in (matching, other, matching):
        now = usual | change
        end = api.entries[entry].start + timedelta(minutes=now.pop("minutes"))
        event_type, body = api.edit(entry, **now | {"user": people[now["user"]], "end": end})
        history = History(client(), WORKSPACE, asks=Asks.of(read))
        body["groupsOfUser"] = client().user_groups(WORKSPACE).get(body["userId"], [])
        by_message = mapping.decide(event_type, body, rules=read)
        by_queue = mapping.decide(event_type, mapping.essential(body, rules=read), rules=read)
        rows = [each for window in history.windows(SINCE, UNTIL) for each in window.entries]
        by_row = [mapping.decide(None, row, rules=read) for row in rows]
        single = mapping.decide(None, history.now(entry), rules=read)
        kinds.append(type(by_message))
        assert by_queue == by_message
        assert fields(single) == fields(by_message)
        assert [fields(each) for each in by_row] in ([fields(by_message)], [])
        assert by_row or isinstance(by_message, mapping.Withdraw)
    assert kinds == [mapping.Upsert, mapping.Withdraw, mapping.Upsert]


def fields(decision: mapping.Decision) -> Any:
    """What an Event gets, without the address, which a message does not tell."""
    return decision.event if isinstance(decision, mapping.Upsert) else decision
