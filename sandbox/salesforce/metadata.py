"""What the org knows of its objects: the standard ones that matter here, and `force-app/`.

A deployment adds a folder of `force-app/main` to the org: its objects, fields, validation rules and
permission sets.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

FORCE_APP = Path(__file__).resolve().parents[2] / "force-app/main"
PREFIXES = {
    "Event": "00U",
    "Task": "00T",
    "TaskStatus": "01J",
    "User": "005",
    "Account": "001",
    "Opportunity": "006",
    "Contact": "003",
    "Lead": "00Q",
    "Case": "500",
    "Clockify_State__c": "a00",
    "Machine__c": "a01",  # a custom object that may have activities
    "Note__c": "a02",  # and one that may not
}
ACTIVITIES = ("Event", "Task")
# Objects that an activity's WhoId may name, and those that its WhatId may.
WHO = ("Contact", "Lead")
WHAT = ("Account", "Opportunity", "Case", "Machine__c")
_NAME: dict[str, str | int] = {"Name": 255}
# https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_account.htm
# and the objects' pages beside it.
_STANDARD: dict[str, dict[str, str | int]] = {
    "Event": {
        "Subject": 255,
        # Long text, which cannot be filtered: https://developer.salesforce.com/docs/atlas.en-us.sfFieldRef.meta/sfFieldRef/salesforce_field_reference_Event.htm
        "Description": "textarea",
        "StartDateTime": "datetime",
        "EndDateTime": "datetime",
        "ShowAs": 40,
        "WhatId": "reference",
        "WhoId": "reference",
        "Location": 255,
        "IsAllDayEvent": "boolean",
        "IsReminderSet": "boolean",
        "DurationInMinutes": "int",
        "IsArchived": "boolean",
    },
    "Task": {
        "Subject": 255,
        "Description": "textarea",
        "Status": 255,
        "Priority": 255,
        "ActivityDate": "date",
        "WhatId": "reference",
        "WhoId": "reference",
        "IsClosed": "boolean",
        "IsReminderSet": "boolean",
        "IsArchived": "boolean",
    },
    # The values of Task.Status, which no API writes:
    # https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_taskstatus.htm
    "TaskStatus": {
        "MasterLabel": 255,
        "ApiName": 255,
        "IsClosed": "boolean",
        "IsDefault": "boolean",
        "SortOrder": "int",
    },
    "User": {
        **_NAME,
        "Username": 80,
        "Email": 128,
        "IsActive": "boolean",
        "UserType": 40,
        "UserRoleId": 18,
    },
    "Account": {**_NAME, "Phone": 40},
    "Opportunity": {**_NAME, "AccountId": "reference", "StageName": 255, "IsClosed": "boolean"},
    "Contact": {**_NAME, "Email": 128},
    "Lead": _NAME,
    "Case": _NAME,
    "Clockify_State__c": _NAME,
    "Machine__c": _NAME,
    "Note__c": _NAME,
}
_TARGETS = {
    "WhatId": WHAT,
    "WhoId": WHO,
    "AccountId": ("Account",),
    "OwnerId": ("User",),
    "CreatedById": ("User",),
    "LastModifiedById": ("User",),
}
_LONG_TEXT = 32_000
_CUSTOM_NAME = 80
_XML = {"m": "http://soap.sforce.com/2006/04/metadata"}
_TYPES = {
    "Text": "string",
    "TextArea": "textarea",
    "LongTextArea": "textarea",
    "Url": "url",
    "Email": "email",
    "Phone": "phone",
    "Picklist": "picklist",
    "Number": "double",
    "Currency": "currency",
    "Percent": "percent",
    "Checkbox": "boolean",
    "Date": "date",
    "DateTime": "datetime",
    "Lookup": "reference",
    "MasterDetail": "reference",
}
NUMBERS = ("double", "currency", "percent")


@dataclass(frozen=True)
class Field:
    """A field as describe tells it; `length` in UTF-16 code units, `digits` before the point.

    `type`: id, reference, string, textarea, picklist, boolean, date, datetime, int or double, which
    is what a custom field of type Number is: JSON has 3.0 of it for 3. `refers`: the objects that a
    reference may name; `relation`: its name in SOQL and in bodies, like Account__r; `children`: the
    name that it has on the other side, like Lines__r. `calculated`: nobody writes it.
    """

    type: str
    length: int = 0
    digits: int = 0
    scale: int = 0
    unique: bool = False
    external: bool = False
    required: bool = False
    case_sensitive: bool = False
    calculated: bool = False
    refers: tuple[str, ...] = ()
    relation: str = ""
    children: str = ""
    on_delete: str = "SetNull"  # Cascade, Restrict
    values: tuple[str, ...] = ()  # of a restricted picklist

    @property
    def is_long_text(self) -> bool:
        """Whether it can be neither filtered nor sorted."""
        return self.type == "textarea" and self.length > 255


@dataclass(frozen=True)
class Rule:
    """A validation rule: the formula that must not hold, and what is said where it does."""

    formula: str
    message: str
    field: str


def _reference(name: str) -> Field:
    return Field("reference", 18, refers=_TARGETS[name], relation=name.removesuffix("Id"))


# Fields that every object has.
SYSTEM = {
    "Id": Field("id", 18),
    "IsDeleted": Field("boolean"),
    "CreatedById": _reference("CreatedById"),
    "CreatedDate": Field("datetime"),
    "LastModifiedById": _reference("LastModifiedById"),
    "LastModifiedDate": Field("datetime"),
    "SystemModstamp": Field("datetime"),
    "OwnerId": _reference("OwnerId"),
}


@dataclass(frozen=True)
class Object:
    """An object: its own fields by name, its rules, whether activities may be related to it."""

    fields: dict[str, Field]
    rules: tuple[Rule, ...]
    is_auto_numbered: bool
    has_activities: bool


@dataclass(frozen=True)
class Permissions:
    """What a permission set opens.

    `reads`, `edits`: `Object` and `Object.Field__c`; `creates`, `deletes`: objects; `user`: names
    of user permissions.
    """

    reads: frozenset[str] = frozenset()
    edits: frozenset[str] = frozenset()
    creates: frozenset[str] = frozenset()
    deletes: frozenset[str] = frozenset()
    user: frozenset[str] = frozenset()

    def __or__(self, other: "Permissions") -> "Permissions":
        return Permissions(
            self.reads | other.reads,
            self.edits | other.edits,
            self.creates | other.creates,
            self.deletes | other.deletes,
            self.user | other.user,
        )


def custom_objects(packages: Iterable[Path]) -> list[str]:
    """The custom objects of some packages, in the order of their deployment."""
    return [
        folder.name
        for package in packages
        for folder in sorted(package.glob("objects/*__c"))
        if (folder / f"{folder.name}.object-meta.xml").exists()
    ]


def read_object(name: str, packages: Iterable[Path]) -> Object:
    """An object as it is where these packages are deployed."""
    known = dict(_standard(name))
    rules: list[Rule] = []
    is_auto_numbered, has_activities = False, name in WHAT
    for package in packages:
        # An Event's and a Task's custom fields are Activity's.
        known |= _fields(package / "objects" / ("Activity" if name in ACTIVITIES else name))
        rules += _rules(package / "objects" / name)
        file = package / f"objects/{name}/{name}.object-meta.xml"
        if file.exists():
            tree = _tree(file)
            kind = tree.findtext("m:nameField/m:type", "", _XML)
            is_auto_numbered |= kind == "AutoNumber"
            has_activities |= _text(tree, "enableActivities") == "true"
    return Object(known, tuple(rules), is_auto_numbered, has_activities)


def permissions(packages: Iterable[Path], names: Iterable[str]) -> Permissions:
    """What permission sets of these names open together, as far as they are deployed."""
    found = Permissions()
    for package in packages:
        for name in sorted(names):
            file = package / f"permissionsets/{name}.permissionset-meta.xml"
            if file.exists():
                found |= _permissions(file)
    return found


@cache
def _standard(name: str) -> dict[str, Field]:
    length = _CUSTOM_NAME if name.endswith("__c") else 255
    standard = _STANDARD.get(name, _NAME)
    known = {}
    for each, kind in standard.items():
        if kind == "reference":
            known[each] = _reference(each)
        elif isinstance(kind, int):
            known[each] = Field("string", length if each == "Name" else kind)
        else:
            known[each] = Field(kind, _LONG_TEXT if kind == "textarea" else 0)
    if name == "Account":
        known["Name"] = Field("string", 255, required=True)
    if name == "Task":
        known["IsClosed"] = Field("boolean", calculated=True)
        known["Status"] = Field("picklist", 255)
    return known


@cache
def _fields(folder: Path) -> dict[str, Field]:
    fields = [_field(_tree(file)) for file in sorted(folder.glob("fields/*.field-meta.xml"))]
    return dict(fields)


def _field(tree: ElementTree.Element) -> tuple[str, Field]:
    name, kind = _text(tree, "fullName"), _TYPES[_text(tree, "type")]
    scale = int(_text(tree, "scale") or 0)
    target, children = _text(tree, "referenceTo"), _text(tree, "relationshipName")
    values = tree.findall("m:valueSet/m:valueSetDefinition/m:value/m:fullName", _XML)
    is_restricted = tree.findtext("m:valueSet/m:restricted", "", _XML) == "true"
    is_detail = _text(tree, "type") == "MasterDetail"
    return name, Field(
        kind,
        int(_text(tree, "length") or {"reference": 18, "picklist": 255}.get(kind, 0))
        or (255 if kind in ("textarea", "url") else 80 if kind in ("email", "phone") else 0),
        int(_text(tree, "precision") or 0) - scale,
        scale,
        unique=_text(tree, "unique") == "true",
        external=_text(tree, "externalId") == "true",
        required=_text(tree, "required") == "true" or is_detail,
        case_sensitive=_text(tree, "caseSensitive") == "true",
        calculated=bool(_text(tree, "formula")),
        refers=(target,) if target else (),
        relation=name.removesuffix("__c") + "__r" if target else "",
        children=f"{children}__r" if children else "",
        on_delete="Cascade" if is_detail else _text(tree, "deleteConstraint") or "SetNull",
        values=tuple(each.text or "" for each in values) if is_restricted else (),
    )


@cache
def _rules(folder: Path) -> tuple[Rule, ...]:
    trees = [_tree(file) for file in sorted(folder.glob("validationRules/*.xml"))]
    return tuple(
        Rule(
            _text(tree, "errorConditionFormula"),
            _text(tree, "errorMessage"),
            _text(tree, "errorDisplayField"),
        )
        for tree in trees
        if _text(tree, "active") == "true"
    )


@cache
def _permissions(file: Path) -> Permissions:
    tree = _tree(file)

    def names(of: str, named: str, allowed: str) -> Iterator[str]:
        for each in tree.findall(f"m:{of}", _XML):
            if _text(each, allowed) == "true":
                yield _text(each, named)

    return Permissions(
        reads=frozenset(
            {
                *names("fieldPermissions", "field", "readable"),
                *names("objectPermissions", "object", "allowRead"),
            }
        ),
        edits=frozenset(
            {
                *names("fieldPermissions", "field", "editable"),
                *names("objectPermissions", "object", "allowEdit"),
            }
        ),
        creates=frozenset(names("objectPermissions", "object", "allowCreate")),
        deletes=frozenset(names("objectPermissions", "object", "allowDelete")),
        user=frozenset(names("userPermissions", "name", "enabled")),
    )


@cache
def _tree(file: Path) -> ElementTree.Element:
    return ElementTree.parse(file).getroot()


def _text(tree: ElementTree.Element, tag: str) -> str:
    return tree.findtext(f"m:{tag}", "", _XML)
