"""What the Salesforce stand-in answers, with where each answer is known from."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest
from org_api import BASE, HALTED, Api, Json, composite, outcome

from sandbox.internet import Answer
from sandbox.salesforce import USERNAME, Flow

STATE = BASE + "sobjects/Clockify_State__c/Key__c/time_entry:1"
EVENT = BASE + "sobjects/Event/Clockify_Time_Entry_Id__c/1"
HOUR = {"StartDateTime": "2026-11-02T08:30:00Z", "EndDateTime": "2026-11-02T09:30:00Z"}
ONE_HOUR = {"Subject": "Clockify", **HOUR}
CONFLICT = ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Clockify: another write was faster.")


def state(version: object, based_on: object, text: object = "{}", url: str = STATE) -> Json:
    body = {"Version__c": version, "Based_On__c": based_on, "State__c": text}
    return {"method": "PATCH", "url": url, "body": body}


def event(**fields: object) -> Json:
    return {"method": "PATCH", "url": EVENT, "body": ONE_HOUR | fields}


GONE = {"method": "DELETE", "url": EVENT}


@pytest.fixture
def api() -> Api:
    """An org as new."""
    return Api()


# --- Clockify_State__c: force-app's rule, a compare-and-set ---------------------------------------


def test_first_write_of_a_state_based_on_nothing_is_taken(api: Api) -> None:
    assert [status for status, _ in api.composite(state(1, 0), event())] == [201, 201]
    kept = api.org.state("time_entry:1")
    assert kept is not None
    # Salesforce numbers the record; the integration user owns what it makes.
    assert (kept["Name"].isdigit(), kept["OwnerId"]) == (True, api.org.USER_ID)
    # A custom number is a double, whatever its scale.
    assert json.dumps(kept["Version__c"]) == "1.0"


@pytest.mark.parametrize("based_on", [1, 2, 4, -1, None])
def test_write_based_on_another_version_is_refused_and_changes_nothing(
    api: Api, based_on: object
) -> None:
    for version in (1, 2, 3):
        assert api.composite(state(version, version - 1))[0][0] in (200, 201)
    before = api.org.state("time_entry:1")
    ((status, (error,)), halted) = api.composite(state(4, based_on), event())
    if based_on is None:
        assert (status, error["errorCode"]) == (400, "REQUIRED_FIELD_MISSING")
    else:
        assert (status, (error["errorCode"], error["message"])) == (400, CONFLICT)
        assert error["fields"] == ["Based_On__c"]
    assert halted == (400, [HALTED])
    assert (api.org.state("time_entry:1"), api.org.events()) == (before, [])


def test_new_record_based_on_a_version_is_refused(api: Api) -> None:
    # So is what an instance remembers of a state that has been cleaned up.
    ((status, (error,)),) = api.composite(state(8, 7))
    assert (status, (error["errorCode"], error["message"])) == (400, CONFLICT)


@pytest.mark.parametrize("field", ["Key__c", "Version__c", "Based_On__c"])
def test_blank_in_a_required_field_is_refused(api: Api, field: str) -> None:
    body = {"Key__c": "k", "Version__c": 1, "Based_On__c": 0} | {field: None}
    found = api.error("POST", "sobjects/Clockify_State__c", body)
    message = f"Required fields are missing: [{field}]"
    assert found == (400, "REQUIRED_FIELD_MISSING", message, [field])


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"State__c": "x" * 32_768}, ""),
        ({"State__c": "x" * 32_769}, "STRING_TOO_LONG"),
        ({"Version__c": "1"}, "JSON_PARSER_ERROR"),
        ({"Version__c": 10**18}, "NUMBER_OUTSIDE_VALID_RANGE"),
        ({"Newer__c": 1}, "INVALID_FIELD"),
        ({"SystemModstamp": "2026-11-02T08:30:00Z"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        ({"Name": "7"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
    ],
)
def test_value_that_does_not_fit_its_field_is_refused(api: Api, values: Json, code: str) -> None:
    part = state(1, 0)
    part["body"] |= values
    ((status, answer),) = api.composite(part)
    assert (status, "" if status == 201 else answer[0]["errorCode"]) == (400 if code else 201, code)


def test_keys_that_differ_in_case_are_two(api: Api) -> None:
    urls = [STATE, STATE.replace("time_entry", "Time_Entry")]
    assert [api.composite(state(1, 0, url=url))[0][0] for url in urls] == [201, 201]
    assert len(api.query("SELECT Id FROM Clockify_State__c WHERE Key__c = 'time_entry:1'")) == 1


@pytest.mark.parametrize("missing", ["Clockify_State__c", "Clockify_State__c.State__c"])
def test_object_or_field_that_is_not_deployed_is_unknown(api: Api, missing: str) -> None:
    api.org.hidden.add(missing)
    ((status, (error,)),) = api.composite(state(1, 0))
    whole = missing.endswith("State__c") and "." not in missing
    assert (status, error["errorCode"]) == ((404, "NOT_FOUND") if whole else (400, "INVALID_FIELD"))
    found = api.error("GET", "query?q=SELECT+State__c+FROM+Clockify_State__c")
    assert found[:2] == (400, "INVALID_TYPE" if whole else "INVALID_FIELD")


def test_object_is_the_integration_users_by_its_permission_set_only(api: Api) -> None:
    api.org.assign()
    assert api.error("GET", STATE)[:2] == (404, "NOT_FOUND")


# --- Composite ------------------------------------------------------------------------------------


def test_part_that_fails_rolls_back_those_before_and_those_behind(api: Api) -> None:
    # https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_subrequest_result.htm
    results = api.composite(state(1, 0), event(Subject="x" * 300), state(1, 0, url=STATE + "0"))
    assert [status for status, _ in results] == [400, 400, 400]
    assert [body[0]["errorCode"] for _, body in results] == [
        "PROCESSING_HALTED",
        "STRING_TOO_LONG",
        "PROCESSING_HALTED",
    ]
    assert (api.org.records["Clockify_State__c"], api.org.records["Event"]) == ({}, {})
    assert api.query("SELECT Id FROM Clockify_State__c", "queryAll") == []
    # The key is free again.
    assert [status for status, _ in api.composite(state(1, 0), event())] == [201, 201]


def test_part_that_fails_leaves_the_others_alone_where_it_is_not_all_or_none(api: Api) -> None:
    results = api.composite(state(1, 0), GONE, event(), all_or_none=False)
    assert [status for status, _ in results] == [201, 404, 201]


def test_deleting_what_is_not_there_rolls_back(api: Api) -> None:
    (halted, (status, (error,))) = api.composite(state(1, 0), GONE)
    assert (halted, status, error["errorCode"]) == ((400, [HALTED]), 404, "NOT_FOUND")
    assert api.org.state("time_entry:1") is None


def test_update_and_deletion_that_are_rolled_back_come_back_whole(api: Api) -> None:
    api.composite(state(1, 0), event(Subject="first"))
    before = api.org.event("1")
    assert api.composite(GONE, state(9, 9))[1][0] == 400
    assert api.composite(event(Subject="second"), state(9, 9))[1][0] == 400
    assert api.org.event("1") == before
    assert [status for status, _ in api.composite(state(2, 1), GONE)] == [200, 204]
    assert api.org.event("1") is None


def test_reads_in_a_composite_see_its_writes_and_cost_no_call(api: Api) -> None:
    query = "SELECT Key__c, Version__c FROM Clockify_State__c WHERE Key__c = 'time_entry:1'"
    read = {"method": "GET", "url": f"{BASE}query?q={quote(query)}"}
    one = {"method": "GET", "url": STATE + "?fields=State__c"}
    calls = len(api.org.requests)
    results = api.composite(read, state(1, 0, '{"a": 1}'), one, {**read, "referenceId": "again"})
    assert len(api.org.requests) == calls + 1
    assert [status for status, _ in results] == [200, 201, 200, 200]
    assert (results[0][1]["records"], results[2][1]["State__c"]) == ([], '{"a": 1}')
    assert results[3][1]["records"][0]["Version__c"] == 1


def test_limit_info_counts_a_composite_once(api: Api) -> None:
    # https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_api_usage.htm
    for number in (1, 2):
        answer = asyncio.run(api.send("POST", "composite", composite(state(number, number - 1))))
        assert answer.headers == {"Sforce-Limit-Info": f"api-usage={number}/100000"}
    refused = asyncio.run(api.send("GET", "sobjects/Nothing__c/1"))
    assert (refused.status, refused.headers["Sforce-Limit-Info"]) == (404, "api-usage=3/100000")


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [{"method": "GET", "url": STATE}],
        [{"method": "GET", "url": STATE, "referenceId": "a-b"}],
        [{"method": "GET", "url": STATE, "referenceId": ""}],
        [{"method": "GET", "url": STATE, "referenceId": "a"}] * 2,
        [{"method": "GET", "url": STATE, "referenceId": f"a{n}"} for n in range(26)],
        [{"method": "GET", "url": BASE + "query?q=x", "referenceId": f"a{n}"} for n in range(6)],
    ],
    ids=["none", "nameless", "dash", "empty", "twice", "26 parts", "6 queries"],
)
def test_composite_of_a_wrong_form_is_refused_as_a_whole(api: Api, parts: list[Json]) -> None:
    status, ((error),) = api.call("POST", "composite", {"compositeRequest": parts})
    assert (status, set(error)) == (400, {"message", "errorCode", "fields"})


@pytest.mark.parametrize("all_or_none", [True, False])
def test_text_like_a_reference_stands_for_a_value_of_an_earlier_part(
    api: Api, all_or_none: bool
) -> None:
    # https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/requests_composite.htm
    parts = (state(1, 0), event(Description="see @{part0.id}, and @ {part0.id}"))
    results = api.composite(*parts, all_or_none=all_or_none)
    made = api.org.event("1")
    assert made is not None
    assert made["Description"] == f"see {results[0][1]['id']}, and @ {{part0.id}}"


@pytest.mark.parametrize("text", ["@{name}", "@{part0.nothing}", "@{}", "a @{b[0].c} d"])
def test_reference_to_nothing_is_refused_in_the_words_of_a_rollback(api: Api, text: str) -> None:
    # Seen: https://pastebin.com/WFttLHq3 and in CumulusCI's tests of its composite task.
    (halted, (status, (error,))) = api.composite(state(1, 0), event(Description=text))
    assert (halted, status) == ((400, [HALTED]), 400)
    assert error["errorCode"] == "PROCESSING_HALTED"
    assert error["message"].startswith("Invalid reference specified. No value for ")
    assert api.org.events() == []


# --- Two calls at once ----------------------------------------------------------------------------


def at_once(api: Api, *requests: tuple[str, str, object]) -> list[tuple[int, Any]]:
    """The answers to requests that overlap, each a composite's parts or itself."""
    api.org.latency = 0.001

    async def run() -> list[Answer]:
        return await asyncio.gather(*(api.send(*request) for request in requests))

    answers = [(answer.status, answer.body) for answer in asyncio.run(run())]
    api.org.latency = 0.0
    return answers


