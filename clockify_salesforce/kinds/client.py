"""A client of Clockify's: the company's own Account gets its id, and nothing else of it changes.

https://docs.clockify.me/#tag/Client
"""

from clockify_salesforce.decisions import Match, Target
from clockify_salesforce.kinds.kind import Body, Kind

ACCOUNT = Target("Account", "Clockify_Client_Id__c")


def read(body: Body, gone: bool) -> Match:
    """Read a client. Raises BadMessage where it has no id."""
    return Match("client", body.id, ACCOUNT, body.name("name") or "", gone)


KIND = Kind(
    name="client",
    writes=frozenset({"NEW_CLIENT", "CLIENT_UPDATED"}),
    deletes=frozenset({"CLIENT_DELETED"}),
    target=ACCOUNT,
    read=read,
    keys=frozenset({"id", "workspaceId", "name"}),
    path="clients/{id}",
    sample=("name", "Webhook Test Client"),
)
