"""Hand requests over to Cloud Tasks, which posts them to the function until they are taken.

https://cloud.google.com/tasks/docs/reference/rpc
"""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

from clockify_salesforce.errors import QueueUnavailable

if TYPE_CHECKING:
    from google.cloud import tasks_v2

QUEUE_TIMEOUT_S = 1.5


def enqueue(
    queue: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    deadline: float,
    name: str = "",
) -> None:
    """Have Cloud Tasks post `body` to `url` until it is answered 2xx.

    `queue`: `projects/P/locations/L/queues/Q`, whose own settings say how often and how long.
    `body`: 100,000 bytes at most. Raises QueueUnavailable.
    """
    from google.cloud import tasks_v2  # 40 ms, and only an outage needs it

    request = tasks_v2.HttpRequest(
        url=url, http_method=tasks_v2.HttpMethod.POST, headers=dict(headers), body=body
    )
    try:
        _cloud_tasks().create_task(
            parent=queue,
            task=tasks_v2.Task(http_request=request),
            timeout=QUEUE_TIMEOUT_S,
            retry=None,
        )
    except (exceptions.GoogleAPIError, GoogleAuthError) as error:
        raise QueueUnavailable(
            f"{queue} did not take the message ({type(error).__name__}): see that it exists and"
            " that the service account has roles/cloudtasks.enqueuer on it"
        ) from None


# functools.cache alone may build two clients for two first callers, which is harmless.
@functools.cache
def _cloud_tasks() -> "tasks_v2.CloudTasksClient":
    from google.cloud import tasks_v2

    return tasks_v2.CloudTasksClient()
