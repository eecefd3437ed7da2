"""force-app: what Salesforce's own CLI and schema say of it, and that it fits the product.

The CLI is installed into .cache on first use, which takes about half a minute; it needs npm. What
only an org can know (that a formula compiles, that a report column exists) is not tested here.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from lxml import etree  # type: ignore[import-untyped]
from salesforce_cli import QUIET, install, schema_of

import mapping
from clockify_salesforce.salesforce.errors import LINKS
from clockify_salesforce.salesforce.wish import LINK_FIELDS
from sandbox import formula

ROOT = Path(__file__).resolve().parents[2]
FORCE_APP = ROOT / "force-app"
FILES = sorted(FORCE_APP.rglob("*.xml"))
MANIFESTS = ROOT / "manifest"
PRODUCT = [
    *ROOT.glob("*.py"),
    *ROOT.glob("clockify_salesforce/**/*.py"),
    *ROOT.glob("commands/**/*.py"),
]

# A deployment of manifests as the CLI packs it, into the folder out of HOME. Arguments: where the
# CLI's modules are, the project, and the flags of the command with their files.
PACK = """
const [modules, project, flags] = process.argv.slice(1);
const path = require('path');
const { ComponentSetBuilder, MetadataConverter } =
  require(path.join(modules, '@salesforce/source-deploy-retrieve'));
const file = (flag) => path.join(project, JSON.parse(flags)[flag]);
ComponentSetBuilder.build({
  projectDir: project,
  sourceapiversion: require(path.join(project, 'sfdx-project.json')).sourceApiVersion,
  manifest: {
    manifestPath: file('--manifest'),
    directoryPaths: [path.join(project, 'force-app')],
    destructiveChangesPre: file('--pre-destructive-changes'),
    destructiveChangesPost: file('--post-destructive-changes'),
  },
}).then((components) => new MetadataConverter().convert(components, 'metadata', {
  type: 'directory', outputDirectory: path.join(process.env.HOME, 'out'), genUniqueDir: false,
}));
"""

# The end of a file's name, the folder it lies in, and the type of its content.
TYPES = {
    "object": ("", "CustomObject"),  # in a folder of its own name
    "field": ("fields", "CustomField"),
    "validationRule": ("validationRules", "ValidationRule"),
    "listView": ("listViews", "ListView"),
    "layout": ("layouts", "Layout"),
    "tab": ("tabs", "CustomTab"),
    "permissionset": ("permissionsets", "PermissionSet"),
    "report": ("reports", "Report"),
    "reportFolder": ("reports", "ReportFolder"),
    "dashboard": ("dashboards", "Dashboard"),
    "dashboardFolder": ("dashboards", "DashboardFolder"),
}
IN_OBJECTS = ("CustomField", "ValidationRule", "ListView")
IN_FOLDERS = ("Report", "Dashboard")

# Fields of Event that every user who may edit Events may write: they have no security of their own.
UNSECURED = {"Subject", "StartDateTime", "EndDateTime", "ShowAs", "IsReminderSet", "OwnerId"}
ENTRY: dict[str, mapping.Json] = {
    "id": "a" * 64,
    "workspaceId": "f" * 64,
    "type": "HOLIDAY",
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
# The folder of force-app/main that a component lies in: default is what time entries need, data
# what the other kinds need beside it.
PART = {component(path): path.relative_to(FORCE_APP / "main").parts[0] for path in FILES}
STATE = "Clockify_State__c"
PROJECT, INVOICE, LINE = "Clockify_Project__c", "Clockify_Invoice__c", "Clockify_Invoice_Line__c"
# The ids that people are matched by: field with its object.
IDS = {
    "User.Clockify_User_Id__c",
    "Account.Clockify_Client_Id__c",
    "Opportunity.Clockify_Project_Id__c",
}


def names(kind: str, part: str = "") -> set[str]:
    """The full names of all components of a type, in one part of force-app or in all."""
    return {name for (type_, name), of in PART.items() if type_ == kind and part in ("", of)}


def fields(object_: str, part: str) -> dict[str, etree._Element]:
    """An object's custom fields by name, in one part of force-app."""
    full = [name.split(".") for name in names("CustomField", part)]
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
    links = dict.fromkeys(LINK_FIELDS, "x" * 18)
    ids = {mapping.EXTERNAL_ID: decision.entry_id, LINKS: " ".join(links.values())}
    return {**decision.event, **links, **ids}


