"""The org as tests and people see it, its sign-in, and HTTP with all that goes wrong."""

import asyncio
import base64
import json
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import jwt

from sandbox.internet import Answer, Request
from sandbox.salesforce.bulk import Bulk
from sandbox.salesforce.faults import CALLER, Caller, Json, Refusal, saves_duplicates
from sandbox.salesforce.records import ADMIN_ID
from sandbox.salesforce.rest import DAILY_CALLS, HOST

DOMAIN = HOST.removesuffix(".salesforce.com")
CONSUMER_KEY, CONSUMER_SECRET = "3MVG9-made-up-consumer-key", "made-up-consumer-secret"
USERNAME = "integration@sandbox.example"


class SalesforceOrg(Bulk):
    """One org. Requests come in one thread; the tests' methods may be called from another."""

    def __init__(self, version: str = "65.0") -> None:
        super().__init__(version)
        self.jwt_public_key: str | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all records, faults and counts."""
        super().reset()
        self._tokens: set[str] = set()
        self._of_admins: set[str] = set()  # sessions among them
        self.token_status: int | None = None
        self.consumer_secret = CONSUMER_SECRET
        self.requests: list[tuple[str, str]] = []
        self.sign_ins = 0
        self.insert(
            "User",
            {
                "Name": "Clockify Integration",
                "IsActive": True,
                "Username": USERNAME,
                "Email": USERNAME,
                "UserType": "Standard",
            },
            record_id=self.USER_ID,
            user=ADMIN_ID,
        )

    # --- For tests and for people -----------------------------------------------------------------

    def events(self) -> list[Json]:
        """Every live Event."""
        return [
            dict(record)
            for record in list(self.records["Event"].values())
            if not record["IsDeleted"]
        ]

    def event(self, entry_id: str) -> Json | None:
        """The live Event of a time entry."""
        held = self._held("Event", "Clockify_Time_Entry_Id__c", entry_id)
        return next((dict(event) for event in held if not event["IsDeleted"]), None)

    def held(self, name: str, field_name: str, value: str) -> Json | None:
        """The live record of an object whose external id, or other indexed field, has a value."""
        held = self._held(name, field_name, value)
        return next((dict(each) for each in held if not each["IsDeleted"]), None)

    def live(self, name: str) -> list[Json]:
        """Every live record of an object."""
        records = list(self.records[name].values())
        return [dict(each) for each in records if not each["IsDeleted"]]

    def state(self, key: str) -> Json | None:
        """The live Clockify_State__c record of a key."""
        held = self._held("Clockify_State__c", "Key__c", key)
        return next((dict(state) for state in held if not state["IsDeleted"]), None)

    def forget_events(self) -> None:
        """Forget all Events, deleted ones too, with their states, and the requests so far."""
        self.records["Event"].clear()
        self.records["Clockify_State__c"].clear()
        self.requests.clear()
        self.sign_ins = 0

    def add(self, name: str, *, record_id: str | None = None, **values: Any) -> str:
        """Make a record as an admin would, and return its id."""
        if name == "User":
            values = {"IsActive": True, "UserType": "Standard"} | values
        if name == "Account" and "LastName" not in values:
            values = {"Name": "Acme"} | values
        return self.insert(name, values, record_id=record_id, user=ADMIN_ID)

    def change(self, name: str, record_id: str, **values: Any) -> None:
        """Change a record as a person does in the browser."""
        self.update(name, record_id, values, user=ADMIN_ID)

    def remove(self, name: str, record_id: str, *, user: str = ADMIN_ID) -> None:
        """Delete a record as a person does in the browser."""
        self.delete(name, record_id, user=user)

    # --- HTTP -------------------------------------------------------------------------------------

    async def answer(self, request: Request) -> Answer:
        """Answer one HTTP request to the org's host."""
        faults = self.faults
        if faults.strikes("outage") or faults.strikes("reset"):
            return Answer(lost=True)
        if request.path.startswith("/services/oauth2/token"):
            self.sign_ins += 1
            await asyncio.sleep(self.latency)
            return self._token(request)
        self.requests.append((request.method, request.path.split(f"/v{self.version}/")[-1]))
        if faults.strikes("hang"):
            await asyncio.sleep(30)
            return Answer(lost=True)
        if faults.strikes("slow"):
            await asyncio.sleep(2)
        if faults.strikes("html"):
            return Answer(502, "<html><body><h1>502 Bad Gateway</h1></body></html>")
        try:
            answer = await self._api(request)
        except Refusal as refusal:
            answer = Answer(refusal.status, [refusal.error])
        # A composite counts as one call.
        used = {"Sforce-Limit-Info": f"api-usage={len(self.requests)}/{DAILY_CALLS}"}
        return Answer(lost=True) if faults.strikes("lost") else replace(answer, headers=used)

    def _token(self, request: Request) -> Answer:
        """https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm"""
        if self.token_status is not None:
            return Answer(self.token_status, "<html>sign-in is down</html>")
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if form.get("grant_type") == "client_credentials":
            given = (form.get("client_id"), form.get("client_secret"))
            # simple-salesforce sends them as basic authentication.
            if request.headers.get("authorization", "").startswith("Basic "):
                pair = base64.b64decode(request.headers["authorization"][6:]).decode()
                given = tuple(pair.split(":", 1))  # type: ignore[assignment]
            if given != (CONSUMER_KEY, self.consumer_secret):
                return Answer(
                    400,
                    {"error": "invalid_client", "error_description": "invalid client credentials"},
                )
        elif form.get("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer":
            try:
                claims = jwt.decode(
                    form["assertion"],
                    self.jwt_public_key or "",
                    ["RS256"],
                    audience="https://login.salesforce.com",
                    issuer=CONSUMER_KEY,
                )
            except jwt.InvalidTokenError:
                return Answer(400, {"error": "invalid_grant", "error_description": "bad assertion"})
            if claims.get("sub") != USERNAME:
                return Answer(
                    400, {"error": "invalid_grant", "error_description": "user hasn't approved"}
                )
        else:
            return Answer(400, {"error": "unsupported_grant_type", "error_description": "no"})
        return self.session()

    def session(self, *, is_admin: bool = False) -> Answer:
        """A new session, of the integration user's or of an admin's."""
        self._number += 1
        token = f"00Dmade-up-session-{self._number}"
        self._tokens.add(token)
        if is_admin:
            self._of_admins.add(token)
        return Answer(
            200,
            {
                "access_token": token,
                "instance_url": f"https://{HOST}",
                "token_type": "Bearer",
                "issued_at": "0",
                "signature": "x",
                "id": f"https://{HOST}/id/00D/{self.USER_ID}",
            },
        )

    async def _api(self, request: Request) -> Answer:
        if self.faults.strikes("expired"):
            self._tokens.clear()
        token = request.headers.get("authorization", "")[7:]
        if token not in self._tokens:
            raise Refusal(401, "INVALID_SESSION_ID", "Session expired or invalid")
        # Each request is a task of its own, or the last thing that its task does.
        CALLER.set(Caller(token in self._of_admins, saves_duplicates(request.headers)))
        if self.faults.strikes("limit"):
            raise Refusal(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        if self.faults.strikes("error"):
            raise Refusal(503, "SERVER_UNAVAILABLE", "Server is too busy")
        if (answer := await self.bulk_answer(request)) is not None:
            return answer
        try:
            body = json.loads(request.body) if request.body else None
        except ValueError:
            raise Refusal(400, "JSON_PARSER_ERROR", "Unexpected character") from None
        return Answer(*await self._do(request.method, request.path, body))