def test_two_first_writes_at_once_make_one_record_and_one_duplicate(api: Api) -> None:
    # Upsert is not atomic: https://help.salesforce.com/s/articleView?id=000383480
    first, second = at_once(
        api,
        ("POST", "composite", composite(state(1, 0, "first"), event(Subject="first"))),
        ("POST", "composite", composite(state(1, 0, "second"), event(Subject="second"))),
    )
    assert [status for status, _ in outcome(first[1])] == [201, 201]
    ((status, (error,)), halted) = outcome(second[1])
    assert (status, error["errorCode"], error["fields"]) == (400, "DUPLICATE_VALUE", ["Key__c"])
    assert error["message"].startswith("duplicate value found: Key__c duplicates value on record")
    assert halted == (400, [HALTED])
    assert [each["Subject"] for each in api.org.events()] == ["first"]


def test_two_writes_at_once_are_checked_one_after_the_other(api: Api) -> None:
    api.composite(state(1, 0), event())
    answers = at_once(
        api,
        ("POST", "composite", composite(state(2, 1), event(Subject="first"))),
        ("POST", "composite", composite(state(2, 1), GONE)),
        ("POST", "composite", composite(state(3, 2), event(Subject="third"))),
    )
    assert [[status for status, _ in outcome(body)] for _, body in answers] == [
        [200, 200],
        [400, 400],
        [200, 200],
    ]
    assert [each["Subject"] for each in api.org.events()] == ["third"]


