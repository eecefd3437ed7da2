"""What Salesforce's error codes mean: what passes by itself, and what an admin has to do.

https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_concepts_core_data_objects.htm
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from clockify_salesforce.errors import IntegrationError, SalesforceUnavailable
from clockify_salesforce.salesforce.wish import LINK_FIELDS
from mapping import EXTERNAL_ID

LINKS = "Clockify_Links__c"
STATE = "Clockify_State__c"
RULE = "FIELD_CUSTOM_VALIDATION_EXCEPTION"
# Of the parts of a composite call that were rolled back with the one that failed.
HALTED = "PROCESSING_HALTED"
# How Salesforce wraps what the org's own automation raises.
_AUTOMATION = {"CANNOT_EXECUTE_FLOW_TRIGGER", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"}
_PASSING = {
    "SERVER_UNAVAILABLE",
    "UNABLE_TO_LOCK_ROW",
    "REQUEST_RUNNING_TOO_LONG",
    "QUERY_TIMEOUT",
    "UNKNOWN_EXCEPTION",
    "INVALID_SESSION_ID",
}
# Another call has just made the record, or deleted it: the same upsert again updates, or makes it.
_PASSING_UPSERT = {"DUPLICATE_VALUE", "ENTITY_IS_DELETED"}
LINK_CODES = {
    "INVALID_CROSS_REFERENCE_KEY",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
    "ENTITY_IS_DELETED",
    "FIELD_INTEGRITY_EXCEPTION",
    "MALFORMED_ID",
    "TRANSFER_REQUIRES_READ",
    "INSUFFICIENT_ACCESS_OR_READONLY",
}
# What was to be written or deleted is not there any more.
GONE = {"NOT_FOUND", "ENTITY_IS_DELETED"}
OWNER_CODES = {"INACTIVE_OWNER_OR_USER", "OP_WITH_INVALID_USER_TYPE_EXCEPTION"}
_DEPLOY = (
    "deploy it with 'sf project deploy start --source-dir force-app' and assign the permission set"
    " Clockify_Integration (docs/salesforce.md)"
)
_DATA = (
    "deploy force-app/main/data and assign the permission set Clockify_Data to the integration"
    " user (docs/kinds.md)"
)
_OF_EVENTS = ("Event", STATE)
# By code; {it}: what is refused, as the API calls it; {an}: the same with its article; {fields}.
_ADVICE = {
    "NOT_FOUND": f"Event.{EXTERNAL_ID} or {STATE} is missing or hidden from the integration user:"
    f" {_DEPLOY}",
    "INVALID_FIELD": f"a field is missing or hidden from the integration user: {_DEPLOY}",
    "INVALID_TYPE": f"an object is missing or hidden from the integration user: {_DEPLOY}",
    "INSUFFICIENT_ACCESS_OR_READONLY": "the integration user may not edit this person's {it}s:"
    " give it a role above theirs (docs/salesforce.md)",
    "INVALID_FIELD_FOR_INSERT_UPDATE": "the integration user may see {fields} and not write it:"
    " assign it the permission set Clockify_Integration (docs/salesforce.md)",
    RULE: "a validation rule of the org refuses this {it}: let it pass the integration user",
    "REQUIRED_FIELD_MISSING": "the org asks for {fields} in every {it}, and Clockify has nothing"
    " for it: give the field a default value, or require it in page layouts only (Setup > Object"
    " Manager)",
    "REQUEST_LIMIT_EXCEEDED": "the org has used up its API calls",
    "DUPLICATE_VALUE": "another {it} holds the entry's id: look for it, in the recycle bin too,"
    " and delete it for good",
    "ENTITY_IS_DELETED": "what holds the entry's id lies in the recycle bin: empty that",
    "API_DISABLED_FOR_ORG": "the API is switched off for this org or user",
}
_OTHERWISE = "see what the org asks of {an} and of the integration user"
# What differs for the objects of the other kinds.
_ADVICE_OF_KINDS = {
    "NOT_FOUND": f"it is missing or hidden from the integration user: {_DATA}",
    "INVALID_FIELD": f"a field is missing or hidden from the integration user: {_DATA}",
    "INVALID_TYPE": f"an object is missing or hidden from the integration user: {_DATA}",
    "INSUFFICIENT_ACCESS_OR_READONLY": "the integration user may not edit this {it}: assign it the"
    " permission set Clockify_Data, and see that sharing lets it (docs/kinds.md)",
    "INVALID_FIELD_FOR_INSERT_UPDATE": "the integration user may see {fields} and not write it:"
    " assign it the permission set Clockify_Data (docs/kinds.md)",
}
_ADVICE_OF_TASKS = {
    "INSUFFICIENT_ACCESS_OR_READONLY": "the integration user may not edit this person's Tasks: give"
    " it a role above theirs (docs/salesforce.md) and the permission set Clockify_Data",
}
_BY_HAND = "give the right Account Clockify_Client_Id__c by hand"
_PERSON = (
    "an Account that the integration user makes is a Person Account, which takes no Name: make a"
    " business record type the default of its profile (Setup > Profiles > Object Settings >"
    f" Accounts), or {_BY_HAND} (docs/kinds.md)"
)
_MAY_NOT_CREATE = (
    "the integration user may not create {an}: assign it the permission set Clockify_Data"
    " (docs/kinds.md)"
)
_ALERTS = (
    "a duplicate rule of the org alerts to {an} like it: "
    f'{_BY_HAND}, or set duplicate_alerts = "pass" under [clients] in mapping.toml (docs/kinds.md)'
)
_BLOCKS = (
    "a duplicate rule of the org blocks {an} like one that is there: "
    f"{_BY_HAND}, or let the rule pass the integration user (Setup > Duplicate Rules)"
)
_FLOW_NAME = re.compile('[\u201c"]([^\u201c\u201d"]{1,80})[\u201d"] (?:process|flow) failed')
_NO_CREATE = re.compile(r"entity type cannot be inserted\b")
_TRIGGER_NAME = re.compile(r"^(\w{1,80}): execution of")


class SalesforceRefused(IntegrationError):
    """Salesforce will refuse it until an admin has mended something; the message says what."""

    def __init__(
        self,
        code: str,
        fields: Iterable[str] = (),
        ids: Iterable[str] = (),
        *,
        part: str = "",
        object: str = "Event",
        because: str = "",
    ) -> None:
        """`code`: Salesforce's errorCode; its own message may quote the record and is left out.

        `ids`: the first 15 characters of the records that the message names. `part`: of a composite
        call, its referenceId; `object`: whose record is refused. `because`: what is known of the
        cause and what mends it, where the code alone does not tell.
        """
        self.code = code
        self.fields = tuple(fields)
        self.ids = frozenset(ids)
        self.part = part
        where = f" ({', '.join(self.fields)})" if self.fields else ""
        advice = because or _advice(code, object).format(
            it=object,
            an=f"{'an' if object[:1] in 'AEIOU' else 'a'} {object}",
            fields=", ".join(self.fields) or "a field",
        )
        super().__init__(f"Salesforce refuses the {object}: {code}{where}: {advice}")


def _advice(code: str, name: str) -> str:
    of_tasks = _ADVICE_OF_TASKS if name == "Task" else {}
    of_kinds = _ADVICE_OF_KINDS if name not in _OF_EVENTS else {}
    return of_tasks.get(code) or of_kinds.get(code) or _ADVICE.get(code) or _OTHERWISE


def refusal_of(
    error: Mapping[str, Any],
    *,
    last: bool,
    part: str = "",
    object: str = "Event",
) -> SalesforceRefused | None:
    """One error of Salesforce's, read as JSON, as an exception; None where another try may help.

    Of a call, of a part of one, or of one record of a collection. `last`: no further try of an
    upsert follows. `object`: whose record it is. Raises SalesforceUnavailable where another try
    would only cost a call.
    """
    code = str(error.get("errorCode") or error.get("statusCode"))
    message = str(error.get("message"))
    if code == "REQUEST_LIMIT_EXCEEDED" and "ConcurrentRequests" not in message:
        raise SalesforceUnavailable(f"Salesforce cannot take it now: {_ADVICE[code]} ({code})")
    if (
        code in _PASSING
        or code == "REQUEST_LIMIT_EXCEEDED"
        or "UNABLE_TO_LOCK_ROW" in message
        or (code in _PASSING_UPSERT and not last)
    ):
        return None
    because = _cause(code, error, object)
    automation = code in _AUTOMATION and not because
    because = _automation(message) if automation else because
    # Some errors name the field in their message only, and an automation hides the code there.
    named = [name for name in (EXTERNAL_ID, LINKS, *LINK_FIELDS) if name in message]
    named += re.findall(r"No such column '(\w{1,80})'", message)
    named += re.findall(r"bad field names on insert/update call: (\w{1,80})", message)
    hidden = next((each for each in OWNER_CODES if automation and each in message), code)
    fields = dict.fromkeys([*(error.get("fields") or []), *named])
    ids = re.findall(r"\b([A-Za-z0-9]{15})(?:[A-Za-z0-9]{3})?\b", message)
    return SalesforceRefused(
        hidden, map(str, fields), ids, part=part, object=object, because=because
    )


def _cause(code: str, error: Mapping[str, Any], name: str) -> str:
    """What Salesforce's answer tells of the cause beside its code, as advice; "" for most.

    https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_duplicateresult.htm
    """
    an = f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}"
    if code == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY" and _NO_CREATE.match(
        str(error.get("message"))
    ):
        return _MAY_NOT_CREATE.format(an=an)
    if code == "INVALID_FIELD_FOR_INSERT_UPDATE" and name == "Account":
        said = f"{error.get('fields')} {error.get('message')}"
        return _PERSON if re.search(r"\bName\b", said) else ""
    if code == "DUPLICATES_DETECTED":
        result = error.get("duplicateResult")
        may_save = isinstance(result, Mapping) and result.get("allowSave") is True
        return (_ALERTS if may_save else _BLOCKS).format(an=an)
    return ""


def _automation(message: str) -> str:
    """Which flow or trigger refused, and with which codes: never more of its words."""
    found = _FLOW_NAME.search(message) or _TRIGGER_NAME.search(message)
    name = f"'{found[1]}'" if found else "a flow or trigger"
    codes = ", ".join(dict.fromkeys(re.findall(r"\b[A-Z]{3,}(?:_[A-Z]+)+\b", message)))
    said = f" with {codes}" if codes else ""
    return f"{name} of the org's own automation refuses it{said}: have its owner mend it"


def meaning(status: int, content: Any, *, last: bool) -> tuple[SalesforceRefused | None, str]:
    """Tell what only an admin can mend from what may pass (None), with its name for the log.

    `status`, `content`: an HTTP answer that is no success. Raises SalesforceUnavailable where
    another try would only cost a call.
    """
    if status == 300:  # several records hold the id: the field has lost its Unique
        return SalesforceRefused("DUPLICATE_VALUE"), "HTTP 300"
    first = content[0] if isinstance(content, list) and content else None
    if not isinstance(first, dict) or status >= 500:  # a gateway in front answers HTML
        return None, f"HTTP {status}"
    code = str(first.get("errorCode"))
    return (None if status == 401 else refusal_of(first, last=last)), code