@pytest.fixture(scope="module")
def salesforce_cli() -> list[str]:
    """The command that starts the real Salesforce CLI, installed where it is not yet."""
    return install()


def run_cli(command: list[str], folder: Path, *, project: Path = ROOT) -> str:
    """Run a command of the CLI's with `folder` as home; nothing of the user's is touched."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **QUIET}
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stderr == ""
    return done.stdout


def convert(cli: list[str], project: Path, folder: Path) -> dict[str, object]:
    """Let the CLI convert a project, and return what it says."""
    command = [*cli, "project", "convert", "source", "--json", "--output-dir", str(folder / "out")]
    answer: dict[str, object] = json.loads(run_cli(command, folder, project=project))
    return answer


def members(manifest: Path) -> set[tuple[str, str]]:
    """Type and name of each component that a manifest lists."""
    return {
        (types.findtext("name"), member.text)
        for types in tree(manifest).iterfind("types")
        for member in types.iterfind("members")
    }


def test_force_app_is_converted_by_the_salesforce_cli_without_a_warning(
    salesforce_cli: list[str], tmp_path: Path
) -> None:
    answer = convert(salesforce_cli, ROOT, tmp_path)
    assert (answer["status"], answer["warnings"]) == (0, [])
    converted = members(tmp_path / "out" / "package.xml")
    # The CLI counts a folder among its content, with a slash behind its name.
    expected = {
        (kind.removesuffix("Folder"), name + "/" * kind.endswith("Folder"))
        for kind, name in COMPONENTS
    }
    assert converted == expected


def test_what_an_older_version_left_is_taken_out_by_the_documented_command(
    salesforce_cli: list[str], tmp_path: Path
) -> None:
    (command,) = re.findall(
        r"^ *\$ sf (project deploy start --manifest manifest/package.xml"
        r"(?:.+\\\n)*.*destructive.*\n)",
        (ROOT / "docs" / "salesforce.md").read_text(),
        re.M,
    )
    words = command.replace("\\\n", " ").split()
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert given.pop("--target-org") == "acme"
    help_text = run_cli([*salesforce_cli, *words[:3], "--help"], tmp_path)
    assert all(f"{flag}=<value>" in help_text or flag in help_text for flag in given)
    packed = pack(salesforce_cli, given, tmp_path)
    assert packed == {
        # Before the permission sets are deployed, the rules; then what these named no more.
        "destructiveChangesPre.xml": {
            ("ValidationRule", f"Event.Clockify_{name}")
            for name in ("Version", "Links_OwnerId", "Links_WhatId", "Links_WhoId")
        },
        "package.xml": {("PermissionSet", name) for name in names("PermissionSet", "default")},
        "destructiveChangesPost.xml": {
            ("CustomField", "Activity.Clockify_Version__c"),
            ("CustomPermission", "Clockify_Integration"),
        },
    }
    gone = packed["destructiveChangesPre.xml"] | packed["destructiveChangesPost.xml"]
    assert gone.isdisjoint(COMPONENTS)
    texts = [path.read_text() for path in FILES]
    assert not any("Clockify_Version" in text or "customPermission" in text for text in texts)


def pack(cli: list[str], flags: dict[str, str], folder: Path) -> dict[str, set[tuple[str, str]]]:
    """What `sf project deploy start` makes of manifests, by the CLI's own library."""
    modules = Path(cli[1]).parents[3]
    run_cli([cli[0], "-e", PACK, str(modules), str(ROOT), json.dumps(flags)], folder)
    return {path.name: members(path) for path in folder.glob("out/*.xml")}


