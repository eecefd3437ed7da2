"""What Salesforce does to store a record: types, required fields, rules, unique values, flows.

https://developer.salesforce.com/docs/atlas.en-us.apexcode.meta/apexcode/apex_triggers_order_of_execution.htm
"""

from sandbox import formula
from sandbox.salesforce.faults import CALLER, Faults, Flow, Json, Refusal
from sandbox.salesforce.metadata import ACTIVITIES
from sandbox.salesforce.records import ADMIN_ID, with_checksum
from sandbox.salesforce.values import missing
from sandbox.salesforce.variations import Variations

# What the faults of an org's own leave alone.
_SPARED = ("Clockify_State__c", "User")


class Saving(Variations):
    """Writes, each in a transaction. `user`: None where the integration writes through the API."""

    def reset(self) -> None:
        """Forget all records, and everything that was switched on."""
        super().reset()
        self.rules_off: set[str] = set()  # objects whose validation rules are switched off
        self.faults = Faults()
        self.flows: list[Flow] = []  # the customer's own

    def insert(
        self, name: str, values: Json, *, record_id: str | None = None, user: str | None = None
    ) -> str:
        """Store a new record and return its id. Raises Refusal."""
        user = user or _user_of_call()
        if user is None:
            self._check_may("create", name)
        self._number += 1
        record_id = record_id or with_checksum(f"{self.prefixes[name]}Kj{self._number:010d}")
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
        if self.objects[name].is_auto_numbered:
            fresh["Name"] = f"{self._number:010d}"
        elif name.endswith("__c"):
            fresh["Name"] = record_id  # where nobody gives a name
        if name in ACTIVITIES:
            fresh |= self._new_activity(name)
        fresh |= self._new_values(name, values, as_person=user is not None)
        self._save(name, fresh, values, None, user)
        return record_id

    def update(self, name: str, record_id: str, values: Json, *, user: str | None = None) -> None:
        """Change a live record. Raises Refusal."""
        user = user or _user_of_call()
        if user is None:
            self._check_may("edit", name)
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
        user = user or _user_of_call()
        with self.transaction():
            if user is None:
                self._lock(name)
                self._check_may("delete", name)
            record = dict(self._live(name, record_id))
            self._let_go(name, record["Id"], user)
            record["IsDeleted"] = True
            self._stamp(record, user)
            self._store(name, record)

    def _let_go(self, name: str, record_id: str, user: str | None) -> None:
        """Do to the records that look a deleted one up what the lookup fields say.

        https://developer.salesforce.com/docs/atlas.en-us.api_meta.meta/api_meta/customfield.htm
        """
        for other, known in self.fields.items():
            for each, field in known.items():
                if not each.endswith("__c") or name not in field.refers:
                    continue
                children = list(self._held(other, each, record_id))
                for child in children:
                    if child["IsDeleted"]:
                        continue
                    if field.on_delete == "Restrict":
                        message = "Your attempt to delete could not be completed: records use it"
                        raise Refusal(400, "DELETE_FAILED", message)
                    if field.on_delete == "Cascade":
                        self.delete(other, child["Id"], user=user or ADMIN_ID)
                    else:
                        emptied = child | {each: None}
                        self._stamp(emptied, user)
                        self._store(other, emptied)

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
        by_integration = user is None
        with self.transaction():
            if by_integration and not by_flow:
                self._lock(name)
            values = self._with_relations(name, values, as_person=not by_integration)
            for each, value in values.items():
                if not by_flow:
                    self._check_writable(name, each, as_person=not by_integration)
                record[each] = self._value(name, each, value)
            if name == "Account":
                self._settle_person(record, values)
            for each, kind in self.fields[name].items():
                if kind.required and record.get(each) is None:
                    raise missing(each)
            self._check_activity(name, record, values, old, by_integration=by_integration)
            if by_integration:
                self._meet_own_rule(name)
            self._check_rules(name, record, old)
            if name == "Account":
                self._check_duplicates(record, old)
            self._check_unique(name, record)
            self._stamp(record, user)
            self._store(name, record)
            if by_integration and not by_flow:
                self._run_flows(name, record, created=old is None)

    def _lock(self, name: str) -> None:
        if self.faults.strikes_at("lock", name):
            message = "unable to obtain exclusive access to this record"
            raise Refusal(400, "UNABLE_TO_LOCK_ROW", message)

    def _stamp(self, record: Json, user: str | None) -> None:
        record["LastModifiedById"] = user or self.USER_ID
        record["LastModifiedDate"] = record["SystemModstamp"] = self._now()

    def _meet_own_rule(self, name: str) -> None:
        if name not in _SPARED and self.faults.strikes_at("rule", name):
            message, *field = ("Events need a location", "Location")
            if name != "Event":
                message, field = f"{name}: somebody must look at it first", []
            raise Refusal(400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", message, *field)

    def _check_rules(self, name: str, record: Json, old: Json | None) -> None:
        for rule in self.objects[name].rules if name not in self.rules_off else ():
            if formula.evaluate(rule.formula, new=record, old=old):
                at = [rule.field] if rule.field else []
                raise Refusal(400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message, *at)

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

    def _run_flows(self, name: str, record: Json, *, created: bool) -> None:
        flows = [each for each in self.flows if each.object == name]
        if name not in _SPARED and self.faults.strikes_at("flow", name):
            flows.append(Flow(refuses="CANNOT_EXECUTE_FLOW_TRIGGER", object=name))
        for flow in flows:
            if flow.refuses:
                raise flow.refusal(record, created=created)
            if any(record.get(each) != value for each, value in flow.sets.items()):
                changed = dict(record)
                self._save(name, changed, dict(flow.sets), record, None, by_flow=True)
                record = changed


def _user_of_call() -> str | None:
    return ADMIN_ID if CALLER.get().is_admin else None
