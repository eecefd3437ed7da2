"""What differs from org to org: currencies, person accounts, duplicate rules, fields of its own."""

from typing import Literal

from sandbox.salesforce.activities import Activities
from sandbox.salesforce.faults import CALLER, Json, Refusal
from sandbox.salesforce.metadata import Field
from sandbox.salesforce.values import missing

_RULE = "Standard_Account_Duplicate_Rule"


class Variations(Activities):
    """What a test may switch on; a new org has none of it."""

    def reset(self) -> None:
        """Forget all records, and everything that was switched on."""
        self.currencies: tuple[str, ...] = ()
        self.has_person_accounts = False
        super().reset()
        # Whether an Account that the API makes is a person's where it says nothing else: then the
        # user's default record type is a person's.
        self.person_is_default = False
        # What the duplicate rule on Account does, which matches by name.
        self.duplicate_rule: Literal["", "alert", "block"] = ""
        # Whether it looks at every update, or at those of a name alone: an admin's choice.
        self.duplicates_on_edit = True

    def use_currencies(self, *codes: str) -> None:
        """Switch multicurrency on; the first is the corporate currency.

        Every record then has a CurrencyIsoCode, which elsewhere no object has.
        https://help.salesforce.com/s/articleView?id=xcloud.admin_enable_multicurrency_implications.htm
        """
        self.currencies = codes
        self._learn()

    def use_person_accounts(self, *, by_default: bool = False) -> None:
        """Switch person accounts on, which no org goes back from.

        https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_guidelines_personaccounts.htm
        """
        self.has_person_accounts, self.person_is_default = True, by_default
        self._learn()

    def _learn(self) -> None:
        super()._learn()
        if self.currencies:
            for name, known in self.fields.items():
                if name != "TaskStatus":
                    known["CurrencyIsoCode"] = Field("picklist", 3, values=self.currencies)
        if self.has_person_accounts:
            self.fields["Account"] |= {
                "IsPersonAccount": Field("boolean", calculated=True),
                "FirstName": Field("string", 40),
                "LastName": Field("string", 80),
            }

    def require(self, name: str, field_name: str) -> None:
        """Give an object a required text field of the org's own."""
        self.add_field(name, field_name, Field("string", 255, required=True))

    def _new_values(self, name: str, values: Json, *, as_person: bool) -> Json:
        fresh: Json = {}
        if "CurrencyIsoCode" in self.fields[name]:
            fresh["CurrencyIsoCode"] = self.currencies[0]
        if name == "Account" and self.has_person_accounts:
            by_default = self.person_is_default and not as_person
            fresh["IsPersonAccount"] = by_default or "LastName" in values
        return fresh

    def _settle_person(self, record: Json, values: Json) -> None:
        """A person account's name is made of the person's.

        https://help.salesforce.com/s/articleView?id=000386207
        """
        if not self.has_person_accounts:
            return
        is_person = bool(record.get("IsPersonAccount"))
        for each in ("Name",) if is_person else ("FirstName", "LastName"):
            if values.get(each) is not None:
                message = f"Account: bad field names on insert/update call: {each}"
                raise Refusal(400, "INVALID_FIELD_FOR_INSERT_UPDATE", message, each)
        if is_person:
            if record.get("LastName") is None:
                raise missing("LastName")
            names = (record.get("FirstName"), record["LastName"])
            record["Name"] = " ".join(each for each in names if each)

    def _check_duplicates(self, record: Json, old: Json | None) -> None:
        """The duplicate rule, with an answer like those that public integrations keep.

        https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_duplicateresult.htm
        """
        if not self.duplicate_rule:
            return
        if old is not None and old["Name"] == record["Name"] and not self.duplicates_on_edit:
            return
        others = [
            each["Id"]
            for each in self._held("Account", "Name", record["Name"])
            if each["Id"] != record["Id"] and not each["IsDeleted"]
        ]
        may_save = self.duplicate_rule == "alert"
        if others and not (may_save and CALLER.get().saves_duplicates):
            result = _duplicate_result(others, may_save=may_save)
            message = "Use one of these records?"
            raise Refusal(400, "DUPLICATES_DETECTED", message, duplicateResult=result)


def _duplicate_result(others: list[str], *, may_save: bool) -> Json:
    found = [
        {
            "additionalInformation": [],
            "fieldDiffs": [],
            "matchConfidence": 100.0,
            "record": {"attributes": {"type": "Account"}, "Id": record_id},
        }
        for record_id in others
    ]
    match = {
        "entityType": "Account",
        "errors": [],
        "matchEngine": "FuzzyMatchEngine",
        "matchRecords": found,
        "rule": "Standard_Account_Match_Rule_v1_0",
        "size": len(found),
        "success": True,
    }
    return {
        "allowSave": may_save,
        "duplicateRule": _RULE,
        "duplicateRuleEntityType": "Account",
        "errorMessage": "Use one of these records?",
        "matchResults": [match],
    }
