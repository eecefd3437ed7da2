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
OWNER_CODES = {"INACTIVE_OWNER_OR_USER", "OP_WITH_INVALID_USER_TYPE_EXCEPTION"}
_DEPLOY = (
    "deploy it with 'sf project deploy start --source-dir force-app' and assign the permission set"
    " Clockify_Integration (docs/salesforce.md)"
)
_ADVICE = {
    "NOT_FOUND": f"Event.{EXTERNAL_ID} or {STATE} is missing or hidden from the integration user:"
    f" {_DEPLOY}",
    "INVALID_FIELD": f"a field is missing or hidden from the integration user: {_DEPLOY}",
    "INVALID_TYPE": f"an object is missing or hidden from the integration user: {_DEPLOY}",
    "INSUFFICIENT_ACCESS_OR_READONLY": "the integration user may not edit this person's Events:"
    " give it a role above theirs (docs/salesforce.md)",
    RULE: "a validation rule of the org refuses this Event: let it pass the integration user",
    "REQUEST_LIMIT_EXCEEDED": "the org has used up its API calls",
    "DUPLICATE_VALUE": "another Event holds the entry's id: look for it, in the recycle bin too,"
    " and delete it for good",
    "ENTITY_IS_DELETED": "what holds the entry's id lies in the recycle bin: empty that",
    "API_DISABLED_FOR_ORG": "the API is switched off for this org or user",
}
_FLOW_NAME = re.compile('[\u201c"]([^\u201c\u201d"]{1,80})[\u201d"] (?:process|flow) failed')
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
        automation: str = "",
    ) -> None:
        """`code`: Salesforce's errorCode; its own message may quote the record and is left out.

        `ids`: the first 15 characters of the records that the message names. `part`: of a composite
        call, its referenceId. `automation`: which flow or trigger of the org's refused, and how.
        """
        self.code = code
        self.fields = tuple(fields)
        self.ids = frozenset(ids)
        self.part = part
        where = f" ({', '.join(self.fields)})" if self.fields else ""
        advice = _ADVICE.get(code, "see what the org asks of an Event and of the integration user")
        super().__init__(f"Salesforce refuses the Event: {code}{where}: {automation or advice}")


def refusal_of(error: Mapping[str, Any], *, last: bool, part: str = "") -> SalesforceRefused | None:
    """One error of Salesforce's, read as JSON, as an exception; None where another try may help.

    Of a call, of a part of one, or of one record of a collection. `last`: no further try of an
    upsert follows. Raises SalesforceUnavailable where another try would only cost a call.
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
    automation = _automation(message) if code in _AUTOMATION else ""
    # Some errors name the field in their message only, and an automation hides the code there.
    named = [name for name in (EXTERNAL_ID, LINKS, *LINK_FIELDS) if name in message]
    named += re.findall(r"No such column '(\w{1,80})'", message)
    hidden = next((each for each in OWNER_CODES if automation and each in message), code)
    fields = dict.fromkeys([*(error.get("fields") or []), *named])
    ids = re.findall(r"\b([A-Za-z0-9]{15})(?:[A-Za-z0-9]{3})?\b", message)
    return SalesforceRefused(hidden, map(str, fields), ids, part=part, automation=automation)


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