def test_two_upserts_at_once_make_one_event_and_one_duplicate(api: Api) -> None:
    first, second = at_once(api, ("PATCH", EVENT, ONE_HOUR), ("PATCH", EVENT, ONE_HOUR))
    assert (first[0], second[0]) == (201, 400)
    assert second[1][0]["errorCode"] == "DUPLICATE_VALUE"


def test_deletion_that_another_one_overtook_finds_it_deleted(api: Api) -> None:
    api.call("PATCH", EVENT, ONE_HOUR)
    answers = at_once(api, ("DELETE", EVENT, None), ("DELETE", EVENT, None))
    assert [status for status, _ in answers] == [204, 404]
    assert answers[1][1][0]["errorCode"] == "ENTITY_IS_DELETED"


def test_message_while_a_batch_is_on_its_way_makes_its_record_a_duplicate(api: Api) -> None:
    record = {"attributes": {"type": "Event"}, "Clockify_Time_Entry_Id__c": "1", **ONE_HOUR}
    batch = {"allOrNone": False, "records": [record, record | {"Clockify_Time_Entry_Id__c": "2"}]}
    message, written = at_once(
        api,
        ("PATCH", EVENT, ONE_HOUR),
        ("PATCH", "composite/sobjects/Event/Clockify_Time_Entry_Id__c", batch),
    )
    assert message[0] == 201
    assert [result["success"] for result in written[1]] == [False, True]
    assert written[1][0]["errors"][0]["statusCode"] == "DUPLICATE_VALUE"


