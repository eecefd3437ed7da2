"""The sandbox's page: the calendar of its Salesforce, and buttons for all that people do.

GET / for a person; GET /changes is a stream of what changes; GET /state is all of it at once as
JSON; POST /clockify/…, /salesforce/change, /stranger, /instances/… and /faults/… are the buttons.
The calendar's own drawing is FullCalendar (https://fullcalendar.io, MIT licence), which the package
cone.calendar carries ready for a browser, so that nothing has to be built or fetched.
"""

import asyncio
import json
import time
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from aiohttp import web

from sandbox.cloud_run import NAMES, CloudRun
from sandbox.page import picture
from sandbox.page.clicks import IN_CLOCKIFY, Clicks, NotNow
from sandbox.salesforce import FAULTS
from sandbox.webhooks import Webhooks
from sandbox.world import World

FILES = Path(__file__).parent
LOOK_S = 0.15  # how often what has changed is looked for
_TYPES = {"page.css": "text/css", "page.js": "text/javascript"}
_FULL_CALENDAR = "cone/calendar/browser/static/fullcalendar/fullcalendar.min.js"


class Page:
    """The page of one world, its service and its webhooks, at http://127.0.0.1:PORT."""

    def __init__(self, world: World, run: CloudRun, *, port: int) -> None:
        self._world, self._run, self._port = world, run, port
        self.url = f"http://127.0.0.1:{port}"
        self.webhooks = Webhooks(run.url, world.signing_secret)
        self._clicks = Clicks(world, self.webhooks)
        world.internet.wait(self._listen())

    def close(self) -> None:
        """Stop listening and sending."""
        self._world.internet.wait(self._close())

    def forget(self) -> None:
        """Forget what was sent and clicked; for a world that was reset."""
        self._world.internet.wait(self.webhooks.close())
        self.webhooks.sent.clear()
        self._clicks.discarded.clear()

    async def _listen(self) -> None:
        app = web.Application()
        app.add_routes(
            [
                web.get("/", self._file),
                web.get("/fullcalendar.js", self._full_calendar),
                web.get("/{name:page.css|page.js}", self._file),
                web.get("/changes", self._changes),
                web.get("/state", self._state),
                web.get("/events/{id}", self._event),
                web.post("/clockify/{deed}", self._clockify),
                web.post("/salesforce/change", self._salesforce),
                web.post("/stranger", self._stranger),
                web.post("/instances", self._scale),
                web.post("/instances/{name}/{deed}", self._instance),
                web.post("/faults/{name}", self._fault),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def _close(self) -> None:
        await self.webhooks.close()
        await self._runner.cleanup()

    # What is shown -----------------------------------------------------------------------------

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name", "page.html")
        text = (FILES / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=_TYPES.get(name, "text/html"))

    async def _full_calendar(self, _: web.Request) -> web.StreamResponse:
        return web.FileResponse(full_calendar(), headers={"Content-Type": "text/javascript"})

    async def _state(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(
            self._sections() | {"events": list(picture.EventRows(self._world).look().values())}
        )

    async def _event(self, request: web.Request) -> web.StreamResponse:
        # One that has just gone is nothing wrong: the page shows that it is.
        return web.json_response(picture.record(self._world, request.match_info["id"]))

    async def _changes(self, request: web.Request) -> web.StreamResponse:
        """https://html.spec.whatwg.org/multipage/server-sent-events.html"""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        rows = picture.EventRows(self._world)
        shown: dict[str, Any] = {}
        drawn: dict[str, Any] = {}
        first = True
        while request.transport is not None and not request.transport.is_closing():
            began = time.perf_counter()
            sections, events = self._sections(), rows.look()
            change = {name: value for name, value in sections.items() if shown.get(name) != value}
            changed = {each: row for each, row in events.items() if drawn.get(each) is not row}
            gone = [each for each in drawn if each not in events]
            if first or changed or gone:
                change["events"] = {"first": first, "changed": changed, "gone": gone}
            if change:
                await response.write(f"data: {json.dumps(change)}\n\n".encode())
            shown, drawn, first = sections, events, False
            # With thousands of Events a look takes longer: most of the time is the others'.
            await asyncio.sleep(max(LOOK_S, 4 * (time.perf_counter() - began)))
        return response

    def _sections(self) -> dict[str, Any]:
        return picture.sections(self._world, self._run, self.webhooks, self._clicks)

    # Buttons -----------------------------------------------------------------------------------

    async def _clockify(self, request: web.Request) -> web.StreamResponse:
        deed = IN_CLOCKIFY.get(request.match_info["deed"])
        if deed is None:
            return _refused(404, f"in Clockify one can: {', '.join(IN_CLOCKIFY)}")
        try:
            return _said(deed(self._clicks, await _asked(request)))
        except NotNow as reason:
            return _refused(409, str(reason))

    async def _salesforce(self, request: web.Request) -> web.StreamResponse:
        try:
            return _said(self._clicks.change(await _asked(request)))
        except NotNow as reason:
            return _refused(409, str(reason))

    async def _stranger(self, _: web.Request) -> web.StreamResponse:
        return _said(f"A stranger's request was answered {await self.webhooks.stranger()}")

    async def _scale(self, request: web.Request) -> web.StreamResponse:
        count = (await _asked(request)).get("count")
        if not isinstance(count, int) or not 1 <= count <= len(NAMES):
            return _refused(400, f"count: 1 to {len(NAMES)}")
        await self._run.scale(count)
        return _said(f"Cloud Run runs {count} instance{'s' if count > 1 else ''}")

    async def _instance(self, request: web.Request) -> web.StreamResponse:
        name, deed = request.match_info["name"], request.match_info["deed"]
        try:
            match deed:
                case "kill":
                    await self._run.kill(name)
                case "start":
                    await self._run.start(name)
                case "freeze":
                    self._run.freeze(name)
                case "thaw":
                    self._run.thaw(name)
                case _:
                    return _refused(404, "to an instance one can: kill, start, freeze, thaw")
        except LookupError as error:
            return _refused(404, str(error))
        done = {"kill": "killed", "start": "started", "freeze": "frozen", "thaw": "thawed"}
        return _said(f"Instance {name} is {done[deed]}")

    async def _fault(self, request: web.Request) -> web.StreamResponse:
        """A line of text, for curl too."""
        name, world = request.match_info["name"], self._world
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
            known = ", ".join((*FAULTS, *picture.OTHER_FAULTS, "none"))
            return web.Response(status=404, text=f"no fault {name!r}: there is {known}\n")
        return web.Response(text=f"on: {', '.join(picture.faults_on(world)) or 'nothing'}\n")


def full_calendar() -> Path:
    """The file of FullCalendar; its package is never imported, as it needs a framework for that."""
    try:
        return Path(str(distribution("cone.calendar").locate_file(_FULL_CALENDAR)))
    except PackageNotFoundError:
        raise SystemExit(
            "cone.calendar is missing, whose FullCalendar draws the calendar:"
            " pip install --no-deps -r sandbox/requirements.txt"
        ) from None


async def _asked(request: web.Request) -> dict[str, Any]:
    asked = await request.json() if request.can_read_body else {}
    return asked if isinstance(asked, dict) else {}


def _said(sentence: str) -> web.Response:
    return web.json_response({"said": sentence})


def _refused(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)
