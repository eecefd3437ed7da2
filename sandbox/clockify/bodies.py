"""How Clockify writes what a workspace holds: in messages, in lists, one by one.

Messages: Clockify's samples, and captured ones where there are any. REST: https://docs.clockify.me/
"""

import functools
import hashlib
from datetime import UTC, datetime, timedelta

from sandbox.clockify.values import Client, Entry, Invoice, Json, Line, Project, Task, User


def user_body(user: User) -> Json:
    """A member as the list of them has it."""
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "status": user.status,
        "memberships": [],
    }


def client_body(client_id: str, name: str, client: Client, workspace: str) -> Json:
    """A client, the same in messages and lists but for the currency."""
    return {
        "id": client_id,
        "name": name,
        "email": client.email,
        "workspaceId": workspace,
        "archived": client.archived,
        "address": client.address,
        "note": client.note,
    }


def project_body(project: Project, client_name: str, tracked: timedelta, workspace: str) -> Json:
    """A project, the same in messages and lists."""
    rate = project.hourly_rate
    return {
        "id": project.id,
        "name": project.name,
        "hourlyRate": None if rate is None else {"amount": rate, "currency": project.currency},
        "clientId": project.client or "",
        "clientName": client_name,
        "workspaceId": workspace,
        "billable": project.billable,
        "memberships": [],
        "color": project.color,
        "estimate": {"estimate": iso_duration(project.estimate), "type": project.estimate_type},
        "archived": project.archived,
        "duration": iso_duration(tracked if project.tracked is None else project.tracked),
        "note": project.note,
        "activeEstimate": "TIME" if project.estimate else "NONE",
        "timeEstimate": None,
        "budgetEstimate": None,
        "public": True,
        "template": False,
    }


def task_body(task: Task, tracked: timedelta) -> Json:
    """A task, which names neither its workspace nor its project's name."""
    return {
        "id": task.id,
        "name": task.name,
        "projectId": task.project,
        "assigneeIds": list(task.assignees),
        "assigneeId": task.assignees[0] if task.assignees else None,
        "userGroupIds": [],
        "estimate": iso_duration(task.estimate),
        "status": task.status,
        "billable": task.billable,
        "hourlyRate": None,
        "costRate": None,
        "budgetEstimate": 0,
        "duration": iso_duration(tracked),
    }


def invoice_row(invoice: Invoice, client_name: str) -> Json:
    """An invoice as the list has it: without its items."""
    return {
        "id": invoice.id,
        "number": invoice.number,
        "status": invoice.status,
        "issuedDate": z(invoice.issued),
        "dueDate": z(invoice.due),
        "currency": invoice.currency,
        "amount": invoice.amount,
        "paid": invoice.paid,
        "balance": invoice.amount - invoice.paid,
        "clientId": invoice.client,
        "clientName": client_name,
    }


def invoice_body(invoice: Invoice, client_name: str, user: str, *, percent: int) -> Json:
    """An invoice as a message has it; `percent`: what 1 % is written as."""
    return {
        "id": invoice.id,
        "number": invoice.number,
        "status": invoice.status,
        "issuedDate": z(invoice.issued),
        "dueDate": z(invoice.due),
        "currency": invoice.currency,
        "subject": invoice.subject,
        "note": invoice.note,
        "subtotal": invoice.subtotal,
        "discount": invoice.discount * percent,
        "discountAmount": round(invoice.subtotal * invoice.discount / 100),
        "tax": invoice.tax * percent,
        "taxAmount": invoice.share(invoice.tax),
        "tax2": invoice.tax2 * percent,
        "tax2Amount": invoice.share(invoice.tax2),
        "amount": invoice.amount,
        "clientId": invoice.client,
        "clientName": client_name,
        "clientAddress": "",
        "userId": user,
        "items": [_line_body(line) for line in invoice.lines],
    }


def _line_body(line: Line) -> Json:
    return {
        "order": line.order,
        "itemType": line.type,
        "description": line.description,
        "quantity": line.quantity,
        "unitPrice": line.unit_price,
        "amount": line.amount,
        "timeEntryIds": [],
    }


def custom_fields(entry: Entry) -> list[Json]:
    """An entry's custom fields."""
    return [
        {
            "customFieldId": hashed_id(name),
            "timeEntryId": entry.id,
            "name": name,
            "type": "TXT",
            "value": value,
        }
        for name, value in entry.custom
    ]


@functools.lru_cache(maxsize=10_000)
def hashed_id(name: str) -> str:
    """An id that is the same for the same name."""
    return hashlib.sha256(name.encode()).hexdigest()[:24]


def z(moment: datetime) -> str:
    """A moment in UTC, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def iso_duration(span: timedelta) -> str:
    """A duration like PT1H30M."""
    hours, rest = divmod(round(span.total_seconds()), 3600)
    minutes, seconds = divmod(rest, 60)
    parts = (
        f"{hours}H" * bool(hours) + f"{minutes}M" * bool(minutes) + f"{seconds}S" * bool(seconds)
    )
    return f"PT{parts or '0S'}"
