"""A project of Clockify's: a record of Clockify_Project__c, which stays when it is deleted there.

https://docs.clockify.me/#tag/Project
"""

from clockify_salesforce.decisions import Record, Reference, Target
from clockify_salesforce.kinds.client import ACCOUNT
from clockify_salesforce.kinds.kind import Body, Kind

PROJECT = Target("Clockify_Project__c", "Clockify_Project_Id__c")
NAME_LIMIT = 80  # of the name of a custom object's record


def read(body: Body, gone: bool) -> Record:
    """Read a project. Raises BadMessage where it has no id."""
    name, client = body.name("name"), body.within("client")
    estimate = body.within("timeEstimate").hours("estimate")
    client_id = body.reference("clientId") or client.reference("id")
    return Record(
        "project",
        body.id,
        PROJECT,
        {
            "Name": body.name("name", NAME_LIMIT),
            "Full_Name__c": name,
            "Client__c": body.name("clientName") or client.name("name"),
            "Billable__c": body.flag("billable"),
            "Archived__c": body.flag("archived"),
            "Deleted__c": gone,
            "Note__c": body.text("note"),
            "Color__c": body.name("color"),
            "Estimate_Hours__c": (
                body.within("estimate").hours("estimate") if estimate is None else estimate
            ),
            "Tracked_Hours__c": body.hours("duration"),
            "Clockify_Workspace_Id__c": body.reference("workspaceId"),
        },
        references=(Reference("Account__c", ACCOUNT, client_id),),
        gone=gone,
    )


KIND = Kind(
    name="project",
    writes=frozenset({"NEW_PROJECT", "PROJECT_UPDATED"}),
    deletes=frozenset({"PROJECT_DELETED"}),
    target=PROJECT,
    read=read,
    keys=frozenset(
        {
            *("id", "workspaceId", "name", "clientId", "clientName", "client", "billable"),
            *("archived", "note", "color", "estimate", "timeEstimate", "duration"),
        }
    ),
    path="projects/{id}",
    sample=("name", "Webhook Test Project"),
)
