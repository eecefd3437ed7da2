"""The sandbox's page: what Salesforce holds, what waits in the queue, and the plugs to pull.

GET / for a person, GET /state as JSON, POST /faults/NAME to switch a fault on or off.
"""

import json
from pathlib import Path

from aiohttp import web

from sandbox.salesforce import FAULTS
from sandbox.world import World

# Faults that are of other services than Salesforce.
OTHERS = ("queue-down", "secrets-down")


def serve(world: World, port: int) -> None:
    """Show the world at http://127.0.0.1:PORT."""

    async def show(_: web.Request) -> web.StreamResponse:
        page = Path(__file__).with_name("page.html").read_text()
        return web.Response(text=page, content_type="text/html")

    async def state(_: web.Request) -> web.StreamResponse:
        return web.json_response(_state(world))

    async def switch(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name == "none":
            world.salesforce.faults.clear()
            world.tasks.down = world.secret_manager.down = False
        elif name == "queue-down":
            world.tasks.down = not world.tasks.down
        elif name == "secrets-down":
            world.secret_manager.down = not world.secret_manager.down
        elif name in FAULTS:
            now = getattr(world.salesforce.faults, name)
            setattr(world.salesforce.faults, name, 0 if now else 1)
        else:
            known = ", ".join((*FAULTS, *OTHERS, "none"))
            return web.Response(status=404, text=f"no fault {name!r}: there is {known}\n")
        return web.Response(text=f"on: {', '.join(_faults_on(world)) or 'nothing'}\n")

    async def start() -> None:
        app = web.Application()
        app.add_routes(
            [web.get("/", show), web.get("/state", state), web.post("/faults/{name}", switch)]
        )
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()

    world.internet.wait(start())


def _faults_on(world: World) -> list[str]:
    on = [name for name in FAULTS if getattr(world.salesforce.faults, name)]
    on += ["queue-down"] if world.tasks.down else []
    return on + (["secrets-down"] if world.secret_manager.down else [])


def _state(world: World) -> dict[str, object]:
    org = world.salesforce
    names = {
        record_id: record.get("Name")
        for records in org.records.values()
        for record_id, record in records.items()
    }
    events = [
        event | {name: names.get(str(event.get(f"{name}Id"))) for name in ("Owner", "What", "Who")}
        for event in sorted(org.events(), key=lambda event: str(event["StartDateTime"]))
    ]
    waiting = [
        {
            "event": task.headers.get("Clockify-Webhook-Event-Type"),
            "entry": _entry_id(task.body),
            "attempts": task.attempts,
        }
        for task in list(world.tasks.waiting.values())
    ]
    return {
        "events": events[-200:],
        "waiting": waiting[:200],
        "faults": [*FAULTS, *OTHERS],
        "on": _faults_on(world),
        "calls": len(org.requests),
        "sign_ins": org.sign_ins,
    }


def _entry_id(body: bytes) -> str:
    entry = json.loads(body)
    return str(entry.get("id")) if isinstance(entry, dict) else "several"
