"""Clients, projects, tasks and invoices in the Salesforce stand-in, and what differs by org."""

import asyncio
import io
import json
import zipfile
from typing import Any
from urllib.parse import quote

import pytest
from org_api import BASE, HALTED, Api, Json, outcome

from sandbox.internet import Request
from sandbox.salesforce import ADMIN_ID, HOST, Flow
from sandbox.salesforce.metadata import FORCE_APP
from sandbox.salesforce_setup import TOKEN, SalesforceSetup

PROJECT = "sobjects/Clockify_Project__c/Clockify_Project_Id__c/"
INVOICE = "sobjects/Clockify_Invoice__c/Clockify_Invoice_Id__c/"
LINE = "sobjects/Clockify_Invoice_Line__c/Key__c/"
TASK = "sobjects/Task/Clockify_Task_Id__c/"
ACCOUNT = "sobjects/Account/Clockify_Client_Id__c/"
STATE = "sobjects/Clockify_State__c/Key__c/"
RESTRICTED = "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
NOWHERE = "001Kj0000000000AAA"


@pytest.fixture
def api() -> Api:
    """An org in which main/data is deployed, and the integration user may use it."""
    api = Api()
    api.org.deploy()
    return api


@pytest.fixture
def bare() -> Api:
    """An org that takes Events only."""
    return Api()


def part(path: str, body: Json | None = None, method: str = "PATCH", **more: Any) -> Json:
    content = {} if body is None else {"body": body}
    return {"method": method, "url": BASE + path, **content, **more}


def state(key: str, version: int = 1, based_on: int = 0) -> Json:
    body = {"Version__c": version, "Based_On__c": based_on, "State__c": "{}"}
    return part(STATE + key, body)


def kept(api: Api, path: str) -> Json:
    """What is stored under an external id."""
    _, name, external, value = path.split("/")
    found = api.org.held(name, external, value)
    assert found is not None, path
    return found


# --- What is deployed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (PROJECT + "p", "NOT_FOUND"),
        (INVOICE + "i", "NOT_FOUND"),
        (TASK + "t", "NOT_FOUND"),
        ("query?q=" + quote("SELECT Id FROM Clockify_Project__c"), "INVALID_TYPE"),
        ("query?q=" + quote("SELECT Clockify_Task_Id__c FROM Task"), "INVALID_FIELD"),
        ("query?q=" + quote("SELECT Clockify_Hours__c FROM Account"), "INVALID_FIELD"),
    ],
)
def test_org_without_the_data_package_knows_nothing_of_it(bare: Api, path: str, code: str) -> None:
    assert bare.error("GET", path)[1] == code


def test_package_that_is_withdrawn_takes_its_records_along(api: Api) -> None:
    api.call("PATCH", PROJECT + "p", {"Name": "Relaunch"})
    api.org.withdraw()
    assert api.error("GET", PROJECT + "p")[:2] == (404, "NOT_FOUND")
    api.org.deploy()
    assert api.org.live("Clockify_Project__c") == []
    api.org.reset()
    assert "Clockify_Project__c" not in api.org.fields


def test_package_whose_permission_set_nobody_has_is_hidden(bare: Api) -> None:
    bare.org.deploy(FORCE_APP / "data", assign=())
    assert bare.error("PATCH", PROJECT + "p", {"Name": "x"})[:2] == (404, "NOT_FOUND")
    bare.org.assign("Clockify_Integration", "Clockify_Data")
    assert bare.call("PATCH", PROJECT + "p", {"Name": "x"})[0] == 201


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "sobjects/Account", {"Name": "A"}, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"),
        ("POST", "sobjects/Task", {"Subject": "t"}, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"),
        ("PATCH", ACCOUNT + "c", {"Phone": "1"}, "INSUFFICIENT_ACCESS_OR_READONLY"),
        ("DELETE", ACCOUNT + "c", None, "INSUFFICIENT_ACCESS_OR_READONLY"),
    ],
)
def test_integration_user_needs_the_right(
    bare: Api, method: str, path: str, body: Json | None, code: str
) -> None:
    bare.org.add("Account", Name="Northwind", Clockify_Client_Id__c="c")
    bare.org.is_strict = True
    assert bare.error(method, path, body)[:2] == (400, code)


def test_field_that_is_open_for_reading_is_not_written(bare: Api) -> None:
    bare.org.deploy(assign=())
    bare.org.assign("Clockify_Integration")
    bare.org.is_strict = True
    opportunity = bare.org.add("Opportunity", Name="O")
    found = bare.error("PATCH", f"sobjects/Opportunity/{opportunity}", {"Name": "x"})
    assert found[1] == "INSUFFICIENT_ACCESS_OR_READONLY"
    told = bare.call("GET", "sobjects/Account/describe")[1]
    assert (told["createable"], told["updateable"], told["deletable"]) == (False, False, False)


# --- Records --------------------------------------------------------------------------------------