def test_row_that_is_locked_rolls_back_until_it_is_free(api: Api) -> None:
    api.org.faults.lock = 1
    ((status, (error,)), halted) = api.composite(state(1, 0), event())
    assert (status, error["errorCode"], halted) == (400, "UNABLE_TO_LOCK_ROW", (400, [HALTED]))
    api.org.faults.clear()
    assert [status for status, _ in api.composite(state(1, 0), event())] == [201, 201]


# --- Queries --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("soql", "code", "message"),
    [
        (
            "SELECT Key__c FROM Clockify_State__c WHERE State__c = 'x'",
            "INVALID_FIELD",
            "field 'State__c' can not be filtered in a query call",
        ),
        (
            "SELECT Id FROM Event WHERE Subject = 'x' AND Description LIKE '%x%'",
            "INVALID_FIELD",
            "field 'Description' can not be filtered in a query call",
        ),
        (
            "SELECT Key__c FROM Clockify_State__c ORDER BY State__c",
            "MALFORMED_QUERY",
            "field 'State__c' can not be sorted in a query call",
        ),
    ],
)
def test_long_text_is_neither_filtered_nor_sorted(
    api: Api, soql: str, code: str, message: str
) -> None:
    # https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_fieldexpression.htm
    assert api.error("GET", f"query?q={quote(soql)}")[:3] == (400, code, message)


def test_long_text_is_read(api: Api) -> None:
    api.composite(state(1, 0, '{"a": 1}'))
    rows = api.query("SELECT State__c FROM Clockify_State__c WHERE Key__c IN ('time_entry:1')")
    assert rows == [{"State__c": '{"a": 1}'}]


def test_states_are_found_by_when_they_changed(api: Api) -> None:
    for minute in range(4):
        api.composite(state(1, 0, url=STATE + str(minute)))
        api.wait(60)
    api.composite(state(2, 1, url=STATE + "0"))
    select = "SELECT Key__c FROM Clockify_State__c WHERE SystemModstamp"

    def keys(condition: str) -> list[str]:
        return [row["Key__c"][-1] for row in api.query(f"{select} {condition}")]

    assert keys(f">= {api.ago(60)}") == ["3", "0"]
    assert keys(f"> {api.ago(60)}") == ["0"]
    assert keys(f"< {api.ago(60)}") == ["1", "2"]
    assert keys(f"<= {api.ago(60)} AND Version__c = 1") == ["1", "2", "3"]
    assert sorted(keys(f"!= {api.ago(60)}")) == ["0", "1", "2"]


def test_state_is_stamped_when_its_write_began_not_when_it_was_seen(api: Api) -> None:
    api.org.latency = 0.001

    async def write_while_the_clock_goes_on() -> None:
        writing = asyncio.create_task(api.send("POST", "composite", composite(state(1, 0))))
        await asyncio.sleep(0)
        api.wait(60)
        await writing

    asyncio.run(write_while_the_clock_goes_on())
    select = "SELECT Key__c FROM Clockify_State__c WHERE SystemModstamp"
    assert api.query(f"{select} > {api.ago(60)}") == []
    assert api.query(f"{select} = {api.ago(60)}") == [{"Key__c": "time_entry:1"}]


