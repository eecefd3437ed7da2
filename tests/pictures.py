"""The sandbox's page in a real browser: `python -m tests.pictures` makes docs/pictures anew.

Each step of docs/tour.md is a function here that presses the buttons, waits for what they should
do, and says what to take a picture of. The tests go through the same steps, so neither the tour nor
its pictures can tell of what the page does not do.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Locator, expect, sync_playwright
from playwright.sync_api import Page as Tab

from sandbox import acme
from sandbox.__main__ import SETTINGS
from sandbox.cloud_run import CloudRun
from sandbox.page import Page
from sandbox.world import ROOT, World, free_port

PICTURES = ROOT / "docs/pictures"
LARGEST_PICTURE = 200_000  # bytes
DESKTOP, PHONE = (1360, 1060), (390, 844)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
expect.set_options(timeout=15_000)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium, with a profile of its own that is thrown away."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        raise SystemExit("chromium is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


class Shown:
    """The page of a world, with the company in it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.run = CloudRun(world, settings=SETTINGS)
        self.page = Page(world, self.run, port=free_port())
        acme.settle(world)

    def anew(self) -> None:
        """Begin again: one instance that remembers nothing, and the company as it was."""
        self.page.forget()
        wait = self.world.internet.wait
        wait(self.run.scale(1))
        wait(self.run.kill("one"))
        self.world.reset()
        wait(self.run.start("one"))
        self.run.forget()
        acme.settle(self.world)

    def close(self) -> None:
        """End all of it."""
        self.page.close()
        self.run.close()

    def send_first_message(self) -> None:
        """What `make run` sends."""

        async def send() -> None:
            self.page.webhooks.send([acme.first_message(self.world, datetime.now(UTC))])

        self.world.internet.wait(send())


def afternoon() -> str:
    """A time zone where it is about three in the afternoon now, so that pictures show a day."""
    ahead = (15 - datetime.now(UTC).hour + 11) % 24 - 11
    return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"


# The steps of the tour --------------------------------------------------------------------------


def first(tab: Tab) -> Locator:
    """The first Event is there, as `make run` has sent it."""
    expect(events(tab)).to_have_count(1)
    return tab.locator("#calendar-part")


def timer(tab: Tab) -> Locator:
    """A timer that is stopped becomes an Event."""
    tab.get_by_role("button", name="Start timer").click()
    expect(tab.locator("#running")).to_contain_text("Call about the offer")
    expect(message(tab, "NEW_TIMER_STARTED")).to_contain_text("200")
    tab.get_by_role("button", name="Stop", exact=True).click()
    expect(events(tab, "Call about the offer")).to_be_visible()
    expect(message(tab, "TIMER_STOPPED")).to_contain_text("200")
    return tab.locator("body")


def event(tab: Tab) -> Locator:
    """One Event with all its fields."""
    events(tab, "Review of the checkout flow").click()
    expect(tab.locator("#event")).to_contain_text("Assigned ToAda Lindqvist")
    return tab.locator("#event")


def edit(tab: Tab) -> Locator:
    """An edit moves the Event; a deletion takes it away, a restoration brings it back."""
    tab.locator("#event .close").click()
    tab.get_by_role("button", name="Edit: Call about the offer").click()
    tab.get_by_label("Description").fill("Call about the offer, with the buyer")
    tab.locator("#form-save").click()
    expect(events(tab, "with the buyer")).to_be_visible()
    tab.get_by_role("button", name="Delete: Call about the offer, with the buyer").click()
    expect(events(tab, "with the buyer")).to_have_count(0)
    tab.get_by_role("button", name="Restore: Call about the offer, with the buyer").click()
    expect(events(tab, "with the buyer")).to_be_visible()
    return tab.locator("#messages-part")


def repeat(tab: Tab) -> Locator:
    """A message that comes again changes nothing, nor does a stranger."""
    tab.get_by_role("button", name="Repeat an old message").click()
    expect(tab.locator("#messages tr", has_text="again").first).to_contain_text("200")
    tab.get_by_role("button", name="A stranger's request").click()
    expect(tab.locator("#messages tr", has_text="401")).to_be_visible()
    expect(events(tab)).to_have_count(2)
    return tab.locator("#messages-part")


def outage(tab: Tab) -> Locator:
    """Salesforce is away: what happens meanwhile waits in the queue."""
    tab.get_by_role("button", name="outage: Salesforce takes no connection").click()
    tab.get_by_role("button", name="Split: Call about the offer, with the buyer").click()
    expect(tab.locator("#waiting-count")).to_have_text("2")
    expect(tab.locator("#waiting li").first).to_contain_text("attempt")
    return tab.locator("body")


def healed(tab: Tab) -> Locator:
    """Salesforce is back: the queue drains, and both halves are in the calendar."""
    tab.get_by_role("button", name="all well").click()
    expect(tab.locator("#waiting-count")).to_have_text("0")
    expect(events(tab, "with the buyer")).to_have_count(2)
    return tab.locator("body")