def test_record_is_made_changed_and_found(api: Api) -> None:
    assert api.call("PATCH", PROJECT + "p", {"Name": "Relaunch", "Billable__c": True})[0] == 201
    api.wait(60)
    assert api.call("PATCH", PROJECT + "p", {"Archived__c": True})[0] == 200
    (row,) = api.query(
        "SELECT Name, Billable__c, Archived__c, CreatedById, CreatedDate, LastModifiedDate"
        " FROM Clockify_Project__c"
    )
    assert (row["Name"], row["Billable__c"], row["Archived__c"]) == ("Relaunch", True, True)
    assert row["CreatedById"] == api.org.USER_ID
    assert row["CreatedDate"] < row["LastModifiedDate"]
    by_id = f"sobjects/Clockify_Project__c/{kept(api, PROJECT + 'p')['Id']}"
    assert api.call("PATCH", by_id, {"Name": "Again"})[0] == 204
    assert kept(api, PROJECT + "p")["Name"] == "Again"


@pytest.mark.parametrize(
    ("path", "values", "code"),
    [
        (PROJECT, {"Name": "x" * 81}, "STRING_TOO_LONG"),
        (PROJECT, {"Name": "x" * 80}, ""),
        (PROJECT, {"Account__c": NOWHERE}, "INVALID_CROSS_REFERENCE_KEY"),
        (PROJECT, {"Account__c": "006Kj0000000001AAA"}, "MALFORMED_ID"),
        (PROJECT, {"Account__c": "nothing"}, "MALFORMED_ID"),
        (PROJECT, {"Tracked_Hours__c": 9_999_999_999_999_999}, ""),
        (PROJECT, {"Tracked_Hours__c": 10**16}, "NUMBER_OUTSIDE_VALID_RANGE"),
        (PROJECT, {"Tracked_Hours__c": "1"}, "JSON_PARSER_ERROR"),
        (PROJECT, {"Billable__c": "yes"}, "JSON_PARSER_ERROR"),
        (PROJECT, {"CurrencyIsoCode": "EUR"}, "INVALID_FIELD"),
        (INVOICE, {"Issued__c": "2026-11-03"}, ""),
        (INVOICE, {"Issued__c": "2026-11-03T00:00:00Z"}, "JSON_PARSER_ERROR"),
        (INVOICE, {"Issued__c": "2026-02-30"}, "JSON_PARSER_ERROR"),
        (INVOICE, {"Amount__c": 999_999_999.99}, ""),
        (LINE, {"Name": "1"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        (ACCOUNT, {"Name": "A"}, ""),
        (ACCOUNT, {}, "REQUIRED_FIELD_MISSING"),
        (ACCOUNT, {"Name": "  "}, "REQUIRED_FIELD_MISSING"),
        (ACCOUNT, {"Name": "A", "LastName": "B"}, "INVALID_FIELD"),
    ],
)
def test_value_is_taken_or_refused(api: Api, path: str, values: Json, code: str) -> None:
    status, answer = api.call("PATCH", path + "1", values)
    assert (status, "" if status == 201 else answer[0]["errorCode"]) == (400 if code else 201, code)


def test_number_keeps_all_its_decimals(api: Api) -> None:
    # https://help.salesforce.com/s/articleView?id=000387302
    api.call("PATCH", INVOICE + "i", {"Name": "1", "Amount__c": 237.631})
    assert kept(api, INVOICE + "i")["Amount__c"] == 237.631


def test_external_ids_that_differ_in_case_are_two(api: Api) -> None:
    for value in ("a", "A"):
        assert api.call("PATCH", PROJECT + value, {"Name": value})[0] == 201
    assert api.call("PATCH", PROJECT + "A", {"Name": "again"})[0] == 200
    body = {"Name": "B", "Clockify_Project_Id__c": "a"}
    assert api.error("POST", "sobjects/Clockify_Project__c", body)[1] == "DUPLICATE_VALUE"
    query = "SELECT Name FROM Clockify_Project__c WHERE Clockify_Project_Id__c = 'A'"
    assert api.query(query) == [{"Name": "again"}]


def test_record_is_related_by_an_external_id_in_the_body(api: Api) -> None:
    api.org.add("Account", Name="Northwind", Clockify_Client_Id__c="c")
    body = {"Name": "Relaunch", "Account__r": {"Clockify_Client_Id__c": "c"}}
    assert api.call("PATCH", PROJECT + "p", body)[0] == 201
    account = api.org.held("Account", "Clockify_Client_Id__c", "c")
    assert account is not None
    assert kept(api, PROJECT + "p")["Account__c"] == account["Id"]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (
            {"Clockify_Client_Id__c": "gone"},
            "Foreign key external ID: gone not found for field Clockify_Client_Id__c in entity"
            " Account",
        ),
        ({"Name": "N"}, "Name is not an External ID or indexed field for Account"),
        ({"Nothing__c": "N"}, "No such column 'Nothing__c' on sobject of type Account"),
        ({}, "Account__r: one external id of one object belongs here"),
    ],
)
def test_relation_to_nothing_is_refused(api: Api, named: Json, message: str) -> None:
    found = api.error("PATCH", PROJECT + "p", {"Name": "R", "Account__r": named})
    assert found[:3] == (400, "INVALID_FIELD", message)


