"""Stand in for the webhook part of Clockify's API: one workspace, whose plan has a limit.

https://docs.clockify.me/#tag/Webhooks
"""

import json
from dataclasses import dataclass, field
from typing import Any

KEY = "the-clockify-api-key"
WORKSPACE = "64a687e29ae1f428e7ebe303"
PATH = f"/api/v1/workspaces/{WORKSPACE}/webhooks"
HOST = "api.clockify.me"


@dataclass
class ClockifyApi:
    """What Clockify holds; call it to answer a request."""

    limit: int = 10
    workspaces: list[str] = field(default_factory=lambda: [WORKSPACE])
    hooks: list[dict[str, Any]] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)
    made: int = 0  # webhooks ever: neither an id nor a signing secret comes twice
    slow_down: int = 0  # how many requests are answered 429 first
    break_at: int | None = None  # the creation that Clockify answers 500

    def __call__(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, Any]:
        """Return the HTTP status and the JSON for one request."""
        if headers.get("X-Api-Key") != KEY:
            return 401, {"message": "Api key does not exist", "code": 4003}
        if self.slow_down:
            self.slow_down -= 1
            return 429, {"message": "Too many requests", "code": 429}
        if path == "/api/v1/workspaces":
            return 200, [{"id": name, "name": "Acme"} for name in self.workspaces]
        if path == PATH and method == "GET":
            return 200, {"webhooks": self.hooks, "workspaceWebhookCount": len(self.hooks)}
        if path == PATH and method == "POST":
            return self._create(json.loads(body))
        if path.startswith(PATH + "/") and method == "DELETE":
            self.hooks = [hook for hook in self.hooks if hook["id"] != path.split("/")[-1]]
            return 200, {}
        return 404, {"message": "not found", "code": 404}

    def _create(self, wanted: dict[str, Any]) -> tuple[int, Any]:
        if not 2 <= len(wanted["name"]) <= 30:
            return 400, {"message": "Webhook already exists", "code": 501}
        if len(self.hooks) >= self.limit:
            return 400, {"message": "Maximum number of webhooks reached", "code": 501}
        if len(self.created) == self.break_at:
            return 500, {"message": "Something went wrong"}
        self.created.append(wanted)
        return 201, self.add(wanted["webhookEvent"], wanted["url"])

    def add(self, event: str, url: str) -> dict[str, Any]:
        """Keep a webhook with a signing secret of its own, and return it."""
        number = self.made
        self.made += 1
        hook = {
            "id": f"{number:024x}",
            "webhookEvent": event,
            "url": url,
            "authToken": f"{number}{event.replace('_', '')}".ljust(32, "x")[:32],
            "enabled": True,
            "deliveryEnabled": True,
        }
        self.hooks.append(hook)
        return hook