def test_the_other_kinds_metadata_is_taken_out_whole_and_nothing_else_is(
    salesforce_cli: list[str], tmp_path: Path
) -> None:
    flags = {
        "--manifest": "manifest/data/package.xml",
        "--pre-destructive-changes": "manifest/data/destructiveChangesPre.xml",
        "--post-destructive-changes": "manifest/data/destructiveChangesPost.xml",
    }
    packed = pack(salesforce_cli, flags, tmp_path)
    pre = {(kind, name) for kind in IN_FOLDERS for name in names(kind, "data")}
    # The CLI lists an object with what it consists of; its page goes with it. Empty folders stay:
    # the CLI names them with a slash, and nobody says whether an org deletes what is so named.
    left = {*IN_FOLDERS, "Layout", "ReportFolder", "DashboardFolder"}
    post = {
        (kind, name) for kind, name in COMPONENTS if PART[kind, name] == "data" and kind not in left
    }
    assert packed == {
        "destructiveChangesPre.xml": pre,
        "package.xml": set(),
        "destructiveChangesPost.xml": post,
    }


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
    """The types of what lies in force-app, and of its manifests."""
    return schema_of(["Package", *(kind for _, kind in TYPES.values())])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.removesuffix("-meta.xml"))
def test_file_holds_what_its_name_says(path: Path, schema: etree.XMLSchema) -> None:
    schema.assertValid(etree.parse(str(path)))
    kind, name = component(path)
    root = COMPONENTS[kind, name]
    assert root.tag == kind
    assert root.findtext("fullName") == (name.split(".")[1] if kind in IN_OBJECTS else None)
    folder = path.parent.parent.name if kind in IN_FOLDERS else path.parent.name
    assert folder in {place or name for place, type_ in TYPES.values() if type_ == kind}
    assert path.read_text().startswith('<?xml version="1.0" encoding="UTF-8"?>\n')


@pytest.mark.parametrize("path", sorted(MANIFESTS.rglob("*.xml")), ids=lambda path: path.name)
def test_manifest_is_a_package_of_the_projects_api_version(
    path: Path, schema: etree.XMLSchema
) -> None:
    schema.assertValid(etree.parse(str(path)))
    project = json.loads((ROOT / "sfdx-project.json").read_text())
    root = tree(path)
    assert (root.tag, root.findtext("version")) == ("Package", project["sourceApiVersion"])


def test_unknown_element_is_refused_by_the_schema(schema: etree.XMLSchema) -> None:
    document = etree.parse(str(next(FORCE_APP.rglob("Clockify_Hours__c.field-meta.xml"))))
    assert schema.validate(document)
    namespace = etree.QName(document.getroot()).namespace
    etree.SubElement(document.getroot(), f"{{{namespace}}}digits").text = "4"
    assert not schema.validate(document)


def test_fields_are_those_that_the_product_names() -> None:
    named = {name for path in PRODUCT for name in re.findall(r"\b[A-Z]\w*__c\b", path.read_text())}
    deployed = {name.split(".")[1] for name in names("CustomField")} | names("CustomObject")
    # The hours that the nightly repair writes.
    assert deployed == named | {"Clockify_Billable_Hours__c", "Billable_Hours__c"}
    assert {name.split(".")[0] for name in names("CustomField", "default")} == {
        "Activity",  # whose fields Event has
        "User",
        "Account",
        "Opportunity",
        "Clockify_State__c",
    }


def test_field_of_event_takes_the_longest_value() -> None:
    values = {name: value for name, value in written().items() if name.endswith("__c")}
    assert values.keys() == fields("Activity", "default").keys()
    for name, field in fields("Activity", "default").items():
        value, kind = values[name], field.findtext("type")
        if isinstance(value, str):
            assert (kind, len(value) <= int(field.findtext("length"))) == ("Text", True)
        elif isinstance(value, bool):
            assert kind == "Checkbox"
        else:
            digits, decimals = int(field.findtext("precision")), int(field.findtext("scale"))
            # Four decimals of an hour tell every second.
            assert (kind, decimals) == ("Number", 4)
            assert len(str(value).split(".")[0]) <= digits - decimals