def test_part_refers_to_the_record_of_an_earlier_part(api: Api) -> None:
    invoice = part(INVOICE + "i", {"Name": "1"}, referenceId="invoice")
    line = part(LINE + "i-1", {"Invoice__c": "@{invoice.id}", "Order__c": 1})
    assert [status for status, _ in api.composite(invoice, line)] == [201, 201]
    assert kept(api, LINE + "i-1")["Invoice__c"] == kept(api, INVOICE + "i")["Id"]
    assert [status for status, _ in api.composite(invoice, line)] == [200, 200]


def test_lookup_of_a_deleted_record_is_emptied(api: Api) -> None:
    account = api.org.add("Account", Name="Northwind")
    api.call("PATCH", PROJECT + "p", {"Name": "Relaunch", "Account__c": account})
    api.org.remove("Account", account)
    assert kept(api, PROJECT + "p")["Account__c"] is None
    found = api.error("PATCH", PROJECT + "p", {"Account__c": account})
    assert found[:2] == (404, "ENTITY_IS_DELETED")


# --- SOQL -----------------------------------------------------------------------------------------


@pytest.fixture
def many(api: Api) -> Api:
    """Three accounts, two of them with a client's id, and what hangs on them."""
    org = api.org
    for name, client in (("Northwind GmbH", "c1"), ("north%wind", "c2"), ("Harbour_Foods", None)):
        org.add("Account", Name=name, Clockify_Client_Id__c=client)
    for number, client in ((1, "c1"), (2, "c1"), (3, "c2"), (4, None)):
        account = org.held("Account", "Clockify_Client_Id__c", client) if client else None
        org.add(
            "Clockify_Project__c",
            Name=f"P{number}",
            Clockify_Project_Id__c=f"p{number}",
            Account__c=account and account["Id"],
            Tracked_Hours__c=number if number != 2 else None,
        )
    invoice = org.add(
        "Clockify_Invoice__c", Name="I1", Clockify_Invoice_Id__c="i1", Issued__c="2026-11-03"
    )
    for number in (1, 2, 3):
        org.add(
            "Clockify_Invoice_Line__c", Key__c=f"i1-{number}", Invoice__c=invoice, Order__c=number
        )
    org.add("Clockify_Invoice_Line__c", Key__c="i2-1", Order__c=1)
    return api


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("Name FROM Account WHERE Name LIKE 'NORTH%'", ["Northwind GmbH", "north%wind"]),
        (r"Name FROM Account WHERE Name LIKE 'north\%w%'", ["north%wind"]),
        (r"Name FROM Account WHERE Name LIKE '%r\_f%'", ["Harbour_Foods"]),
        ("Name FROM Account WHERE Name LIKE 'north_ind%'", ["Northwind GmbH"]),
        ("Name FROM Account WHERE Name = 'northwind gmbh'", ["Northwind GmbH"]),
        (
            "Name FROM Account WHERE Clockify_Client_Id__c LIKE '%'",
            ["Northwind GmbH", "north%wind"],
        ),
        ("Name FROM Account WHERE Clockify_Client_Id__c = null", ["Harbour_Foods"]),
        ("Name FROM Clockify_Project__c WHERE Clockify_Project_Id__c IN ('p1','p9')", ["P1"]),
        (
            "Name FROM Clockify_Project__c WHERE Account__r.Clockify_Client_Id__c = 'c1'",
            ["P1", "P2"],
        ),
        (
            "Name FROM Clockify_Project__c WHERE Account__r.Name LIKE 'north%' AND Name != 'P2'",
            ["P1", "P3"],
        ),
        (
            "Key__c FROM Clockify_Invoice_Line__c WHERE Invoice__r.Clockify_Invoice_Id__c IN"
            " ('i1') ORDER BY Order__c DESC LIMIT 2",
            ["i1-3", "i1-2"],
        ),
        ("Key__c FROM Clockify_Invoice_Line__c WHERE Invoice__c = null", ["i2-1"]),
        (
            "Name FROM Clockify_Project__c ORDER BY Tracked_Hours__c DESC",
            ["P2", "P4", "P3", "P1"],
        ),
        (
            "Name FROM Clockify_Project__c ORDER BY Tracked_Hours__c NULLS LAST",
            ["P1", "P3", "P4", "P2"],
        ),
        ("Name FROM Clockify_Invoice__c WHERE Issued__c >= 2026-11-03", ["I1"]),
        ("Name FROM Clockify_Invoice__c WHERE Issued__c < 2026-11-03", []),
    ],
)
def test_query_finds(many: Api, query: str, found: list[str]) -> None:
    rows = many.query(f"SELECT {query}")
    assert [next(iter(row.values())) for row in rows] == found


def test_query_shows_a_parents_fields(many: Api) -> None:
    rows = many.query(
        "SELECT Name, Account__r.Clockify_Client_Id__c, Account__r.Owner.Name"
        " FROM Clockify_Project__c WHERE Name IN ('P1', 'P4') ORDER BY Name"
    )
    shown = [row["Account__r"] for row in rows]
    assert shown[0]["Clockify_Client_Id__c"] == "c1"
    assert shown[0]["Owner"] is None  # made by an admin whom this org has no User of
    assert shown[1] is None


