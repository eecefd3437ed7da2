"""Cloud Tasks' queues and Cloud Scheduler's schedules, neither of them in every region."""

from typing import TYPE_CHECKING, Any

from sandbox.google_apis.answers import (
    PROJECT,
    REGION,
    Json,
    Refused,
    Request,
    missing,
    refuse_if_there,
)

if TYPE_CHECKING:
    from sandbox.google_apis.project import GoogleApis

# Cloud Run is in more regions: europe-west4, europe-north1 and others have neither of the two.
REGIONS = (REGION, "europe-west3", "us-central1")


def _locations() -> Json:
    names = [
        {"name": f"projects/{PROJECT}/locations/{each}", "locationId": each} for each in REGIONS
    ]
    return {"locations": names}


def _check_location(path: str) -> None:
    where = path.split("/locations/")[1].split("/")[0]
    if where not in REGIONS:
        message = f"Permission denied on 'locations/{where}' (or it may not exist)."
        raise Refused(403, "PERMISSION_DENIED", message)


def cloudtasks(google: "GoogleApis", request: Request, path: str) -> Json:
    """Answer for queues; a new one may not be found at first, a deleted one's name is taken."""
    if path.endswith("/locations"):
        return _locations()
    _check_location(path)
    if path.endswith("/tasks"):
        return {"tasks": google.tasks}
    if request.method == "POST" and path.endswith("/queues"):
        name = request.body["name"].split("/")[-1]
        refuse_if_there(name, google.queues)
        if name in google.deleted_queues:
            message = (
                "The queue cannot be created because a queue with this name existed too recently."
            )
            raise Refused(400, "FAILED_PRECONDITION", message)
        google.late["queue"] = google.late_queues
        google.queues[name] = {"state": "RUNNING", **request.body}
        return google.queues[name]
    name, _, verb = path.split("/")[-1].partition(":")
    if name not in google.queues or google.is_late("queue"):
        raise missing("Queue does not exist. Requested entity")
    queue: Json = google.queues[name]
    if request.method == "DELETE":
        google.deleted_queues.add(name)
        return google.queues.pop(name) and {}
    if verb == "purge":
        google.tasks = []
    elif verb:
        queue["state"] = {"pause": "PAUSED", "resume": "RUNNING"}[verb]
    elif request.method == "PATCH":
        for key, value in request.body.items():
            if isinstance(value, dict):
                queue[key] = queue.get(key, {}) | value
    return queue


def cloudscheduler(google: "GoogleApis", request: Request, path: str) -> Any:
    """Answer for schedules."""
    if path.endswith("/locations"):
        return _locations()
    _check_location(path)
    if path.endswith("/jobs"):
        if request.method == "GET":
            return {"jobs": list(google.schedules.values())}
        name = request.body["name"].split("/")[-1]
        refuse_if_there(name, google.schedules)
        google.schedules[name] = request.body
        return google.schedules[name]
    name = path.split("/")[-1]
    if name not in google.schedules:
        raise missing("Job")
    if request.method == "DELETE":
        return google.schedules.pop(name) and {}
    if request.method == "PATCH":
        google.schedules[name] |= request.body
    return google.schedules[name]