@pytest.mark.parametrize(
    "name",
    [
        f"Activity.{mapping.EXTERNAL_ID}",
        "Activity.Clockify_Task_Id__c",
        *sorted(IDS),
        f"{PROJECT}.Clockify_Project_Id__c",
        f"{INVOICE}.Clockify_Invoice_Id__c",
        f"{LINE}.Key__c",
    ],
)
def test_field_of_an_id_holds_any_id_once(name: str) -> None:
    field = COMPONENTS["CustomField", name]
    properties = ("type", "externalId", "unique", "caseSensitive", "required")
    # A record of an object of ours is nothing without its id; of theirs most have none.
    required = str(name.split(".")[0] in (PROJECT, INVOICE, LINE)).lower()
    assert [field.findtext(each) for each in properties] == [
        *("Text", "true", "true", "true"),
        required,
    ]
    # A line's key is an invoice's id and a place.
    assert field.findtext("length") == ("100" if name.endswith("Key__c") else "64")


def test_no_other_field_is_unique_or_required() -> None:
    for name, field in fields("Activity", "default").items():
        if name != mapping.EXTERNAL_ID:
            for each in ("externalId", "unique", "required"):
                assert field.findtext(each) in (None, "false"), (name, each)


def test_state_is_kept_apart_from_people_and_their_features() -> None:
    state = COMPONENTS["CustomObject", STATE]
    assert state.findtext("deploymentStatus") == "Deployed"
    assert state.findtext("sharingModel") == "Private"
    assert state.findtext("nameField/type") == "AutoNumber"
    for feature in ("Activities", "Feeds", "History", "Reports", "Search"):
        assert state.findtext(f"enable{feature}") == "false"
    # An object is either a light one, or has all three of these.
    for feature in ("BulkApi", "Sharing", "StreamingApi"):
        assert state.findtext(f"enable{feature}") == "true"


def test_state_has_a_key_two_versions_and_a_long_text() -> None:
    state = fields(STATE, "default")
    properties = ("type", "length", "precision", "scale", "required")
    assert {
        name: [field.findtext(each) for each in properties] for name, field in state.items()
    } == {
        "Key__c": ["Text", "100", None, None, "true"],
        "Version__c": ["Number", None, "18", "0", "true"],
        "Based_On__c": ["Number", None, "18", "0", "true"],
        # Long text can be neither required nor filtered.
        "State__c": ["LongTextArea", "32768", None, None, None],
    }
    # Clockify's ids differ in case.
    key = [state["Key__c"].findtext(each) for each in ("externalId", "unique", "caseSensitive")]
    assert key == ["true", "true", "true"]


def test_only_rule_is_the_compare_and_set_of_states() -> None:
    # A rule on Event would be met by the customer's own flows, in the transaction of our write.
    assert names("ValidationRule") == {f"{STATE}.Compare_And_Set"}
    rule = COMPONENTS["ValidationRule", f"{STATE}.Compare_And_Set"]
    assert rule.findtext("active") == "true"
    # What the API's error says, and the field that it names.
    assert rule.findtext("errorMessage") == "Clockify: another write was faster."
    assert rule.findtext("errorDisplayField") == "Based_On__c"
    assert set(re.findall(r"\b\w+__c\b", rule.findtext("errorConditionFormula"))) == {
        "Version__c",
        "Based_On__c",
    }


@pytest.mark.parametrize(
    ("based_on", "version", "stored", "refused"),
    [
        (0, 1, None, False),
        (1, 2, None, True),
        (-1, 1, None, True),
        (None, 1, None, True),
        (0, None, None, True),
        (4, 5, 4, False),
        (3, 4, 4, True),
        (5, 6, 4, True),
        (0, 1, 4, True),
        (None, 5, 4, True),
        (4, None, 4, True),
        (0, 1, 0, False),
    ],
)
def test_write_is_refused_unless_it_is_based_on_what_is_stored(
    based_on: int | None, version: int | None, stored: int | None, refused: bool
) -> None:
    rule = COMPONENTS["ValidationRule", f"{STATE}.Compare_And_Set"]
    new = {"Based_On__c": based_on, "Version__c": version}
    old = None if stored is None else {"Based_On__c": stored - 1, "Version__c": stored}
    formula_text = rule.findtext("errorConditionFormula")
    assert formula.evaluate(formula_text, new=new, old=old) is refused


