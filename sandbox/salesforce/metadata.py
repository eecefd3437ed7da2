"""What the org knows of its objects: the standard ones that matter here, and `force-app/`."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

FORCE_APP = Path(__file__).resolve().parents[2] / "force-app/main/default"
PREFIXES = {
    "Event": "00U",
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
# Objects that an Event's WhoId may name, and those that neither WhoId nor WhatId may.
WHO = ("Contact", "Lead")
WITHOUT_EVENTS = ("Event", "User", "Note__c", "Clockify_State__c")
_NAME: dict[str, str | int] = {"Name": 255}
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
    "User": {
        **_NAME,
        "Username": 80,
        "Email": 128,
        "IsActive": "boolean",
        "UserType": 40,
        "UserRoleId": 18,
    },
    "Account": _NAME,
    "Opportunity": {**_NAME, "AccountId": "reference", "StageName": 255, "IsClosed": "boolean"},
    "Contact": {**_NAME, "Email": 128},
    "Lead": _NAME,
    "Case": _NAME,
    "Clockify_State__c": _NAME,
    "Machine__c": _NAME,
    "Note__c": _NAME,
}
_LONG_TEXT = 32_000
_XML = {"m": "http://soap.sforce.com/2006/04/metadata"}


@dataclass(frozen=True)
class Field:
    """A field as describe tells it; `length` in UTF-16 code units, `digits` before the point.

    `type`: id, reference, string, textarea (long text), boolean, datetime, int or double, which is
    what a custom field of type Number is: JSON has 3.0 of it for 3.
    """

    type: str
    length: int = 0
    digits: int = 0
    unique: bool = False
    external: bool = False
    required: bool = False


@dataclass(frozen=True)
class Rule:
    """A validation rule: the formula that must not hold, and what is said where it does."""

    formula: str
    message: str
    field: str


# Fields that every object has.
SYSTEM = {
    "Id": Field("id"),
    "IsDeleted": Field("boolean"),
    "CreatedById": Field("reference"),
    "CreatedDate": Field("datetime"),
    "LastModifiedById": Field("reference"),
    "LastModifiedDate": Field("datetime"),
    "SystemModstamp": Field("datetime"),
    "OwnerId": Field("reference"),
}


def fields(name: str) -> dict[str, Field]:
    """An object's own fields by name."""
    known = {
        each: Field("string", kind)
        if isinstance(kind, int)
        else Field(kind, _LONG_TEXT if kind == "textarea" else 0)
        for each, kind in _STANDARD[name].items()
    }
    # An Event's custom fields are Activity's.
    folder = FORCE_APP / "objects" / ("Activity" if name == "Event" else name) / "fields"
    types = {
        "Text": "string",
        "LongTextArea": "textarea",
        "Number": "double",
        "Checkbox": "boolean",
    }
    for file in sorted(folder.glob("*.field-meta.xml")):
        tree = ElementTree.parse(file).getroot()
        known[_text(tree, "fullName")] = Field(
            types[_text(tree, "type")],
            int(_text(tree, "length") or 0),
            int(_text(tree, "precision") or 0) - int(_text(tree, "scale") or 0),
            unique=_text(tree, "unique") == "true",
            external=_text(tree, "externalId") == "true",
            required=_text(tree, "required") == "true",
        )
    return known


def rules(name: str) -> list[Rule]:
    """An object's active validation rules."""
    trees = [
        ElementTree.parse(file).getroot()
        for file in sorted(FORCE_APP.glob(f"objects/{name}/validationRules/*.xml"))
    ]
    return [
        Rule(
            _text(tree, "errorConditionFormula"),
            _text(tree, "errorMessage"),
            _text(tree, "errorDisplayField"),
        )
        for tree in trees
        if _text(tree, "active") == "true"
    ]


def is_auto_numbered(name: str) -> bool:
    """Tell whether Salesforce itself gives the object's records their Name."""
    file = FORCE_APP / f"objects/{name}/{name}.object-meta.xml"
    if not file.exists():
        return False
    return ElementTree.parse(file).getroot().findtext("m:nameField/m:type", "", _XML) == (
        "AutoNumber"
    )


def permitted() -> set[str]:
    """What the integration user's permission set opens: `Object` and `Object.Field__c`."""
    file = FORCE_APP / "permissionsets/Clockify_Integration.permissionset-meta.xml"
    tree = ElementTree.parse(file).getroot()
    return {
        _text(each, "field")
        for each in tree.findall("m:fieldPermissions", _XML)
        if _text(each, "readable") == "true"
    } | {
        _text(each, "object")
        for each in tree.findall("m:objectPermissions", _XML)
        if _text(each, "allowRead") == "true"
    }


def _text(tree: ElementTree.Element, tag: str) -> str:
    return tree.findtext(f"m:{tag}", "", _XML)