def test_query_shows_and_counts_children(many: Api) -> None:
    (row,) = many.query("SELECT Name, (SELECT Key__c FROM Lines__r) FROM Clockify_Invoice__c")
    assert [each["Key__c"] for each in row["Lines__r"]["records"]] == ["i1-1", "i1-2", "i1-3"]
    status, answer = many.call(
        "GET", "query?q=" + quote("SELECT COUNT() FROM Account WHERE Name LIKE 'n%'")
    )
    assert (status, answer) == (200, {"totalSize": 2, "done": True, "records": []})


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("Other__r.Name FROM Clockify_Project__c", "INVALID_FIELD"),
        ("Account__r.Other__c FROM Clockify_Project__c", "INVALID_FIELD"),
        ("What.Clockify_Project_Id__c FROM Task", "INVALID_FIELD"),
        ("(SELECT Id FROM Rows__r) FROM Clockify_Invoice__c", "INVALID_TYPE"),
        ("Name FROM Account WHERE Name LIKE 5", "MALFORMED_QUERY"),
        ("Name FROM Clockify_Project__c WHERE Note__c = 'x'", "INVALID_FIELD"),
    ],
)
def test_query_about_nothing_is_refused(api: Api, query: str, code: str) -> None:
    assert api.error("GET", "query?q=" + quote(f"SELECT {query}"))[:2] == (400, code)


# --- Tasks ----------------------------------------------------------------------------------------

NO_CLOSED = [{"MasterLabel": "Open", "IsDefault": True}, {"MasterLabel": "Waiting"}]
RENAMED = [
    {"MasterLabel": "Offen", "ApiName": "Not Started", "IsDefault": True},
    {"MasterLabel": "Erledigt", "ApiName": "Completed", "IsClosed": True},
]


@pytest.mark.parametrize(
    ("rows", "status", "expected"),
    [
        (None, None, ("Not Started", False)),
        (None, "Completed", ("Completed", True)),
        (None, "Deferred", ("Deferred", False)),
        (None, "Erledigt", RESTRICTED),
        (NO_CLOSED, None, ("Open", False)),
        (NO_CLOSED, "Completed", RESTRICTED),
        (RENAMED, "Completed", ("Completed", True)),
        (RENAMED, "Erledigt", RESTRICTED),
    ],
)
def test_task_is_closed_where_its_status_is(
    api: Api, rows: list[Json] | None, status: str | None, expected: object
) -> None:
    if rows:
        api.org.set_task_statuses(rows)
    sent = {"Subject": "Review"} | ({"Status": status} if status else {})
    code, answer = api.call("PATCH", TASK + "t", sent)
    if code != 201:
        assert (code, answer[0]["errorCode"], answer[0]["fields"]) == (400, expected, ["Status"])
        return
    task = kept(api, TASK + "t")
    assert (task["Status"], task["IsClosed"]) == expected


def test_task_status_takes_anything_where_it_is_unrestricted(api: Api) -> None:
    api.org.task_status_is_restricted = False
    assert api.call("PATCH", TASK + "t", {"Status": "Whatever"})[0] == 201
    assert kept(api, TASK + "t")["IsClosed"] is False


def test_task_statuses_are_read_and_not_written(api: Api) -> None:
    rows = api.query(
        "SELECT MasterLabel, ApiName, IsClosed, IsDefault FROM TaskStatus ORDER BY SortOrder"
    )
    assert [row["ApiName"] for row in rows if row["IsClosed"]] == ["Completed"]
    assert [row["ApiName"] for row in rows if row["IsDefault"]] == ["Not Started"]
    found = api.error("POST", "sobjects/TaskStatus", {"MasterLabel": "x"})
    assert found[1] == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"


def test_task_of_somebody_who_left_is_refused(api: Api) -> None:
    owner = api.org.add("User", Name="Ada")
    assert api.call("PATCH", TASK + "t", {"OwnerId": owner})[0] == 201
    api.org.change("User", owner, IsActive=False)
    status, code, message, fields = api.error("PATCH", TASK + "t", {"OwnerId": owner})
    assert (status, code, fields) == (400, "INACTIVE_OWNER_OR_USER", ["OwnerId"])
    assert message.endswith("as owner of task")
    assert api.call("PATCH", TASK + "t", {"Subject": "x"})[0] == 200
    api.org.inactive_owner_refuses = True
    assert api.error("PATCH", TASK + "t", {"Subject": "x"})[1] == "INACTIVE_OWNER_OR_USER"


@pytest.mark.parametrize(
    ("name", "is_taken"),
    [
        ("Clockify_Project__c", True),
        ("Account", True),
        ("Opportunity", True),
        ("Machine__c", True),
        ("Note__c", False),
        ("Clockify_Invoice_Line__c", False),
        ("Clockify_State__c", False),
        ("Contact", False),
    ],
)
@pytest.mark.parametrize("activity", ["Task", "Event"])
def test_activity_is_related_to_an_object_with_activities(
    api: Api, name: str, is_taken: bool, activity: str
) -> None:
    required: dict[str, Json] = {
        "Clockify_Project__c": {"Clockify_Project_Id__c": "p"},
        "Clockify_Invoice_Line__c": {"Key__c": "k"},
        "Clockify_State__c": {"Key__c": "k", "Version__c": 1, "Based_On__c": 0},
    }
    target = api.org.add(name, **required.get(name, {}))
    values: Json = {"WhatId": target}
    if activity == "Event":
        values |= {
            "StartDateTime": "2026-11-02T08:30:00Z",
            "EndDateTime": "2026-11-02T09:30:00Z",
        }
    status, answer = api.call("POST", f"sobjects/{activity}", values)
    assert status == (201 if is_taken else 400)
    if not is_taken:
        assert answer[0]["errorCode"] == "INVALID_CROSS_REFERENCE_KEY"
    told = api.call("GET", f"sobjects/{name}/describe")[1]
    children = {(each["childSObject"], each["field"]) for each in told["childRelationships"]}
    assert ((activity, "WhatId") in children) is is_taken