def test_integration_user_may_write_what_the_product_writes_and_no_more() -> None:
    secured = shared(written().keys() - UNSECURED)
    # A required field must not be named: it is everybody's who may see the record.
    secured.add(f"{STATE}.State__c")
    assert permitted("Clockify_Integration", "editable") == secured
    assert permitted("Clockify_Integration", "readable") == secured | IDS


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
    read = {name: {"allowRead"} for name in ("Account", "Case", "Contact", "Lead", "Opportunity")}
    # Another integration user carries on where the first one stopped: all records of this object.
    everything = {"allowCreate", "allowDelete", "allowEdit", "allowRead"}
    everything |= {"modifyAllRecords", "viewAllRecords"}
    assert objects == read | {STATE: everything}
    # A licence named here would keep the set from users of any other licence.
    assert integration.find("license") is None


def test_readers_see_what_the_reports_show_and_edit_nothing() -> None:
    shown = {
        name.removeprefix("Activity.")
        for report in names("Report", "hours")
        for element in COMPONENTS["Report", report].iter("field", "column", "groupingColumn")
        if (name := str(element.text)).startswith("Activity.")
    }
    # And the workspace, for a report of one's own where several write into one org.
    assert permitted("Clockify_Reader", "readable") == shared(shown | {"Clockify_Workspace_Id__c"})
    assert permitted("Clockify_Reader", "editable") == set()


def test_admins_see_every_field_and_edit_the_ids_of_the_match() -> None:
    assert permitted("Clockify_Admin", "readable") == shared(fields("Activity", "default")) | IDS
    assert permitted("Clockify_Admin", "editable") == IDS


def test_report_sums_the_hours_of_clockify_only() -> None:
    assert len(names("Report", "hours")) == 4
    for name in names("Report", "hours"):
        report = COMPONENTS["Report", name]
        summed = [
            column.findtext("field")
            for column in report.iterfind("columns")
            if column.findtext("aggregateTypes") == "Sum"
        ]
        assert summed == ["Activity.Clockify_Hours__c"]
        criteria = [
            tuple(item.findtext(each) for each in ("column", "operator", "value"))
            for item in report.iterfind("filter/criteriaItems")
        ]
        # Holidays and time off are no work. An Event without a type is an older one: whether "not
        # equal" leaves out blanks is nowhere said of reports, so they are let in by name.
        assert criteria == [
            (f"Activity.{mapping.EXTERNAL_ID}", "notEqual", ""),
            ("Activity.Clockify_Type__c", "notEqual", "HOLIDAY"),
            ("Activity.Clockify_Type__c", "notEqual", "TIME_OFF"),
            ("Activity.Clockify_Type__c", "equals", ""),
        ]
        assert report.findtext("filter/booleanFilter") == "1 AND ((2 AND 3) OR 4)"
        grouped = report.findtext("groupingsDown/field")
        assert report.findtext("chart/groupingColumn") == grouped
        assert grouped not in {each.text for each in report.iterfind("columns/field")}


@pytest.mark.parametrize("part", ["hours", "data"])
def test_dashboard_shows_every_report_to_each_person_as_they_may_see_it(part: str) -> None:
    (dashboard,) = (COMPONENTS["Dashboard", name] for name in names("Dashboard", part))
    assert {each.text for each in dashboard.iter("report")} == names("Report", part)
    # Another running user would show everybody's hours to everybody, and need a name to deploy.
    assert dashboard.findtext("dashboardType") == "LoggedInUser"
    assert dashboard.find("runningUser") is None


# What the other kinds need, beside their ids ------------------------------------------------------

