"""A task of Clockify's: a Task of its first assignee's, related to what its project belongs to.

https://docs.clockify.me/#tag/Task
https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_task.htm
"""

from clockify_salesforce.decisions import Delete, Target, Upsert
from clockify_salesforce.kinds.kind import Body, Kind

TASK = Target("Task", "Clockify_Task_Id__c", "00T")
STATUSES = frozenset({"ACTIVE", "DONE"})


def read(body: Body, gone: bool) -> Upsert | Delete:
    """Read a task. Raises BadMessage where it has no id.

    A webhook's body names neither workspace nor client; the REST API's readers may add them.
    """
    if gone:
        return Delete(body.id, kind="task", target=TASK)
    workspace_id, status = body.reference("workspaceId"), body.name("status") or ""
    fields = {"Subject": body.name("name")}
    if workspace_id:
        fields["Clockify_Workspace_Id__c"] = workspace_id
    return Upsert(
        body.id,
        fields,
        user_id=body.first_reference("assigneeIds") or body.reference("assigneeId"),
        project_id=body.reference("projectId"),
        client_id=body.reference("clientId"),
        workspace_id=workspace_id,
        kind="task",
        target=TASK,
        status=status if status in STATUSES else "",
    )


KIND = Kind(
    name="task",
    writes=frozenset({"NEW_TASK", "TASK_UPDATED"}),
    deletes=frozenset({"TASK_DELETED"}),
    target=TASK,
    read=read,
    keys=frozenset(
        {
            *("id", "workspaceId", "name", "status", "assigneeIds", "assigneeId"),
            *("projectId", "clientId"),
        }
    ),
    path="projects/{projectId}/tasks/{id}",
    sample=("name", "Webhook Test Task"),
)
