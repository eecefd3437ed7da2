"""An invoice of Clockify's with its lines, exact to the cent: all of it is written, or nothing.

Money comes in hundredths. An item's amount is taken and never multiplied: Clockify has rounded it.
https://docs.clockify.me/#tag/Invoice
"""

from clockify_salesforce.decisions import Line, Lines, Record, Reference, Target
from clockify_salesforce.errors import UnusableEntry
from clockify_salesforce.kinds.client import ACCOUNT
from clockify_salesforce.kinds.kind import Body, Kind

INVOICE = Target("Clockify_Invoice__c", "Clockify_Invoice_Id__c")
LINE = Target("Clockify_Invoice_Line__c", "Key__c")
NAME_LIMIT = 80
# One call that is carried out as a whole has 500 parts; some are for lines that go away.
MOST_LINES = 450


def read(body: Body, gone: bool) -> Record:
    """Read an invoice. Raises BadMessage where it has no id, UnusableEntry for amounts or days."""
    fields = {
        "Name": body.name("number", NAME_LIMIT),
        "Status__c": body.name("status"),
        "Issued__c": body.day("issuedDate"),
        "Due__c": body.day("dueDate"),
        "Currency__c": body.name("currency"),
        "Subtotal__c": body.hundredths("subtotal"),
        "Discount__c": body.hundredths("discountAmount"),
        "Tax__c": body.hundredths("taxAmount"),
        "Tax_2__c": body.hundredths("tax2Amount"),
        "Amount__c": body.hundredths("amount"),
        "Subject__c": body.name("subject"),
        "Note__c": body.text("note"),
        "Client__c": body.name("clientName"),
    }
    if workspace_id := body.reference("workspaceId"):
        fields["Clockify_Workspace_Id__c"] = workspace_id
    return Record(
        "invoice",
        body.id,
        INVOICE,
        fields,
        references=(Reference("Account__c", ACCOUNT, body.reference("clientId")),),
        lines=_lines(body),
        gone=gone,
    )


def _lines(body: Body) -> Lines:
    """The lines, each known by its place; the last of several with the same place counts."""
    lines: dict[str, Line] = {}
    for at, item in enumerate(body.each("items"), 1):
        order = item.whole("order")
        order = at if order is None else order
        key = f"{body.id}-{order}"
        lines[key] = Line(
            key,
            {
                "Order__c": order,
                "Quantity__c": item.hundredths("quantity"),
                "Description__c": item.text("description"),
                "Unit_Price__c": item.hundredths("unitPrice"),
                "Amount__c": item.hundredths("amount"),
            },
        )
    if len(lines) > MOST_LINES:
        raise UnusableEntry(
            f"invoice items: more than {MOST_LINES} cannot be written as a whole: split the"
            " invoice in Clockify",
            entry_id=body.id,
        )
    return Lines(LINE, "Invoice__c", tuple(lines.values()))


KIND = Kind(
    name="invoice",
    writes=frozenset({"NEW_INVOICE", "INVOICE_UPDATED"}),
    deletes=frozenset(),
    target=INVOICE,
    read=read,
    keys=frozenset(
        {
            *("id", "workspaceId", "number", "status", "issuedDate", "dueDate", "currency"),
            *("subtotal", "discountAmount", "taxAmount", "tax2Amount", "amount", "subject"),
            *("note", "clientId", "clientName", "items"),
        }
    ),
    within={"items": frozenset({"order", "quantity", "description", "unitPrice", "amount"})},
    path="invoices/{id}",
    sample=("number", "Webhook Test Number"),
)