AMOUNT = HOURS = ("Number", "18", "2")  # Setup calls it Number(16, 2)
TEXT, LONG, LOOKUP = ("Text", "255"), ("LongTextArea", "32768"), ("Lookup", "Account")
CHECKBOX, DATE, ID = ("Checkbox",), ("Date",), ("Text", "64")
ROLL_UP: dict[str, tuple[str, ...]] = {
    "Clockify_Hours__c": HOURS,
    "Clockify_Billable_Hours__c": HOURS,
}
DATA: dict[str, dict[str, tuple[str, ...]]] = {
    "Activity": {"Clockify_Task_Id__c": ID},
    "Account": ROLL_UP,
    "Opportunity": ROLL_UP,
    PROJECT: {
        "Clockify_Project_Id__c": ID,
        "Clockify_Workspace_Id__c": ID,
        "Full_Name__c": TEXT,
        "Account__c": LOOKUP,
        "Client__c": TEXT,
        **dict.fromkeys(("Billable__c", "Archived__c", "Deleted__c"), CHECKBOX),
        "Note__c": LONG,
        "Color__c": TEXT,
        **dict.fromkeys(("Estimate_Hours__c", "Tracked_Hours__c", "Billable_Hours__c"), HOURS),
        "Amount__c": AMOUNT,
    },
    INVOICE: {
        "Clockify_Invoice_Id__c": ID,
        "Clockify_Workspace_Id__c": ID,
        "Status__c": TEXT,
        **dict.fromkeys(("Issued__c", "Due__c"), DATE),
        "Currency__c": TEXT,
        **dict.fromkeys(("Subtotal__c", "Discount__c", "Tax__c", "Tax_2__c", "Amount__c"), AMOUNT),
        "Subject__c": TEXT,
        "Note__c": LONG,
        "Client__c": TEXT,
        "Account__c": LOOKUP,
    },
    LINE: {
        "Key__c": ("Text", "100"),
        "Invoice__c": ("Lookup", INVOICE),
        "Order__c": ("Number", "9", "0"),
        "Quantity__c": ("Number", "18", "4"),
        "Description__c": LONG,
        **dict.fromkeys(("Unit_Price__c", "Amount__c"), AMOUNT),
    },
}
# Apart from the fields that are required: these are everybody's who may see the record.
SECURED = {
    f"{name}.{field}"
    for owner, of in DATA.items()
    for field in of
    for name in (("Event", "Task") if owner == "Activity" else (owner,))
    if COMPONENTS["CustomField", f"{owner}.{field}"].findtext("required") != "true"
}


def rights(permission_set: str) -> dict[str, set[str]]:
    """What a permission set allows of each object."""
    return {
        each.findtext("object"): {right.tag for right in each if right.text == "true"}
        for each in COMPONENTS["PermissionSet", permission_set].iterfind("objectPermissions")
    }


def test_fields_of_the_other_kinds_are_of_their_types() -> None:
    properties = ("type", "length", "referenceTo", "precision", "scale")
    found = {
        owner: {
            name: tuple(text for each in properties if (text := field.findtext(each)))
            for name, field in fields(owner, "data").items()
        }
        for owner in {name.split(".")[0] for name in names("CustomField", "data")}
    }
    assert found == DATA


def test_lookups_are_named_as_queries_name_them_and_hold_nothing_back() -> None:
    relations = {}
    for owner, of in DATA.items():
        for name, kind in of.items():
            field = COMPONENTS["CustomField", f"{owner}.{name}"]
            if kind[0] == "Lookup":
                relations[owner] = field.findtext("relationshipName")
                # Whoever deletes the account, or the invoice, is not kept from it.
                assert field.findtext("deleteConstraint") == "SetNull"
                assert field.findtext("required") == "false"
    assert relations == {PROJECT: "Clockify_Projects", INVOICE: "Clockify_Invoices", LINE: "Lines"}


@pytest.mark.parametrize("name", [PROJECT, INVOICE, LINE])
def test_object_of_another_kind_is_one_that_people_look_at(name: str) -> None:
    object_ = COMPONENTS["CustomObject", name]
    on = {
        each.tag
        for each in object_
        if each.tag.startswith(("enable", "allow")) and each.text == "true"
    }
    # Events and Tasks are related to projects.
    activities = {"enableActivities"} if name == PROJECT else set()
    assert on == activities | {
        *("enableBulkApi", "enableReports", "enableSearch", "enableSharing", "enableStreamingApi"),
    }
    assert object_.findtext("deploymentStatus") == "Deployed"
    assert object_.findtext("sharingModel") == "ReadWrite"  # who may edit is in permission sets
    numbered = name == LINE
    assert object_.findtext("nameField/type") == ("AutoNumber" if numbered else "Text")
    if not numbered:
        assert name in names("CustomTab")
        assert f"{name}.All" in names("ListView")