# --- Org variations -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "expected"),
    [({}, "EUR"), ({"CurrencyIsoCode": "USD"}, "USD"), ({"CurrencyIsoCode": "XXX"}, RESTRICTED)],
)
@pytest.mark.parametrize("path", [ACCOUNT, PROJECT, INVOICE, TASK])
def test_multicurrency_org_has_a_currency_on_every_record(
    api: Api, path: str, sent: Json, expected: str
) -> None:
    api.org.use_currencies("EUR", "USD")
    name = {} if path == TASK else {"Name": "N"}
    status, answer = api.call("PATCH", path + "1", name | sent)
    if status == 201:
        assert kept(api, path + "1")["CurrencyIsoCode"] == expected
        told = api.call("GET", f"{'/'.join(path.split('/')[:2])}/describe")[1]
        assert "CurrencyIsoCode" in [each["name"] for each in told["fields"]]
    else:
        assert answer[0]["errorCode"] == expected


@pytest.mark.parametrize(
    ("by_default", "values", "expected"),
    [
        (False, {"Name": "N"}, "N"),
        (True, {"Name": "N"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
        (True, {"LastName": "Rossi"}, "Rossi"),
        (True, {}, "REQUIRED_FIELD_MISSING"),
        (False, {"FirstName": "Chiara", "LastName": "Rossi"}, "Chiara Rossi"),
        (False, {"Name": "N", "LastName": "Rossi"}, "INVALID_FIELD_FOR_INSERT_UPDATE"),
    ],
)
def test_person_account_has_its_name_from_the_person(
    api: Api, by_default: bool, values: Json, expected: str
) -> None:
    # https://help.salesforce.com/s/articleView?id=000386207
    api.org.use_person_accounts(by_default=by_default)
    status, answer = api.call("PATCH", ACCOUNT + "c", values)
    assert (kept(api, ACCOUNT + "c")["Name"] if status == 201 else answer[0]["errorCode"]) == (
        expected
    )


def test_person_account_of_a_person_is_renamed_by_nobody(api: Api) -> None:
    api.org.use_person_accounts()
    account = api.org.add("Account", LastName="Rossi", Clockify_Client_Id__c="c")
    status, code, message, fields = api.error("PATCH", ACCOUNT + "c", {"Name": "N"})
    assert (status, code, fields) == (400, "INVALID_FIELD_FOR_INSERT_UPDATE", ["Name"])
    assert message == "Account: bad field names on insert/update call: Name"
    assert api.call("PATCH", f"sobjects/Account/{account}", {"LastName": "B"})[0] == 204
    assert kept(api, ACCOUNT + "c")["Name"] == "B"


ALLOW = "allowSave=true; includeRecordDetails=true"


@pytest.mark.parametrize(
    ("rule", "header", "status"),
    [
        ("", "", 201),
        ("alert", "", 400),
        ("alert", "allowSave=false", 400),
        ("alert", ALLOW, 201),
        ("block", "", 400),
        ("block", ALLOW, 400),
    ],
)
@pytest.mark.parametrize("within", ["alone", "composite", "graph"])
def test_duplicate_rule_is_passed_by_choice_where_it_alerts(
    api: Api, rule: Any, header: str, status: int, within: str
) -> None:
    twin = api.org.add("Account", Name="Northwind")
    api.org.duplicate_rule = rule
    sent = {"Sforce_Duplicate_Rule_Header": header} if header else {}
    in_part = {"Sforce-Duplicate-Rule-Header": header} if header else {}
    one = part(ACCOUNT + "c", {"Name": "NORTHWIND"}, referenceId="a", httpHeaders=in_part)
    if within == "alone":
        found, answer = api.call("PATCH", ACCOUNT + "c", {"Name": "NORTHWIND"}, **sent)
    elif within == "composite":
        ((found, answer),) = api.composite(one)
    else:
        ((found, answer),) = graph(api, [one])[1]
    assert found == status
    if status == 400:
        (error,) = answer
        assert error["errorCode"] == "DUPLICATES_DETECTED"
        result = error["duplicateResult"]
        assert result["allowSave"] is (rule == "alert")
        records = result["matchResults"][0]["matchRecords"]
        assert [each["record"]["Id"] for each in records] == [twin]


def test_header_of_a_whole_composite_reaches_no_part(api: Api) -> None:
    # Subrequests inherit Accept, Authorization and Content-Type only.
    api.org.add("Account", Name="Northwind")
    api.org.duplicate_rule = "alert"
    body = {"compositeRequest": [part(ACCOUNT + "c", {"Name": "Northwind"}, referenceId="a")]}
    answer = api.call("POST", "composite", body, Sforce_Duplicate_Rule_Header="allowSave=true")[1]
    assert [status for status, _ in outcome(answer)] == [400]


@pytest.mark.parametrize("on_edit", [False, True])
def test_duplicate_rule_may_look_at_every_edit(api: Api, on_edit: bool) -> None:
    for _ in range(2):
        account = api.org.add("Account", Name="Northwind")
    api.org.duplicate_rule, api.org.duplicates_on_edit = "block", on_edit
    status, _ = api.call("PATCH", f"sobjects/Account/{account}", {"Clockify_Client_Id__c": "c"})
    assert status == (400 if on_edit else 204)


def test_required_field_of_the_orgs_own_is_missed(api: Api) -> None:
    api.org.require("Account", "Region__c")
    found = api.error("PATCH", ACCOUNT + "c", {"Name": "N"})
    message = "Required fields are missing: [Region__c]"
    assert found == (400, "REQUIRED_FIELD_MISSING", message, ["Region__c"])
    assert api.call("PATCH", ACCOUNT + "c", {"Name": "N", "Region__c": "North"})[0] == 201
    api.org.reset()
    assert "Region__c" not in api.org.fields["Account"]


def test_description_tells_relations_and_choices(api: Api) -> None:
    told = api.call("GET", "sobjects/Clockify_Project__c/describe")[1]
    fields = {each["name"]: each for each in told["fields"]}
    account = fields["Account__c"]
    assert (account["referenceTo"], account["relationshipName"]) == (["Account"], "Account__r")
    amount = fields["Amount__c"]
    assert (amount["type"], amount["precision"], amount["scale"]) == ("double", 18, 2)
    status = next(
        each
        for each in api.call("GET", "sobjects/Task/describe")[1]["fields"]
        if each["name"] == "Status"
    )
    assert "Completed" in [each["value"] for each in status["picklistValues"]]
    names = {each["name"] for each in api.call("GET", "sobjects")[1]["sobjects"]}
    assert {"Task", "Account", "Clockify_Project__c", "Clockify_Invoice_Line__c"} <= names


# --- Faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [ACCOUNT, PROJECT, INVOICE, TASK])
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("lock", "UNABLE_TO_LOCK_ROW"),
        ("rule", "FIELD_CUSTOM_VALIDATION_EXCEPTION"),
        ("flow", "CANNOT_EXECUTE_FLOW_TRIGGER"),
    ],
)
def test_fault_strikes_every_kind_of_record(api: Api, path: str, kind: str, code: str) -> None:
    setattr(api.org.faults, kind, 1)
    name = path.split("/")[1]
    api.org.faults.only = frozenset({name})
    body = {"Subject": "s"} if path == TASK else {"Name": "N"}
    (halted, (status, (error,))) = api.composite(state("k"), part(path + "1", body))
    assert (halted, status, error["errorCode"]) == ((400, [HALTED]), 400, code)
    assert api.org.live(name) == []
    api.org.faults.only = frozenset({"Opportunity"})
    assert api.call("PATCH", path + "1", body)[0] == 201