def test_states_untouched_for_long_are_deleted_200_in_a_call(api: Api) -> None:
    def make(first: int, last: int) -> None:
        records = [
            {"Key__c": f"time_entry:{number}", "Version__c": 1, "Based_On__c": 0}
            for number in range(first, last)
        ]
        body = {"records": records, "allOrNone": False}
        status, results = api.call("PATCH", "composite/sobjects/Clockify_State__c/Key__c", body)
        assert (status, {each["success"] for each in results}) == (200, {True})

    make(0, 200)
    api.wait(31 * 86_400)
    make(200, 250)
    rows = api.query(
        f"SELECT Id FROM Clockify_State__c WHERE SystemModstamp < {api.ago(30 * 86_400)}"
    )
    ids = [row["Id"] for row in rows]
    status, results = api.call("DELETE", f"composite/sobjects?ids={','.join(ids)}&allOrNone=false")
    assert (status, len(results), {each["success"] for each in results}) == (200, 200, {True})
    assert len(api.query("SELECT Id FROM Clockify_State__c")) == 50
    # Once more is an error of each record's own.
    _, results = api.call("DELETE", f"composite/sobjects?ids={ids[0]}")
    assert results[0]["errors"][0]["statusCode"] == "ENTITY_IS_DELETED"
    too_many = ",".join([*ids, ids[0]])
    found = api.error("DELETE", f"composite/sobjects?ids={too_many}")
    assert found[:2] == (400, "EXCEEDED_ID_LIMIT")


@pytest.mark.parametrize("keeps", [False, True])
def test_recycle_bin_may_hold_on_to_a_key(api: Api, keeps: bool) -> None:
    # Whether it does is nowhere said.
    api.org.bin_keeps_unique = keeps
    api.composite(state(1, 0))
    assert api.call("DELETE", STATE)[0] == 204
    ((status, answer),) = api.composite(state(1, 0))
    assert status == (400 if keeps else 201)
    assert not keeps or answer[0]["errorCode"] == "DUPLICATE_VALUE"


@pytest.mark.parametrize("all_or_none", [False, True])
def test_batch_keeps_what_is_well_unless_it_is_all_or_none(api: Api, all_or_none: bool) -> None:
    # https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_composite_sobjects_collections_create.htm
    records = [
        {"attributes": {"type": "Event"}, **HOUR},
        {"attributes": {"type": "Event"}, **HOUR, "Subject": "x" * 256},
    ]
    _, results = api.call(
        "POST", "composite/sobjects", {"records": records, "allOrNone": all_or_none}
    )
    codes = [error["statusCode"] for each in results for error in each["errors"]]
    rolled_back = ["ALL_OR_NONE_OPERATION_ROLLED_BACK"] if all_or_none else []
    assert codes == [*rolled_back, "STRING_TOO_LONG"]
    assert len(api.org.events()) == (0 if all_or_none else 1)


# --- Events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [{}, {"IsReminderSet": False}, {"IsReminderSet": True}])
def test_reminder_is_set_unless_told_not_to(api: Api, sent: Json) -> None:
    # "Defaulted on create" in the Event object's reference.
    api.call("PATCH", EVENT, ONE_HOUR | sent)
    made = api.org.event("1")
    assert made is not None
    assert made["IsReminderSet"] is sent.get("IsReminderSet", True)


@pytest.mark.parametrize("refuses", [False, True])
def test_event_of_a_deactivated_owner_may_refuse_every_update(api: Api, refuses: bool) -> None:
    # Who lacks "Update Records with Inactive Owners" is refused, with objects that behave so.
    owner = api.org.add("User", Name="Ada", Email="ada@acme.example")
    api.call("PATCH", EVENT, ONE_HOUR | {"OwnerId": owner})
    api.org.change("User", owner, IsActive=False)
    api.org.inactive_owner_refuses = refuses
    status, answer = api.call("PATCH", EVENT, ONE_HOUR | {"Subject": "new"})
    if refuses:
        assert (status, answer[0]["errorCode"]) == (400, "INACTIVE_OWNER_OR_USER")
        assert answer[0]["message"] == (
            f"operation performed with inactive user [{owner[:15]}] as owner of event"
        )
    else:
        assert status == 200
    # With an active owner it goes through either way, and this owner is refused by name.
    assert api.call("PATCH", EVENT, ONE_HOUR | {"OwnerId": api.org.USER_ID})[0] == 200
    assert api.error("PATCH", EVENT, {"OwnerId": owner})[3] == ["OwnerId"]


