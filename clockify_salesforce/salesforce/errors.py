"""What Salesforce's error codes mean: what passes by itself, and what an admin has to do.

https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_concepts_core_data_objects.htm
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from simple_salesforce.exceptions import SalesforceError

from clockify_salesforce.errors import IntegrationError, SalesforceUnavailable
from mapping import EXTERNAL_ID, VERSION

LINK_FIELDS = ("OwnerId", "WhatId", "WhoId")
LINKS = "Clockify_Links__c"
RULE = "FIELD_CUSTOM_VALIDATION_EXCEPTION"

_PASSING = {
    "SERVER_UNAVAILABLE",
    "UNABLE_TO_LOCK_ROW",
    "REQUEST_RUNNING_TOO_LONG",
    "QUERY_TIMEOUT",
    "UNKNOWN_EXCEPTION",
    "INVALID_SESSION_ID",
}
# Another call has just made the Event, or deleted it: the same upsert again updates, or makes it.
_PASSING_UPSERT = {"DUPLICATE_VALUE", "ENTITY_IS_DELETED"}
_DEPLOY = (
    "deploy it with 'sf project deploy start --source-dir force-app' and assign the permission set"
    " Clockify_Integration"
)
_ADVICE = {
    "NOT_FOUND": f"Event.{EXTERNAL_ID} is missing or hidden from the integration user: {_DEPLOY}",
    "INVALID_FIELD": f"a field is missing or hidden from the integration user: {_DEPLOY}",
    "INSUFFICIENT_ACCESS_OR_READONLY": "the integration user may not edit this person's Events:"
    " give it a role above theirs (README, 'Salesforce')",
    RULE: "a validation rule of the org refuses this Event: let it pass the integration user",
    "REQUEST_LIMIT_EXCEEDED": "the org has used up its API calls",
    "DUPLICATE_VALUE": "another Event holds the entry's id: look for it, in the recycle bin too,"
    " and delete it for good",
    "ENTITY_IS_DELETED": "what holds the entry's id lies in the recycle bin: empty that",
    "API_DISABLED_FOR_ORG": "the API is switched off for this org or user",
}


class SalesforceRefused(IntegrationError):
    """Salesforce will refuse it until an admin has mended something; the message says what."""

    def __init__(self, code: str, fields: Iterable[str] = (), ids: Iterable[str] = ()) -> None:
        """`code`: Salesforce's errorCode; its own message may quote the record and is left out.

        `ids`: the first 15 characters of the records that the message names.
        """
        self.code = code
        self.fields = tuple(fields)
        self.ids = frozenset(ids)
        where = f" ({', '.join(self.fields)})" if self.fields else ""
        advice = _ADVICE.get(code, "see what the org asks of an Event and of the integration user")
        super().__init__(f"Salesforce refuses the Event: {code}{where}: {advice}")


def meaning(error: SalesforceError, *, last: bool) -> tuple[SalesforceRefused | None, str]:
    """Tell what only an admin can mend from what may pass (None), with its name for the log.

    `last`: no further try of an upsert follows. Raises SalesforceUnavailable where another try
    would only cost a call.
    """
    if error.status == 300:  # several Events hold the id: the field has lost its Unique
        return SalesforceRefused("DUPLICATE_VALUE"), "HTTP 300"
    content: Any = error.content
    first = content[0] if isinstance(content, list) and content else None
    if not isinstance(first, dict) or error.status >= 500:  # a gateway in front answers HTML
        return None, f"HTTP {error.status}"
    code = str(first.get("errorCode"))
    if code == "REQUEST_LIMIT_EXCEEDED":
        raise SalesforceUnavailable(f"Salesforce cannot take it now: {_ADVICE[code]} ({code})")
    refusal = None if error.status == 401 else refusal_of(first, last=last)
    return refusal, code


def refusal_of(error: Mapping[str, Any], *, last: bool) -> SalesforceRefused | None:
    """One error of Salesforce's, read as JSON, as an exception; None where another try may help.

    Of a call, or of one record of a collection. `last`: no further try of an upsert follows.
    """
    code, message = (
        str(error.get("errorCode") or error.get("statusCode")),
        str(error.get("message")),
    )
    if (
        code in _PASSING
        or "UNABLE_TO_LOCK_ROW" in message
        or (code in _PASSING_UPSERT and not last)
    ):
        return None
    # Some errors name the field in their message only.
    named = [name for name in (EXTERNAL_ID, VERSION, LINKS, *LINK_FIELDS) if name in message]
    fields = dict.fromkeys([*(error.get("fields") or []), *named])
    ids = re.findall(r"\b([A-Za-z0-9]{15})(?:[A-Za-z0-9]{3})?\b", message)
    return SalesforceRefused(code, map(str, fields), ids)
