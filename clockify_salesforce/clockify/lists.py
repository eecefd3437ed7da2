"""A workspace's clients, projects, tasks and invoices, page by page, as its webhooks send each.

Clockify's lists have no filter by the time of a change, and new Free workspaces have 30 requests an
hour: pages are as large as is sensible, and tasks, which take a request for each project, are read
for those projects only that somebody asks for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from clockify_salesforce.clockify.client import MOST_PAGES, Clockify, ClockifyError

# Clockify gives up to 5,000; a project may name hundreds of members, and a page is held in memory.
PAGE_SIZE = 1000
INVOICES = 200  # on a page

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Lists:
    """What a workspace has beside time entries. Each method raises ClockifyError."""

    clockify: Clockify
    workspace: str

    def clients(self) -> Iterator[Json]:
        """Yield all clients, archived ones too.

        https://docs.clockify.me/#tag/Client/operation/getClients
        """
        return self._pages("clients")

    def projects(self) -> Iterator[Json]:
        """Yield all projects, archived ones too; `duration` is what was tracked on each so far.

        https://docs.clockify.me/#tag/Project/operation/getProjects
        """
        return self._pages("projects")

    def tasks(self, project: str) -> list[Json]:
        """The tasks of one project, done ones too.

        https://docs.clockify.me/#tag/Task/operation/getTasks
        """
        return list(self._pages(f"projects/{quote(project, '')}/tasks"))

    def invoices(self) -> Iterator[Json]:
        """Yield all invoices without their items, subtotals, taxes and texts.

        https://docs.clockify.me/#tag/Invoice/operation/getInvoices
        """
        path = f"/workspaces/{quote(self.workspace, '')}/invoices"
        before: list[Any] = []
        count = 0
        for page in range(1, MOST_PAGES + 1):
            query: dict[str, Any] = {"page": page, "page-size": INVOICES}
            answer = self.clockify.get(path, **query)
            found = answer.get("invoices") if isinstance(answer, dict) else None
            if not isinstance(found, list):
                raise ClockifyError(f"Clockify's answer to {path} has no list of invoices in it.")
            if found and found == before:
                raise ClockifyError(f"Clockify answers {path} with the same page again.")
            yield from (each for each in found if isinstance(each, dict))
            count += len(found)
            total = answer.get("total")
            if not found or (count >= total if isinstance(total, int) else len(found) < INVOICES):
                return
            before = found
        raise ClockifyError(f"Clockify's answer to {path} has no end.")

    def invoice(self, invoice: str) -> Json:
        """One invoice with its items, subtotals, taxes and texts.

        https://docs.clockify.me/#tag/Invoice/operation/getInvoice
        """
        path = f"/workspaces/{quote(self.workspace, '')}/invoices/{quote(invoice, '')}"
        found = self.clockify.get(path)
        if not isinstance(found, dict) or found.get("id") != invoice:
            raise ClockifyError(f"Clockify answered {path} with something else: try again.")
        return found

    def record(self, path: str, record_id: str) -> Json | None:
        """What is at `path` below the workspace's, None when it is gone; see Clockify.record."""
        return self.clockify.record(self.workspace, path, record_id)

    def all(self, name: str) -> Iterator[Json]:
        """Yield all of the list `name`, as its path is below the workspace's."""
        return self._pages(name)

    def _pages(self, name: str) -> Iterator[Json]:
        path = f"/workspaces/{quote(self.workspace, '')}/{name}"
        return self.clockify.get_pages(path, **{"page-size": PAGE_SIZE})