# --- Flows of the customer's ----------------------------------------------------------------------


@pytest.mark.parametrize("field", ["WhatId", "OwnerId", "WhoId"])
def test_flow_changes_what_was_written_in_the_same_transaction(api: Api, field: str) -> None:
    chosen = {
        "WhatId": api.org.add("Opportunity", Name="Renewal"),
        "OwnerId": api.org.add("User", Name="Ada"),
        "WhoId": api.org.add("Contact", Name="Bo"),
    }
    api.org.flows = [Flow(sets={field: chosen[field]})]
    reminder = {"IsReminderSet": False}
    assert [status for status, _ in api.composite(state(1, 0), event(**reminder))] == [201, 201]
    made = api.org.event("1")
    assert made is not None
    assert (made[field], made["IsReminderSet"]) == (chosen[field], False)
    # It ran as the user whose write it followed.
    assert made["LastModifiedById"] == api.org.USER_ID
    # And again after each update.
    api.composite(state(2, 1), event(**{field: None if field != "OwnerId" else api.org.USER_ID}))
    changed = api.org.event("1")
    assert changed is not None
    assert changed[field] == chosen[field]


def test_flow_leaves_alone_what_a_person_writes(api: Api) -> None:
    what = api.org.add("Opportunity", Name="Renewal")
    api.org.flows = [Flow(sets={"WhatId": what})]
    record = api.org.add("Event", **ONE_HOUR)
    assert api.org.records["Event"][record].get("WhatId") is None


def test_flow_whose_own_change_is_refused_rolls_back(api: Api) -> None:
    api.org.flows = [Flow(sets={"WhatId": "006Kj00000A1b2cIAB"})]
    (halted, (status, (error,))) = api.composite(state(1, 0), event())
    assert (halted, status) == ((400, [HALTED]), 400)
    assert error["errorCode"] == "INVALID_CROSS_REFERENCE_KEY"
    assert (api.org.events(), api.org.state("time_entry:1")) == ([], None)


@pytest.mark.parametrize(
    "code", ["CANNOT_EXECUTE_FLOW_TRIGGER", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"]
)
def test_flow_that_refuses_rolls_back_and_quotes_the_record(api: Api, code: Any) -> None:
    api.org.flows = [Flow(refuses=code, name="Set_Region")]
    secret = {"Subject": "Board", "Description": "between us"}
    (halted, (status, (error,))) = api.composite(state(1, 0), event(**secret))
    assert (halted, status, error["errorCode"]) == ((400, [HALTED]), 400, code)
    assert error["fields"] == []
    for part in ("Set_Region", "FIELD_CUSTOM_VALIDATION_EXCEPTION", "Board", "between us"):
        assert part in error["message"]
    assert (api.org.events(), api.org.state("time_entry:1")) == ([], None)


def test_flow_can_be_switched_on_as_a_fault(api: Api) -> None:
    api.org.faults.flow = 1
    assert api.error("PATCH", EVENT, ONE_HOUR)[:2] == (400, "CANNOT_EXECUTE_FLOW_TRIGGER")
    assert api.org.events() == []


def test_lock_that_a_trigger_met_is_hidden_in_its_message(api: Api) -> None:
    api.org.flows = [
        Flow(
            refuses="CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
            name="EventTrigger",
            error="UNABLE_TO_LOCK_ROW",
            says="unable to obtain exclusive access to this record",
        )
    ]
    message = api.error("PATCH", EVENT, ONE_HOUR)[2]
    assert message.startswith("EventTrigger: execution of AfterInsert")
    assert "UNABLE_TO_LOCK_ROW, unable to obtain" in message


def test_integration_user_is_the_one_who_signs_in(api: Api) -> None:
    (user,) = api.query("SELECT Id, Username, IsActive FROM User")
    assert user == {"Id": api.org.USER_ID, "Username": USERNAME, "IsActive": True}