def choice(tab: Tab) -> Locator:
    """What a person chooses in Salesforce stays, whatever is edited in Clockify."""
    events(tab, "Review of the checkout flow").click()
    tab.get_by_label("Related To").select_option(label="Northwind renewal")
    tab.get_by_label("Assigned To").select_option(label="Bo Nakamura")
    expect(tab.locator("#event-fields")).to_contain_text("Assigned ToBo Nakamura")
    tab.locator("#event-edit").click()
    tab.get_by_label("Description").fill("Review of the checkout flow, second part")
    tab.locator("#form-save").click()
    events(tab, "second part").click()
    expect(tab.locator("#event-fields")).to_contain_text("second part")
    expect(tab.locator("#event-fields")).to_contain_text("Assigned ToBo Nakamura")
    expect(tab.locator("#event-fields")).to_contain_text("Related ToNorthwind renewal")
    return tab.locator("#event")


def instances(tab: Tab) -> Locator:
    """Of three instances one is killed and one is frozen; messages go on."""
    tab.locator("#event .close").click()
    tab.get_by_role("button", name="3 instances").click()
    expect(tab.locator("#instances .good")).to_have_count(3)
    tab.get_by_role("button", name="Kill instance two").click()
    expect(tab.locator("#instances")).to_contain_text("killed")
    tab.get_by_role("button", name="Freeze instance three").click()
    expect(tab.locator("#instances")).to_contain_text("frozen")
    tab.get_by_role("button", name="Start timer").click()
    expect(tab.locator("#running")).to_contain_text("Call about the offer")
    tab.get_by_role("button", name="Stop", exact=True).click()
    expect(tab.locator("#running")).to_be_empty()
    expect(tab.locator("#messages tr", has_text="no answer yet").first).to_be_visible()
    return tab.locator("body")


def thawed(tab: Tab) -> Locator:
    """It goes on where it was, and is answered; nothing is there twice."""
    tab.get_by_role("button", name="Thaw instance three").click()
    expect(tab.locator("#messages tr", has_text="no answer yet")).to_have_count(0)
    expect(events(tab)).to_have_count(4)
    tab.get_by_role("button", name="1 instance").click()
    expect(tab.locator("#instances li")).to_have_count(1)
    return tab.locator("#messages-part")


def calendar(tab: Tab) -> Locator:
    """Everybody's week, on a wide screen."""
    tab.set_viewport_size({"width": 1560, "height": DESKTOP[1]})
    tab.get_by_role("button", name="Add a working week").click()
    expect(tab.locator("#counts")).to_contain_text("55 Events", timeout=30_000)
    return tab.locator("#calendar-part")


def month(tab: Tab) -> Locator:
    """A thousand more, summed up a day and account."""
    tab.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    tab.get_by_role("button", name="Import 1,000 entries").click()
    expect(tab.locator("#counts")).to_contain_text("1055 Events", timeout=60_000)
    tab.get_by_role("button", name="month").click()
    expect(tab.locator(".fc-daygrid-event").first).to_be_visible()
    return tab.locator("#calendar-part")


TOUR: tuple[Callable[[Tab], Locator], ...] = (
    first,
    timer,
    event,
    edit,
    repeat,
    outage,
    healed,
    choice,
    instances,
    thawed,
    calendar,
    month,
)


def events(tab: Tab, text: str | None = None) -> Locator:
    """The Events that the calendar draws; `text`: those whose words have it."""
    return tab.locator(".fc-event", has_text=text)


def message(tab: Tab, name: str) -> Locator:
    """The newest message of that name."""
    return tab.locator("#messages tr", has_text=name).first


def main() -> int:
    """Write docs/pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in PICTURES.glob("*.png"):
        old.unlink()
    with TemporaryDirectory() as folder, chromium() as browser:
        world = World(Path(folder))
        shown = Shown(world)
        try:
            shown.send_first_message()
            take(browser, shown.page.url, PICTURES)
        finally:
            shown.close()
            world.close()
    for picture in sorted(PICTURES.glob("*.png")):
        print(f"{picture.stat().st_size:8,}  {picture.relative_to(ROOT)}")
    return 0


def take(browser: Browser, url: str, folder: Path) -> None:
    """Go through the tour and put a picture of each step into the folder, and one of a phone."""
    zone = afternoon()
    tab = browser.new_page(
        viewport={"width": DESKTOP[0], "height": DESKTOP[1]},
        timezone_id=zone,
        reduced_motion="reduce",
    )
    tab.goto(url)
    for step in TOUR:
        part = step(tab)
        tab.mouse.move(0, 0)
        path = folder / f"{step.__name__}.png"
        if part.evaluate("part => part === document.body"):
            tab.evaluate("scrollTo(0, 0)")
            tab.screenshot(path=path)
        else:
            part.screenshot(path=path, style="#told { visibility: hidden }")
    tab.close()
    phone = browser.new_page(
        viewport={"width": PHONE[0], "height": PHONE[1]},
        timezone_id=zone,
        color_scheme="dark",
        has_touch=True,
    )
    phone.goto(url)
    expect(events(phone).first).to_be_visible()
    phone.screenshot(path=folder / "phone.png")
    phone.close()


if __name__ == "__main__":
    sys.exit(main())
