"""What an Event is written with, and how it gives way to what Salesforce refuses of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from clockify_salesforce.salesforce.errors import LINK_FIELDS, LINKS, RULE, SalesforceRefused
from mapping import EXTERNAL_ID, VERSION, Field, Upsert

_NO_ID = 18 * "-"
_LINK_CODES = {
    "INVALID_CROSS_REFERENCE_KEY",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
    "ENTITY_IS_DELETED",
    "FIELD_INTEGRITY_EXCEPTION",
    "MALFORMED_ID",
    "TRANSFER_REQUIRES_READ",
    "INSUFFICIENT_ACCESS_OR_READONLY",
}
_OWNER_CODES = {"INACTIVE_OWNER_OR_USER", "OP_WITH_INVALID_USER_TYPE_EXCEPTION"}


@dataclass(frozen=True, slots=True)
class Links:
    """Owner and links of an Event: field -> Salesforce id, None to clear; no key: leave alone.

    `notes`: look-ups that failed and were left out, for the log. `failed`: one had no answer, so
    that Clockify's wish is not known as a whole.

    Clockify's choice and a person's in Salesforce are told apart by a mark: `Clockify_Links__c`
    keeps the three ids that Clockify asked for last, and a validation rule for each field refuses
    another value while its id in the mark stays the same. So what a person has chosen stays until
    the person, project, client or link is changed in Clockify, or what they are matched with; a new
    project replaces Related To and leaves alone an owner chosen by hand. What Salesforce refuses
    for another reason is taken out of the mark, so that it is tried again. While a look-up fails
    the mark is not written: a new Event takes what is known, an old one keeps what it has.
    """

    fields: Mapping[str, str | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failed: bool = False


def event_body(decision: Upsert, version: int, links: Links) -> dict[str, Field | int]:
    """What an Event is written with, all but its external id."""
    body: dict[str, Field | int] = {**decision.event, VERSION: version, **links.fields}
    if links.fields and not links.failed:
        body[LINKS] = _mark(body)
    return body


def give_way(
    body: dict[str, Field | int], refusal: SalesforceRefused, decision: Upsert
) -> list[str]:
    """Take out of `body` what Salesforce refuses and the Event can do without, and name it.

    Each call removes something, so the caller's loop ends. Raises the refusal itself where
    nothing is left to remove.
    """
    present = [name for name in LINK_FIELDS if name in body]
    blamed = [
        name for name in present if name in refusal.fields or str(body[name])[:15] in refusal.ids
    ]
    if LINKS in refusal.fields and refusal.code == RULE and blamed:
        # The mark stays as it is, and with it what the person chose.
        for name in blamed:
            del body[name]
        return [f"{name}: left as somebody chose it in Salesforce" for name in blamed]
    if LINKS in refusal.fields:  # not deployed
        names = [LINKS]
    elif refusal.code in _OWNER_CODES:
        names = ["OwnerId"]
    elif refusal.code in _LINK_CODES and blamed:
        names = blamed
    elif (
        refusal.code == "FIELD_INTEGRITY_EXCEPTION"
        and decision.shortened
        and body["EndDateTime"] != decision.shortened["EndDateTime"]
    ):
        body |= decision.shortened
        return []
    elif refusal.code in _LINK_CODES:
        names = [name for name in present if name != "OwnerId" and body[name]] or ["OwnerId"]
    else:
        names = []
    names = [name for name in names if name in body]
    if not names:
        raise refusal
    for name in names:
        del body[name]
    if LINKS in body:
        marked = zip(LINK_FIELDS, str(body[LINKS]).split(" "), strict=True)
        body[LINKS] = " ".join(_NO_ID if name in names else each for name, each in marked)
    return [f"{name}: {refusal.code}" for name in names if name != LINKS]


def hidden_event(refusal: SalesforceRefused) -> str | None:
    """The path of the Event that holds the entry's id although it is not found by it.

    An archived one, which ended over a year ago, can be written by its own id; one in the recycle
    bin cannot, and whether it holds on to the id is nowhere said.
    """
    found = [each for each in refusal.ids if each.startswith("00U")]
    duplicate = refusal.code == "DUPLICATE_VALUE" and EXTERNAL_ID in refusal.fields
    return f"sobjects/Event/{found[0]}" if duplicate and found else None


def _mark(fields: Mapping[str, object]) -> str:
    """The ids in places of 18 characters, which is where the validation rules look for them."""
    return " ".join(str(fields.get(name) or _NO_ID) for name in LINK_FIELDS)