def test_flow_on_another_object_runs_on_it_alone(api: Api) -> None:
    api.org.flows = [Flow(sets={"Client__c": "Theirs"}, object="Clockify_Project__c")]
    api.call("PATCH", PROJECT + "p", {"Name": "N"})
    api.call("PATCH", INVOICE + "i", {"Name": "N", "Client__c": "Ours"})
    assert kept(api, PROJECT + "p")["Client__c"] == "Theirs"
    assert kept(api, INVOICE + "i")["Client__c"] == "Ours"


# --- Composite graph ------------------------------------------------------------------------------


def graph(api: Api, *graphs: list[Json]) -> tuple[list[bool], list[tuple[int, Any]]]:
    """Whether each graph went well, and status and body of all nodes."""
    body = {
        "graphs": [
            {"graphId": f"g{place}", "compositeRequest": parts}
            for place, parts in enumerate(graphs)
        ]
    }
    status, answer = api.call("POST", "composite/graph", body)
    assert status == 200, answer
    assert [each["graphId"] for each in answer["graphs"]] == [f"g{n}" for n in range(len(graphs))]
    nodes = [node for each in answer["graphs"] for node in outcome(each["graphResponse"])]
    return [each["isSuccessful"] for each in answer["graphs"]], nodes


def invoice_of(lines: int, *, version: int = 1) -> list[Json]:
    """An invoice with its state and its lines, which refer to it."""
    return [
        {**state("invoice:i", version, version - 1), "referenceId": "state"},
        part(INVOICE + "i", {"Name": "I"}, referenceId="invoice"),
        *(
            part(
                f"{LINE}i-{number}",
                {"Invoice__c": "@{invoice.id}", "Order__c": number},
                referenceId=f"line{number}",
            )
            for number in range(lines)
        ),
    ]


