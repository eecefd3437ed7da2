"""A request as it arrives, and the errors that Google's APIs answer with."""

from dataclasses import dataclass
from typing import Any

PROJECT = "demo-proj"
NUMBER = "123456789012"
REGION = "europe-west1"
BUILDER = f"{NUMBER}-compute@developer.gserviceaccount.com"

Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One request as it arrived: `host` is the API's name, `body` the JSON or nothing."""

    method: str
    host: str
    path: str
    query: dict[str, list[str]]
    body: Json

    def __str__(self) -> str:
        return f"{self.method} {self.host} {self.path}"


class Refused(Exception):
    """Answer with a Google API error."""

    def __init__(self, status: int, reason: str, message: str = "", details: str = "") -> None:
        super().__init__(reason)
        self.status = status
        error = {"code": status, "message": message or reason, "status": reason}
        if details:
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            error["details"] = [{"@type": kind, "reason": details, "domain": "googleapis.com"}]
        self.body = {"error": error}


def missing(what: str) -> Refused:
    """Return the error for what is not there."""
    return Refused(404, "NOT_FOUND", f"{what} was not found (NOT_FOUND).")


def forbidden(right: str) -> Refused:
    """Return the error for a missing right, which may also mean that the thing is not there."""
    message = f"Permission '{right}' denied on resource (or it may not exist)."
    return Refused(403, "PERMISSION_DENIED", message)


def disabled(api: str) -> Refused:
    """Return the error of an API that is not enabled in the project, or was a moment ago."""
    message = (
        f"{api}.googleapis.com has not been used in project {NUMBER} before or it is disabled."
        " If you enabled this API recently, wait a few minutes for the action to propagate to our"
        " systems and retry."
    )
    return Refused(403, "PERMISSION_DENIED", message, "SERVICE_DISABLED")


def violated(constraint: str, what: str) -> Refused:
    """Return the error of what an organisation's policy forbids."""
    message = f"Constraint constraints/{constraint} violated for projects/{PROJECT}: {what}"
    return Refused(400, "FAILED_PRECONDITION", message)


def refuse_if_there(name: str, kept: Json) -> None:
    """Raise the error of what cannot be made because it is there."""
    if name in kept:
        raise Refused(409, "ALREADY_EXISTS", f"{name} already exists.")