@pytest.mark.parametrize("name", [PROJECT, INVOICE, LINE])
def test_page_shows_every_field_of_its_object(name: str) -> None:
    label = COMPONENTS["CustomObject", name].findtext("label")
    layout = COMPONENTS["Layout", f"{name}-{label} Layout"]
    items = {
        each.findtext("field"): each.findtext("behavior") for each in layout.iter("layoutItems")
    }
    assert items.keys() == DATA[name].keys() | {"Name"}
    for field in DATA[name]:
        required = COMPONENTS["CustomField", f"{name}.{field}"].findtext("required") == "true"
        assert (items[field] == "Required") == required


def test_integration_user_may_write_the_other_kinds_and_no_more() -> None:
    own = {"allowCreate", "allowEdit", "allowRead"}
    assert permitted("Clockify_Data", "editable") == SECURED | {"Account.Clockify_Client_Id__c"}
    assert permitted("Clockify_Data", "readable") == permitted("Clockify_Data", "editable")
    assert rights("Clockify_Data") == {
        "Account": own,
        "Opportunity": {"allowEdit", "allowRead"},  # the hours
        PROJECT: own,
        INVOICE: own,
        # Lines that are gone, also those that another integration user has made.
        LINE: own | {"allowDelete", "modifyAllRecords", "viewAllRecords"},
    }
    data = COMPONENTS["PermissionSet", "Clockify_Data"]
    user = {each.findtext("name") for each in data.iterfind("userPermissions")}
    assert user == {"ActivitiesAccess", "EditTask"}
    assert data.findtext("label") == "Clockify Data"
    assert data.find("license") is None


def test_readers_of_the_other_kinds_see_all_of_them_and_edit_nothing() -> None:
    assert permitted("Clockify_Data_Reader", "readable") == SECURED
    assert permitted("Clockify_Data_Reader", "editable") == set()
    assert rights("Clockify_Data_Reader") == {
        name: {"allowRead"} for name in (PROJECT, INVOICE, LINE)
    }
    tabs = COMPONENTS["PermissionSet", "Clockify_Data_Reader"].iterfind("tabSettings")
    assert {each.findtext("tab"): each.findtext("visibility") for each in tabs} == dict.fromkeys(
        names("CustomTab"), "Visible"
    )


def test_reports_of_the_other_kinds_name_fields_that_there_are() -> None:
    assert names("Report", "data") == {
        "Clockify_Data/Clockify_Estimate_and_Tracked",
        "Clockify_Data/Clockify_Hours_of_Accounts",
    }
    for name in names("Report", "data"):
        report = COMPONENTS["Report", name]
        named = {str(each.text) for each in report.iter("field", "column", "groupingColumn")}
        assert {each for each in named if each.endswith("__c")} <= SECURED
        grouped = report.findtext("groupingsDown/field")
        assert report.findtext("chart/groupingColumn") == grouped
        charted = {each.findtext("column") for each in report.iterfind("chart/chartSummaries")}
        summed = {
            each.findtext("field")
            for each in report.iterfind("columns")
            if each.findtext("aggregateTypes") == "Sum"
        }
        assert charted <= summed
    # A report's unique name is one of the whole org's.
    unique = [name.split("/")[1] for name in names("Report")]
    assert len(unique) == len(set(unique))


def test_project_says_the_api_version_that_the_product_speaks() -> None:
    project = json.loads((ROOT / "sfdx-project.json").read_text())
    settings = (ROOT / "clockify_salesforce" / "settings.py").read_text()
    assert f'or "{project["sourceApiVersion"]}"' in settings
    assert [folder["path"] for folder in project["packageDirectories"]] == ["force-app"]