def test_graph_writes_an_invoice_of_many_lines_in_one_call(api: Api) -> None:
    calls = len(api.org.requests)
    assert graph(api, invoice_of(400)) == ([True], [(201, _any)] * 402)
    assert len(api.org.requests) == calls + 1
    assert len(api.org.live("Clockify_Invoice_Line__c")) == 400
    assert graph(api, invoice_of(400, version=2))[0] == [True]
    assert len(api.org.live("Clockify_Invoice_Line__c")) == 400


def test_graph_deletes_lines_that_are_gone(api: Api) -> None:
    graph(api, invoice_of(3))
    gone = part(LINE + "i-2", method="DELETE", referenceId="gone")
    done, nodes = graph(api, [*invoice_of(2, version=2), gone])
    assert (done, [status for status, _ in nodes]) == ([True], [200, 200, 200, 200, 204])


def test_graph_whose_node_fails_changes_nothing_and_leaves_the_others_alone(api: Api) -> None:
    bad = part(LINE + "i-9", {"Description__c": "x" * 99_999}, referenceId="bad")
    other = [part(PROJECT + "p", {"Name": "P"}, referenceId="p")]
    done, nodes = graph(api, [*invoice_of(2), bad], other)
    assert done == [False, True]
    assert [status for status, _ in nodes] == [400, 400, 400, 400, 400, 201]
    assert [body[0]["errorCode"] for _, body in nodes[:5]] == [
        *["PROCESSING_HALTED"] * 4,
        "STRING_TOO_LONG",
    ]
    assert nodes[0][1] == [HALTED]
    assert api.org.live("Clockify_Invoice__c") == api.org.live("Clockify_State__c") == []


@pytest.mark.parametrize("keeps_order", [False, True])
def test_state_is_compared_and_set_within_a_graph(api: Api, keeps_order: bool) -> None:
    api.org.graph_keeps_order = keeps_order
    graph(api, invoice_of(1))
    done, nodes = graph(api, invoice_of(2))
    assert (done, len(api.org.live("Clockify_Invoice_Line__c"))) == ([False], 1)
    codes = [body[0]["errorCode"] for _, body in nodes]
    assert codes[0] == "FIELD_CUSTOM_VALIDATION_EXCEPTION"
    assert set(codes[1:]) == {"PROCESSING_HALTED"}


@pytest.mark.parametrize("keeps_order", [False, True])
def test_node_that_does_not_refer_to_another_may_come_before_it(
    api: Api, keeps_order: bool
) -> None:
    # "My subrequests were not executed in order."
    api.org.graph_keeps_order = keeps_order
    line = {"Invoice__r": {"Clockify_Invoice_Id__c": "i"}}
    parts = [
        part(INVOICE + "i", {"Name": "I"}, referenceId="invoice"),
        part(LINE + "i-1", line, referenceId="line"),
    ]
    assert graph(api, parts)[0] == [keeps_order]


def chain(length: int) -> list[Json]:
    """Nodes of which each refers to the one before."""
    first = part(PROJECT + "p0", {"Name": "P"}, referenceId="n0")
    return [first] + [
        part(f"{PROJECT}p{n}", {"Name": f"@{{n{n - 1}.id}}"}, referenceId=f"n{n}")
        for n in range(1, length)
    ]


def named(count: int, *, start: int = 0) -> list[Json]:
    nodes = range(start, start + count)
    return [part(f"{PROJECT}p{n}", {"Name": "P"}, referenceId=f"n{n}") for n in nodes]


QUERY = part("query?q=x", method="GET", referenceId="q")
CIRCLE = [
    part(PROJECT + "a", {"Name": "@{b.id}"}, referenceId="a"),
    part(PROJECT + "b", {"Name": "@{a.id}"}, referenceId="b"),
]


@pytest.mark.parametrize(
    ("graphs", "is_taken"),
    [
        ([], False),
        ([named(500)], True),
        ([named(501)], False),
        ([named(250), named(251, start=250)], False),
        ([named(1, start=n) for n in range(75)], True),
        ([named(1, start=n) for n in range(76)], False),
        ([chain(15)], True),
        ([chain(16)], False),
        ([CIRCLE], False),
        ([[QUERY]], False),
        ([[part("composite/sobjects", {}, "POST", referenceId="c")]], False),
        ([[*named(1), *named(1)]], False),
        (
            [[part(f"sobjects/O{n}__c/1", method="GET", referenceId=f"n{n}") for n in range(16)]],
            False,
        ),
    ],
)
def test_graph_within_its_limits_is_taken(
    api: Api, graphs: list[list[Json]], is_taken: bool
) -> None:
    # https://developer.salesforce.com/docs/platform/api-rest/guide/resources-composite-graph-limits.html
    body = {
        "graphs": [{"graphId": f"g{n}", "compositeRequest": each} for n, each in enumerate(graphs)]
    }
    status, answer = api.call("POST", "composite/graph", body)
    assert status == (200 if is_taken else 400)
    if is_taken:
        assert all(each["isSuccessful"] for each in answer["graphs"])
    else:
        assert set(answer[0]) == {"message", "errorCode", "fields"}


@pytest.mark.parametrize("name", ["", "a.b", "-a", "x" * 40])
def test_graph_needs_a_name(api: Api, name: str) -> None:
    body = {"graphs": [{"graphId": name, "compositeRequest": named(1)}]}
    assert api.error("POST", "composite/graph", body)[:2] == (400, "INVALID_INPUT")


