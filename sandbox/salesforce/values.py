"""A JSON value as Salesforce stores it, and what a reference may name."""

import re
from datetime import UTC, date
from typing import Any

from sandbox.salesforce.faults import Json, Refusal
from sandbox.salesforce.metadata import NUMBERS, Field
from sandbox.salesforce.records import instant, with_checksum
from sandbox.salesforce.rights import Rights

_JSON_TYPES = {bool: "boolean", int: "number", float: "number", str: "text"}
_TYPES = {"boolean": "boolean", "int": "number"} | dict.fromkeys(NUMBERS, "number")


class Values(Rights):
    """Values of all types. Each raises Refusal where one does not fit its field."""

    def _value(self, name: str, field_name: str, value: Any) -> Any:
        """A JSON value as it is stored."""
        field = self._field(name, field_name)
        if field_name == "Name" and isinstance(value, str):
            value = value.strip()  # so that a blank name is none
        if value is None or value == "":
            return False if field.type == "boolean" else None
        if _JSON_TYPES.get(type(value)) != _TYPES.get(field.type, "text"):
            raise Refusal(
                400, "JSON_PARSER_ERROR", f"Cannot deserialize instance of {field.type}", field_name
            )
        if field.type in NUMBERS:
            return _number(value, field, field_name)
        if field.type == "datetime":
            return _moment(value, field_name)
        if field.type == "date":
            return _day(value, field_name)
        if field.type == "reference":
            return self._reference(name, field_name, value)
        if field.values and value not in field.values:
            raise bad_choice(field_name, value)
        # Salesforce counts UTF-16 code units, and a line break may be kept as two.
        if field.length and len(value.encode("utf-16-le")) // 2 + value.count("\n") > field.length:
            raise Refusal(400, "STRING_TOO_LONG", f"{field_name}: data value too large", field_name)
        return value

    def _reference(self, name: str, field_name: str, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9]{15}([A-Za-z0-9]{3})?", value):
            raise Refusal(
                400, "MALFORMED_ID", f"{field_name}: id value of incorrect type: x", field_name
            )
        full = with_checksum(value[:15])
        holder = self._object_of(full)
        refers = self._field(name, field_name).refers
        if field_name == "WhatId":
            refers = tuple(each for each, of in self.objects.items() if of.has_activities)
        if field_name.endswith("__c") and holder not in refers:
            message = f"{field_name}: id value of incorrect type: {value}"
            raise Refusal(400, "MALFORMED_ID", message, field_name)
        target = self.records.get(holder, {}).get(full)
        if holder not in refers or target is None:
            raise Refusal(
                400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", field_name
            )
        if target["IsDeleted"]:
            raise Refusal(404, "ENTITY_IS_DELETED", "entity is deleted")
        if field_name == "OwnerId" and not target.get("IsActive"):
            raise inactive(full, name, "OwnerId")
        if target.get("_hidden"):
            raise Refusal(
                400,
                "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
                f"insufficient access rights on cross-reference id: {full[:15]}",
            )
        return full

    def _with_relations(self, name: str, values: Json, *, as_person: bool) -> Json:
        """`values` with the id in place of each parent that is named by its external id.

        https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/dome_upsert.htm
        """
        known: Json = {}
        for each, value in values.items():
            near = self._related(name, each) if isinstance(value, dict) else None
            if near is None:
                known[each] = value
            else:
                known[near[0]] = self._parent(near[1], value, as_person=as_person)
        return known

    def _parent(self, field: Field, named: Json, *, as_person: bool) -> str:
        kind = named.get("attributes", {}).get("type")
        parents = [each for each in field.refers if kind in (None, each)]
        keys = [each for each in named if each != "attributes"]
        if len(parents) != 1 or len(keys) != 1:
            # How a body names a polymorphic parent, nobody says.
            message = f"{field.relation}: one external id of one object belongs here"
            raise Refusal(400, "INVALID_FIELD", message)
        (parent,), (external,) = parents, keys
        self._check_field(parent, external, as_person=as_person)
        if not self._field(parent, external).external and external != "Id":
            message = f"{external} is not an External ID or indexed field for {parent}"
            raise Refusal(400, "INVALID_FIELD", message)
        value = named[external]
        found = (
            self.records[parent].get(str(value))
            if external == "Id"
            else self._find(parent, external, value)
        )
        if found is None:
            # As in a composite's answer that Apache Camel keeps for its tests:
            # components/camel-salesforce/…/composite/SObjectCompositeResponseTest.java
            message = (
                f"Foreign key external ID: {value} not found for field {external} in entity"
                f" {parent}"
            )
            raise Refusal(400, "INVALID_FIELD", message)
        return str(found["Id"])


def missing(field_name: str) -> Refusal:
    """The refusal of a record without a required field."""
    message = f"Required fields are missing: [{field_name}]"
    return Refusal(400, "REQUIRED_FIELD_MISSING", message, field_name)


def inactive(user_id: str, name: str, *fields: str) -> Refusal:
    """The refusal of an owner who has left."""
    message = f"operation performed with inactive user [{user_id[:15]}] as owner of {name.lower()}"
    return Refusal(400, "INACTIVE_OWNER_OR_USER", message, *fields)


def bad_choice(field_name: str, value: str) -> Refusal:
    """The refusal of what a restricted picklist does not hold.

    https://salesforcedictionary.com/errors/invalid-or-null-for-restricted-picklist
    """
    message = f"{field_name}: bad value for restricted picklist field: {value}"
    return Refusal(400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, field_name)


def _number(value: float, field: Field, field_name: str) -> float:
    """A number as it is: of its digits only those before the point are counted.

    "When you retrieve the value via API, no rounding occurs":
    https://help.salesforce.com/s/articleView?id=000387302
    """
    if abs(value) >= 10**field.digits:
        raise Refusal(
            400,
            "NUMBER_OUTSIDE_VALID_RANGE",
            f"{field_name}: value outside of valid range on numeric field: {value}",
            field_name,
        )
    return float(value)


def _moment(value: str, field_name: str) -> str:
    try:
        moment = instant(value)
    except ValueError:
        raise Refusal(400, "JSON_PARSER_ERROR", "not a dateTime", field_name) from None
    if not 1700 <= moment.year <= 4000:
        raise Refusal(400, "JSON_PARSER_ERROR", "dateTime out of range", field_name)
    # Salesforce drops the milliseconds.
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def _day(value: str, field_name: str) -> str:
    try:
        day = date.fromisoformat(value) if re.fullmatch(r"\d{4}-\d\d-\d\d", value) else None
    except ValueError:
        day = None
    if day is None or not 1700 <= day.year <= 4000:
        message = f"Cannot deserialize instance of date from VALUE_STRING value {value}"
        raise Refusal(400, "JSON_PARSER_ERROR", message, field_name)
    return day.isoformat()
