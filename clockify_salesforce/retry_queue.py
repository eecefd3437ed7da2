"""Hand requests over to Cloud Tasks, which posts them to the function until they are taken.

https://cloud.google.com/tasks/docs/reference/rpc
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

from clockify_salesforce.errors import QueueUnavailable
from clockify_salesforce.google_client import GoogleClient

if TYPE_CHECKING:
    from google.cloud import tasks_v2

HAND_OVER_S = 3.0
_TRY_S = 1.5


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
    `body`: 100,000 bytes at most. `deadline`: of time.monotonic(); it takes 3 s at most. Without a
    `name` (letters, digits, hyphens) it may come to stand in the queue twice; one that stands there
    already, or stood there within hours, is taken. Raises QueueUnavailable.
    """
    from google.cloud import tasks_v2  # 40 ms, and only an outage needs it

    now = time.monotonic()
    if now >= deadline:
        raise QueueUnavailable("there was no time left to hand the message over to the retry queue")
    request = tasks_v2.HttpRequest(
        url=url, http_method=tasks_v2.HttpMethod.POST, headers=dict(headers), body=body
    )
    task = tasks_v2.Task(http_request=request, name=f"{queue}/tasks/{name}" if name else "")
    try:
        _CLOUD_TASKS.call(
            lambda client, timeout: client.create_task(
                parent=queue, task=task, timeout=timeout, retry=None
            ),
            until=min(deadline, now + HAND_OVER_S),
            try_s=_TRY_S,
        )
    except exceptions.AlreadyExists:
        return
    except (exceptions.GoogleAPIError, GoogleAuthError) as error:
        raise QueueUnavailable(
            f"{queue} did not take the message ({type(error).__name__}): see that it exists and"
            " that the service account has roles/cloudtasks.enqueuer on it"
        ) from None


def _cloud_tasks() -> "tasks_v2.CloudTasksClient":
    from google.cloud import tasks_v2

    return tasks_v2.CloudTasksClient()


_CLOUD_TASKS = GoogleClient(_cloud_tasks)
