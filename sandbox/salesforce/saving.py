"""What Salesforce does to store a record: types, required fields, rules, unique values, flows.

https://developer.salesforce.com/docs/atlas.en-us.apexcode.meta/apexcode/apex_triggers_order_of_execution.htm
"""

import re
from datetime import UTC, timedelta
from typing import Any

from sandbox import formula
from sandbox.salesforce import metadata
from sandbox.salesforce.faults import Faults, Flow, Json, Refusal
from sandbox.salesforce.metadata import PREFIXES, SYSTEM, Field
from sandbox.salesforce.records import Records, instant, with_checksum

_JSON_TYPES = {bool: "boolean", int: "number", float: "number", str: "text"}
_TYPES = {"boolean": "boolean", "int": "number", "double": "number"}


class Saving(Records):
    """Writes, each in a transaction. `user`: None where the integration writes through the API."""

    def __init__(self) -> None:
        super().__init__()
        self._rules = {name: metadata.rules(name) for name in PREFIXES}
        self._auto_numbered = {name for name in PREFIXES if metadata.is_auto_numbered(name)}
        self._permitted = metadata.permitted()

    def reset(self) -> None:
        """Forget all records, and everything that was switched on."""
        super().reset()
        self.hidden: set[str] = set()  # not deployed: like Event.Clockify_Hours__c, or an object
        self.read_only: set[str] = set()  # seen by the integration user, and not written
        self.rules_off: set[str] = set()  # objects whose validation rules are switched off
        # Users whose Events the integration may make and not edit: its role is not above theirs.
        self.out_of_reach: set[str] = set()
        self.faults = Faults()
        self.flows: list[Flow] = []  # the customer's own, on Event
        self.multiday = False
        # Whether every update of an Event is refused whose owner has been deactivated: not said.
        self.inactive_owner_refuses = False

    def insert(
        self, name: str, values: Json, *, record_id: str | None = None, user: str | None = None
    ) -> str:
        """Store a new record and return its id. Raises Refusal."""
        self._number += 1
        record_id = record_id or with_checksum(f"{PREFIXES[name]}Kj{self._number:010d}")
        now = self._now()
        fresh: Json = {
            "Id": record_id,
            "IsDeleted": False,
            "CreatedById": user or self.USER_ID,
            "CreatedDate": now,
        }
        for each, kind in self.fields[name].items():
            if kind.type == "boolean":
                fresh[each] = False
        if name != "User":
            fresh["OwnerId"] = user or self.USER_ID
        if name in self._auto_numbered:
            fresh["Name"] = f"{self._number:010d}"
        if name == "Event":
            # "Defaulted on create", as describe has it: who sends nothing gets a reminder.
            fresh["IsReminderSet"] = True
        self._save(name, fresh, values, None, user)
        return record_id

    def update(self, name: str, record_id: str, values: Json, *, user: str | None = None) -> None:
        """Change a live record. Raises Refusal."""
        record = self._live(name, record_id)
        self._save(name, dict(record), values, record, user)

    def upsert(
        self, name: str, external: str, value: str, values: Json, found: Json | None
    ) -> Json:
        """Write what was found a moment ago, or insert; the world may have changed since."""
        if found is None:
            record_id = self.insert(name, {**values, external: value})
        else:
            record_id = found["Id"]
            self.update(name, record_id, values)
        return {"id": record_id, "success": True, "errors": [], "created": found is None}

    def delete(self, name: str, record_id: str, *, user: str | None = None) -> None:
        """Put a live record into the recycle bin. Raises Refusal."""
        with self.transaction():
            if user is None:
                self._lock()
            record = dict(self._live(name, record_id))
            record["IsDeleted"] = True
            self._stamp(record, user)
            self._store(name, record)

    def _save(
        self,
        name: str,
        record: Json,
        values: Json,
        old: Json | None,
        user: str | None,
        *,
        by_flow: bool = False,
    ) -> None:
        """Write `values` into `record`, which is new or a copy of `old`, and store it."""
        with self.transaction():
            if user is None and not by_flow:
                self._lock()
            for each, value in values.items():
                if not by_flow:
                    self._check_writable(name, each, as_person=user is not None)
                record[each] = self._value(name, each, value)
            for each, kind in self.fields[name].items():
                if kind.required and record.get(each) is None:
                    raise _missing(each)
            if name == "Event":
                self._check_event(record, values, old, by_integration=user is None)
                self._check_reach(record, old, by_integration=user is None)
            for rule in self._rules[name] if name not in self.rules_off else ():
                if formula.evaluate(rule.formula, new=record, old=old):
                    at = [rule.field] if rule.field else []
                    raise Refusal(400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message, *at)
            self._check_unique(name, record)
            self._stamp(record, user)
            self._store(name, record)
            if name == "Event" and user is None and not by_flow:
                self._run_flows(record, created=old is None)

    def _lock(self) -> None:
        if self.faults.strikes("lock"):
            message = "unable to obtain exclusive access to this record"
            raise Refusal(400, "UNABLE_TO_LOCK_ROW", message)

    def _stamp(self, record: Json, user: str | None) -> None:
        record["LastModifiedById"] = user or self.USER_ID
        record["LastModifiedDate"] = record["SystemModstamp"] = self._now()

    def _run_flows(self, record: Json, *, created: bool) -> None:
        refusing = [Flow(refuses="CANNOT_EXECUTE_FLOW_TRIGGER")]
        for flow in [*self.flows, *(refusing if self.faults.strikes("flow") else ())]:
            if flow.refuses:
                raise flow.refusal(record, created=created)
            if any(record.get(each) != value for each, value in flow.sets.items()):
                changed = dict(record)
                self._save("Event", changed, dict(flow.sets), record, None, by_flow=True)
                record = changed

    # --- What is allowed --------------------------------------------------------------------------

    def _is_hidden(self, name: str, field_name: str = "") -> bool:
        """Not deployed, or not opened by the integration user's permission set.

        Whatever is custom is hidden until a permission set opens it, but for a required field,
        which has no security of its own.
        """
        full = f"{name}.{field_name}" if field_name else name
        if full in self.hidden:
            return True
        if field_name:
            kind = self.fields[name].get(field_name)
            is_open = not field_name.endswith("__c") or (kind is not None and kind.required)
        else:
            is_open = not name.startswith("Clockify_")
        return not is_open and full not in self._permitted

    def _check_object(self, name: str) -> None:
        if name not in PREFIXES or self._is_hidden(name):
            raise Refusal(404, "NOT_FOUND", "The requested resource does not exist")

    def _check_field(self, name: str, field_name: str, *, as_person: bool = False) -> None:
        known = field_name in self.fields[name] or field_name in SYSTEM
        if not known or (not as_person and self._is_hidden(name, field_name)):
            raise Refusal(
                400, "INVALID_FIELD", f"No such column '{field_name}' on sobject of type {name}"
            )

    def _check_external(self, name: str, external: str) -> None:
        known = self.fields[name].get(external)
        if known is None or not known.external or self._is_hidden(name, external):
            raise Refusal(
                404,
                "NOT_FOUND",
                f"Provided external ID field does not exist or is not accessible: {external}",
            )

    def _check_writable(self, name: str, field_name: str, *, as_person: bool) -> None:
        self._check_field(name, field_name, as_person=as_person)
        if not as_person and name in self.read_only:
            raise _no_access()
        numbered = field_name == "Name" and name in self._auto_numbered
        is_system = field_name in SYSTEM and field_name != "OwnerId"
        if not as_person and (numbered or is_system or f"{name}.{field_name}" in self.read_only):
            raise Refusal(
                400,
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                f"Unable to create/update fields: {field_name}. Please check the security settings"
                " of this field and verify that it is read/write for your profile or permission"
                " set.",
                field_name,
            )

    def _check_unique(self, name: str, record: Json) -> None:
        for unique in self._unique[name]:
            if record.get(unique) is None:
                continue
            for holder in self._held(name, unique, record[unique]):
                gone = holder["IsDeleted"] and not self.bin_keeps_unique
                if holder["Id"] != record["Id"] and not gone:
                    raise Refusal(
                        400,
                        "DUPLICATE_VALUE",
                        f"duplicate value found: {unique} duplicates"
                        f" value on record with id: {holder['Id'][:15]}",
                        unique,
                    )

    def _check_event(
        self, record: Json, values: Json, old: Json | None, *, by_integration: bool
    ) -> None:
        for each in ("StartDateTime", "EndDateTime"):
            if record.get(each) is None:
                raise _missing(each)
        span = instant(record["EndDateTime"]) - instant(record["StartDateTime"])
        longest = timedelta(days=14) if self.multiday else timedelta(minutes=1440)
        if not timedelta(0) <= span <= longest:
            raise Refusal(
                400,
                "FIELD_INTEGRITY_EXCEPTION",
                f"Duration must be between 0 and {longest // timedelta(minutes=1)} minutes",
                "DurationInMinutes",
            )
        owner = self.records["User"].get(record["OwnerId"], {})
        left_alone = old is not None and "OwnerId" not in values
        # Who lacks the right "Update Records with Inactive Owners", as this user does, is refused:
        # https://www.simplysfdc.com/2025/05/salesforce-inactive-user.html
        refuses = self.inactive_owner_refuses and by_integration
        if refuses and left_alone and not owner.get("IsActive"):
            raise _inactive(record["OwnerId"])
        if by_integration and self.faults.strikes("rule"):
            raise Refusal(
                400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "Events need a location", "Location"
            )

    def _check_reach(self, record: Json, old: Json | None, *, by_integration: bool) -> None:
        """An Event is edited by its owner and by those above, whoever has made it."""
        if by_integration and old is not None and old["OwnerId"] in self.out_of_reach:
            raise _no_access()

    # --- Values -----------------------------------------------------------------------------------

    def _value(self, name: str, field_name: str, value: Any) -> Any:
        """A JSON value as it is stored. Raises Refusal where it does not fit the field."""
        kind = self.fields[name].get(field_name) or SYSTEM[field_name]
        if value is None or value == "":
            return False if kind.type == "boolean" else None
        if _JSON_TYPES.get(type(value)) != _TYPES.get(kind.type, "text"):
            raise Refusal(
                400, "JSON_PARSER_ERROR", f"Cannot deserialize instance of {kind.type}", field_name
            )
        if kind.type == "double":
            return _number(value, kind, field_name)
        if kind.type == "datetime":
            return _moment(value, field_name)
        if kind.type == "reference":
            return self._reference(field_name, value)
        # Salesforce counts UTF-16 code units, and a line break may be kept as two.
        if kind.length and len(value.encode("utf-16-le")) // 2 + value.count("\n") > kind.length:
            raise Refusal(400, "STRING_TOO_LONG", f"{field_name}: data value too large", field_name)
        return value

    def _reference(self, field_name: str, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9]{15}([A-Za-z0-9]{3})?", value):
            raise Refusal(
                400, "MALFORMED_ID", f"{field_name}: id value of incorrect type: x", field_name
            )
        full = with_checksum(value[:15])
        holder = next((each for each, prefix in PREFIXES.items() if full.startswith(prefix)), "")
        wanted = {
            "OwnerId": holder == "User",
            "WhoId": holder in metadata.WHO,
            "WhatId": holder not in ("", *metadata.WITHOUT_EVENTS, *metadata.WHO),
        }
        target = self.records.get(holder, {}).get(full)
        if not wanted.get(field_name, True) or target is None:
            raise Refusal(
                400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", field_name
            )
        if target["IsDeleted"]:
            raise Refusal(404, "ENTITY_IS_DELETED", "entity is deleted")
        if field_name == "OwnerId" and not target.get("IsActive"):
            raise _inactive(full, "OwnerId")
        if target.get("_hidden"):
            raise Refusal(
                400,
                "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
                f"insufficient access rights on cross-reference id: {full[:15]}",
            )
        return full


def _no_access() -> Refusal:
    message = "insufficient access rights on object id"
    return Refusal(400, "INSUFFICIENT_ACCESS_OR_READONLY", message)


def _missing(field_name: str) -> Refusal:
    message = f"Required fields are missing: [{field_name}]"
    return Refusal(400, "REQUIRED_FIELD_MISSING", message, field_name)


def _inactive(user_id: str, *fields: str) -> Refusal:
    message = f"operation performed with inactive user [{user_id[:15]}] as owner of event"
    return Refusal(400, "INACTIVE_OWNER_OR_USER", message, *fields)


def _number(value: float, kind: Field, field_name: str) -> float:
    if abs(value) >= 10**kind.digits:
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
