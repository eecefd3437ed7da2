"""Compare Clockify's clients, projects, tasks and invoices with Salesforce, and repair what differs.

In this order, so that what refers to something finds it. What of them is looked at:

- all clients and projects, of which a request of Clockify's tells a thousand;
- tasks, which take a request for each project: of those projects of which Salesforce holds
  something else than Clockify, and of all where it holds no task of the workspace. On a project
  where somebody has worked, the tracked hours differ. They are written after its tasks, so that
  the next run looks again at the projects that one which was broken off had begun;
- invoices, as `invoices.py` says.
"""

from collections.abc import Callable, Mapping

from clockify_salesforce.clockify.client import ClockifyError
from clockify_salesforce.salesforce.client import quoted
from clockify_salesforce.salesforce.errors import SalesforceRefused
from commands.repair.clients import Clients
from commands.repair.hours import DEPLOY, RollUp
from commands.repair.invoices import GRAPHS, Invoices
from commands.repair.one_kind import KINDS, OneKind, Shared
from commands.repair.projects import TRACKED, Projects
from commands.repair.reading import WORKSPACE
from commands.repair.records import QUERIES, TAKEN, Compared, chunks
from commands.repair.task_records import TaskRecords

# Where there is no such object or field, or the integration user does not see it.
_NOT_THERE = ("INVALID_TYPE", "INVALID_FIELD", "NOT_FOUND", "INSUFFICIENT_ACCESS")
# What Clockify answers to a key that may not see something, and where the plan does not have it.
_NOT_ALLOWED = (402, 403, 404)