def test_graph_of_a_wrong_form_may_fail_alone(api: Api) -> None:
    api.org.graph_refuses_whole = False
    done, nodes = graph(api, [QUERY, *named(1)], named(1, start=1))
    assert (done, [status for status, _ in nodes]) == ([False, True], [400, 400, 201])
    assert nodes[1][1] == [HALTED]


def test_graphs_behind_fifteen_that_failed_are_halted(api: Api) -> None:
    bad = [[part(f"{PROJECT}{n}", {"Nothing__c": 1}, referenceId="n")] for n in range(15)]
    done, nodes = graph(api, *bad, named(1))
    assert done == [False] * 16
    assert nodes[-1] == (400, [HALTED])


def test_references_reach_into_no_other_graph(api: Api) -> None:
    far = [part(PROJECT + "q", {"Name": "@{n0.id}"}, referenceId="q")]
    assert graph(api, named(1), far)[0] == [True, False]


def test_two_graphs_at_once_are_checked_one_after_the_other(api: Api) -> None:
    api.org.latency = 0.001
    body = {"graphs": [{"graphId": "g", "compositeRequest": invoice_of(1)}]}

    async def run() -> list[Any]:
        calls = [api.send("POST", "composite/graph", body) for _ in range(2)]
        return [answer.body for answer in await asyncio.gather(*calls)]

    done = [answer["graphs"][0]["isSuccessful"] for answer in asyncio.run(run())]
    assert done == [True, False]


# --- An admin, and many at once -------------------------------------------------------------------


def test_bulk_and_collections_relate_by_external_id(api: Api) -> None:
    api.org.add("Account", Name="Northwind", Clockify_Client_Id__c="c")
    record = {
        "attributes": {"type": "Clockify_Project__c"},
        "Clockify_Project_Id__c": "p",
        "Name": "P",
        "Account__r": {"Clockify_Client_Id__c": "c"},
    }
    gone = record | {
        "Clockify_Project_Id__c": "q",
        "Account__r": {"Clockify_Client_Id__c": "gone"},
    }
    path = "composite/sobjects/Clockify_Project__c/Clockify_Project_Id__c"
    results = api.call("PATCH", path, {"records": [record, gone]})[1]
    assert [each["success"] for each in results] == [True, False]
    assert results[1]["errors"][0]["statusCode"] == "INVALID_FIELD"
    assert kept(api, PROJECT + "p")["Account__c"]


def test_admins_session_writes_as_the_admin(bare: Api) -> None:
    answer = bare.org.session(is_admin=True)
    assert isinstance(answer.body, dict)
    bare.org.is_strict = True
    bearer = f"Bearer {answer.body['access_token']}"
    status, made = bare.call("POST", "sobjects/Account", {"Name": "A"}, authorization=bearer)
    assert status == 201
    assert bare.org.records["Account"][made["id"]]["CreatedById"] == ADMIN_ID
    assert bare.call("POST", "sobjects/Account", {"Name": "A"})[0] == 400


def deploy_request(manifest: str, components: dict[str, list[str]]) -> Request:
    """A deployment whose manifest, package.xml or destructiveChangesPost.xml, names components."""
    types = "".join(
        f"<types>{''.join(f'<members>{each}</members>' for each in members)}"
        f"<name>{kind}</name></types>"
        for kind, members in components.items()
    )
    content = f'<Package xmlns="http://soap.sforce.com/2006/04/metadata">{types}</Package>'
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(manifest, content)
    body = (
        b'--x\r\nContent-Disposition: form-data; name="entity_content"\r\n\r\n'
        b'{"deployOptions": {}}\r\n--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
        + archive.getvalue()
        + b"\r\n--x--"
    )
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "multipart; boundary=x"}
    return Request("POST", HOST, BASE + "metadata/deployRequest", headers, body)


def test_what_the_admin_deploys_and_assigns_is_what_the_org_has(bare: Api) -> None:
    setup = SalesforceSetup(bare.org)
    user = setup.insert("User", Username="i@acme.example", ProfileId="p", IsActive=True)
    data = {"CustomObject": ["Clockify_Project__c"], "PermissionSet": ["Clockify_Data"]}
    answer = asyncio.run(setup.answer(deploy_request("package.xml", data)))
    assert answer.status == 201
    assert bare.error("PATCH", PROJECT + "p", {"Name": "P"})[:2] == (404, "NOT_FOUND")
    row = setup.find("PermissionSet", Name="Clockify_Data")
    assert row is not None
    pair = json.dumps({"AssigneeId": user, "PermissionSetId": row["Id"]}).encode()
    path = BASE + "sobjects/PermissionSetAssignment"
    headers = {"authorization": f"Bearer {TOKEN}"}
    answer = asyncio.run(setup.answer(Request("POST", HOST, path, headers, pair)))
    assert answer.status == 201
    assert bare.call("PATCH", PROJECT + "p", {"Name": "P"})[0] == 201
    asyncio.run(setup.answer(deploy_request("destructiveChangesPost.xml", data)))
    assert "Clockify_Project__c" not in bare.org.fields


class _Any:
    """Equal to everything."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


_any = _Any()
