"""Requests to the Salesforce stand-in, without a network, and what they answer."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from sandbox.internet import Answer, Request
from sandbox.salesforce import CONSUMER_KEY, CONSUMER_SECRET, HOST, SalesforceOrg

BASE = "/services/data/v65.0/"
HALTED = {
    "errorCode": "PROCESSING_HALTED",
    "message": "The transaction was rolled back since another operation in the same transaction"
    " failed.",
}
Json = dict[str, Any]


class Api:
    """An org, and requests to it by the signed-in integration user."""

    def __init__(self) -> None:
        self.org = SalesforceOrg()
        self._now = 1_790_000_000.0  # any moment: nothing here depends on which
        self.org.clock = lambda: self._now
        form = f"grant_type=client_credentials&client_id={CONSUMER_KEY}"
        body = f"{form}&client_secret={CONSUMER_SECRET}".encode()
        answer = asyncio.run(
            self.org.answer(Request("POST", HOST, "/services/oauth2/token", {}, body))
        )
        assert isinstance(answer.body, dict)
        self._headers = {"authorization": f"Bearer {answer.body['access_token']}"}

    def wait(self, seconds: float) -> None:
        """Move the org's clock."""
        self._now += seconds

    def ago(self, seconds: float) -> str:
        """A moment in SOQL."""
        moment = datetime.fromtimestamp(self._now, UTC) - timedelta(seconds=seconds)
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    async def send(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """`headers`: with an underscore for each hyphen."""
        content = b"" if body is None else json.dumps(body).encode()
        path = path if path.startswith("/") else BASE + path
        sent = self._headers | {name.replace("_", "-"): each for name, each in headers.items()}
        return await self.org.answer(Request(method, HOST, path, sent, content))

    def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        answer = asyncio.run(self.send(method, path, body, **headers))
        return answer.status, answer.body

    def error(self, method: str, path: str, body: object = None) -> tuple[int, str, str, list[str]]:
        """Status, code, message and fields of a refusal."""
        status, ((error),) = self.call(method, path, body)
        return status, error["errorCode"], error["message"], error["fields"]

    def query(self, soql: str, verb: str = "query") -> list[Json]:
        status, answer = self.call("GET", f"{verb}?q={quote(soql)}")
        assert status == 200, answer
        return [
            {name: value for name, value in row.items() if name != "attributes"}
            for row in answer["records"]
        ]

    def composite(self, *parts: Json, all_or_none: bool = True) -> list[tuple[int, Any]]:
        """Status and body of each part."""
        status, answer = self.call("POST", "composite", composite(*parts, all_or_none=all_or_none))
        assert status == 200, answer
        return outcome(answer)


def outcome(answer: Any) -> list[tuple[int, Any]]:
    return [(part["httpStatusCode"], part["body"]) for part in answer["compositeResponse"]]


def composite(*parts: Json, all_or_none: bool = True) -> Json:
    named = [{"referenceId": f"part{place}", **part} for place, part in enumerate(parts)]
    return {"allOrNone": all_or_none, "compositeRequest": named}
