"""The sandbox's page in a real headless Chromium: what is seen, and what the buttons do."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pictures import (
    DESKTOP,
    LARGEST_PICTURE,
    PHONE,
    PICTURES,
    TOUR,
    Shown,
    afternoon,
    chromium,
    events,
    message,
    take,
)
from playwright.sync_api import Browser, expect
from playwright.sync_api import Page as Tab

from sandbox.salesforce import FAULTS
from sandbox.world import ROOT, World

Visit = Callable[..., Tab]
CALL = "Call about the offer"  # what stands in the field when the page opens


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests here."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def site(the_world: World) -> Iterator[Shown]:
    """The page of the tests' world."""
    the_world.reset()
    shown = Shown(the_world)
    yield shown
    shown.close()


@pytest.fixture
def shown(site: Shown) -> Shown:
    """The page, with the company as new."""
    site.anew()
    return site


@pytest.fixture
def visit(shown: Shown, browser: Browser) -> Iterator[Visit]:
    """Open the page; at the end nothing may have failed on it."""
    wrong: list[str] = []
    tabs: list[Tab] = []

    def opened(size: tuple[int, int] = DESKTOP, **settings: Any) -> Tab:
        settings = {"timezone_id": afternoon()} | settings
        tab = browser.new_page(viewport={"width": size[0], "height": size[1]}, **settings)
        tab.on("console", lambda said: wrong.append(f"console: {said.text}"))
        tab.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        tab.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
        tab.on(
            "response",
            lambda answer: (
                wrong.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None
            ),
        )
        tab.goto(shown.page.url)
        expect(tab.locator("#live")).to_have_text("live")
        tabs.append(tab)
        return tab

    yield opened
    found = list(wrong)
    for tab in tabs:
        tab.close()
    assert found == []


@pytest.fixture
def tab(visit: Visit) -> Tab:
    """The page, open at desktop width."""
    return visit()


def press(tab: Tab, name: str) -> None:
    """Press the button of that name."""
    tab.get_by_role("button", name=name, exact=True).click()


def add(tab: Tab, description: str, *, kind: str = "Work") -> None:
    """Add an entry by hand, and wait for its Event."""
    press(tab, "Add an entry…")
    tab.get_by_label("Description").fill(description)
    tab.get_by_label("Type").select_option(label=kind)
    press(tab, "Save")
    expect(events(tab, description)).to_be_visible()


def seconds_until_seen(tab: Tab, text: str, act: Callable[[], None]) -> float:
    """Do something, and return how long after it an Event with this text was in the calendar."""
    tab.evaluate(
        """text => {
            window.seen = 0
            const look = () => [...document.querySelectorAll(".fc-event")]
                .some(event => event.textContent.includes(text))
            new MutationObserver(() => { if (!window.seen && look()) window.seen = Date.now() })
                .observe(document.getElementById("calendar"), {childList: true, subtree: true})
        }""",
        text,
    )
    began = time.time()
    act()
    expect(events(tab, text)).to_be_attached()
    seen: float = tab.evaluate("window.seen")
    return seen / 1000 - began


def an_event(shown: Shown, start: datetime, **values: Any) -> str:
    """An Event that a person makes in Salesforce, of half an hour."""
    end = start + timedelta(minutes=30)
    org = shown.world.salesforce
    ada = next(each["Id"] for each in org.records["User"].values() if each["Name"][:3] == "Ada")
    times = {"StartDateTime": start.isoformat(), "EndDateTime": end.isoformat()}
    return org.add("Event", Subject="Clockify", OwnerId=ada, **(times | values))


def this_month(number: int) -> datetime:
    """A moment of the current month; all numbers below 5,000 lie in its first 28 days."""
    first = datetime.now(UTC).replace(day=1, hour=7, minute=0, second=0, microsecond=0)
    return first + timedelta(days=number % 28, minutes=number * 7 % 600)


# The buttons ------------------------------------------------------------------------------------


def test_stopped_timer_appears_within_a_second(tab: Tab, shown: Shown) -> None:
    press(tab, "Start timer")
    expect(tab.locator("#running")).to_have_text(re.compile(rf"00:45:\d\d {CALL}"))
    expect(message(tab, "NEW_TIMER_STARTED")).to_contain_text("200")
    expect(events(tab)).to_have_count(0)
    assert seconds_until_seen(tab, CALL, lambda: press(tab, "Stop")) < 1
    expect(message(tab, "TIMER_STOPPED")).to_contain_text(re.compile(r"200 \w+\d+\d"))
    assert len(shown.world.salesforce.events()) == 1


def test_undone_discard_then_stop_is_one_event(tab: Tab, shown: Shown) -> None:
    expect(tab.get_by_role("button", name="Undo", exact=True)).to_be_disabled()
    press(tab, "Start timer")
    press(tab, "Discard")
    expect(tab.locator("#running")).to_be_empty()
    press(tab, "Undo")
    expect(tab.locator("#running")).to_contain_text(CALL)
    press(tab, "Stop")
    expect(events(tab, CALL)).to_be_visible()
    for name in ("NEW_TIMER_STARTED", "TIME_ENTRY_DELETED", "TIME_ENTRY_RESTORED"):
        expect(message(tab, name)).to_contain_text("200")
    expect(events(tab)).to_have_count(1)
    assert len(shown.world.salesforce.events()) == 1


def test_added_edited_split_deleted_restored_entry_is_seen(tab: Tab) -> None:
    add(tab, "Workshop")
    before = events(tab, "Workshop").bounding_box()
    press(tab, "Edit: Workshop")
    start = tab.get_by_label("Start", exact=True)
    earlier = datetime.fromisoformat(start.input_value()) - timedelta(hours=2)
    start.fill(earlier.isoformat(timespec="minutes"))
    tab.locator("#form").get_by_label("Project").select_option(label="Support (Harbour Foods)")
    press(tab, "Save")
    expect(events(tab, "Harbour Foods")).to_be_visible()
    after = events(tab, "Workshop").bounding_box()
    assert before is not None
    assert after is not None
    assert (after["y"], after["height"]) != (before["y"], before["height"])
    press(tab, "Split: Workshop")
    expect(events(tab, "Workshop")).to_have_count(2)
    tab.get_by_role("button", name="Delete: Workshop").first.click()
    expect(events(tab, "Workshop")).to_have_count(1)
    press(tab, "Restore: Workshop")
    expect(events(tab, "Workshop")).to_have_count(2)


def test_entry_that_ends_before_it_starts_is_not_saved(tab: Tab) -> None:
    press(tab, "Add an entry…")
    start = datetime.fromisoformat(tab.get_by_label("Start", exact=True).input_value())
    tab.get_by_label("End", exact=True).fill(
        (start - timedelta(hours=1)).isoformat(timespec="minutes")
    )
    press(tab, "Save")
    expect(tab.get_by_role("alert")).to_have_text("The end lies before the start.")
    expect(tab.locator("#form")).to_be_visible()


def test_dialog_shows_the_event_and_changes_it(tab: Tab, shown: Shown) -> None:
    add(tab, "Workshop")
    events(tab, "Workshop").click()
    dialog = tab.locator("#event")
    for field, value in (
        ("Assigned To", "Ada Lindqvist"),
        ("Related To", "Website relaunch"),
        ("Show Time As", "Busy"),
        ("Description", "Workshop\nProject: Website relaunch (Northwind GmbH)"),
        ("Hours", "1"),
    ):
        named = dialog.locator(f"dt:text-is('{field}') + dd")
        expect(named).to_contain_text(value)
    tab.get_by_text("Record", exact=True).click()
    [event] = shown.world.salesforce.events()
    assert json.loads(tab.locator("#event-record").inner_text()) == event
    tab.get_by_text("Clockify_State__c").click()
    entry = event["Clockify_Time_Entry_Id__c"]
    assert json.loads(tab.locator("#event-state").inner_text())["Key__c"] == f"time_entry:{entry}"
    press(tab, "Split")
    expect(dialog).to_be_hidden()
    expect(events(tab, "Workshop")).to_have_count(2)
    events(tab, "Workshop").first.click()
    press(tab, "Delete")
    expect(events(tab, "Workshop")).to_have_count(1)


def test_choice_in_salesforce_stays_after_an_edit_in_clockify(tab: Tab, shown: Shown) -> None:
    add(tab, "Workshop")
    events(tab, "Workshop").click()
    tab.get_by_label("Assigned To").select_option(label="Bo Nakamura")
    tab.get_by_label("Related To").select_option(label="Northwind renewal")
    expect(tab.locator("#event-fields")).to_contain_text("Northwind renewal")
    [event] = shown.world.salesforce.events()
    chosen = event["OwnerId"], event["WhatId"]
    press(tab, "Edit…")
    tab.get_by_label("Description").fill("Workshop, afternoon")
    press(tab, "Save")
    expect(events(tab, "Workshop, afternoon")).to_contain_text("Bo Nakamura")
    [event] = shown.world.salesforce.events()
    assert (event["OwnerId"], event["WhatId"]) == chosen


def test_old_message_again_and_a_stranger_change_nothing(tab: Tab, shown: Shown) -> None:
    expect(tab.get_by_role("button", name="Repeat an old message")).to_be_disabled()
    add(tab, "Workshop")
    press(tab, "Edit: Workshop")
    tab.get_by_label("Description").fill("Workshop, afternoon")
    press(tab, "Save")
    expect(events(tab, "Workshop, afternoon")).to_be_visible()
    press(tab, "Repeat an old message")
    again = tab.locator("#messages tr", has_text="sent again").first
    expect(again).to_contain_text("NEW_TIME_ENTRY")
    expect(again).to_contain_text("200")
    press(tab, "A stranger's request")
    expect(message(tab, "from a stranger")).to_contain_text("401")
    expect(tab.locator("#told")).to_contain_text("401")
    [event] = shown.world.salesforce.events()
    assert event["Description"].startswith("Workshop, afternoon")


def test_outage_fills_the_queue_and_its_end_drains_it(tab: Tab, shown: Shown) -> None:
    tab.get_by_role("button", name=re.compile("^outage")).click()
    expect(tab.locator("#fault-means")).to_have_text("Now Salesforce takes no connection.")
    for _ in range(2):
        press(tab, "Start timer")
        expect(tab.locator("#running")).to_contain_text(CALL)
        press(tab, "Stop")
        expect(tab.locator("#running")).to_be_empty()
    expect(tab.locator("#waiting-count")).to_have_text("2")
    for row in tab.locator("#waiting li").all():
        expect(row).to_contain_text("TIMER_STOPPED")
        expect(row.locator(".quiet")).to_contain_text("Salesforce")  # why: the function's words
    expect(events(tab)).to_have_count(0)
    press(tab, "all well")
    expect(tab.locator("#waiting-count")).to_have_text("0")
    expect(tab.locator("#waiting")).to_have_text("nothing")
    expect(events(tab, CALL)).to_have_count(2)
    expect(tab.locator("#messages tr", has_text="from Cloud Tasks").first).to_contain_text("200")
    assert len(shown.world.salesforce.events()) == 2


def test_every_fault_has_its_button_and_all_well_ends_them(tab: Tab, shown: Shown) -> None:
    faults, world = shown.world.salesforce.faults, shown.world
    for name in (*FAULTS, "queue-down", "secrets-down"):
        button = tab.get_by_role("button", name=re.compile(f"^{name}\\b"))
        expect(button).to_have_attribute("aria-pressed", "false")
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
    assert all(getattr(faults, name) == 1 for name in FAULTS)
    assert world.tasks.down
    assert world.secret_manager.down
    press(tab, "all well")
    expect(tab.locator("#faults [aria-pressed=true]")).to_have_count(0)
    assert not any(getattr(faults, name) for name in FAULTS)
    assert not world.tasks.down
    assert not world.secret_manager.down


def test_killed_and_frozen_instances_lose_nothing(tab: Tab, shown: Shown) -> None:
    press(tab, "Kill instance one")
    expect(tab.locator("#instances")).to_contain_text("killed")
    add(tab, "Cold start")  # Cloud Run starts one for the message
    expect(tab.locator("#instances")).to_contain_text("running")
    press(tab, "2 instances")
    expect(tab.locator("#instances .good")).to_have_count(2)
    press(tab, "Freeze instance two")
    expect(tab.locator("#instances")).to_contain_text("frozen")
    for name in ("Start timer", "Stop"):  # every other message goes to the frozen one
        press(tab, name)
        expect(tab.get_by_role("button", name=name, exact=True)).to_be_disabled()
    waiting = tab.locator("#messages tr", has_text="no answer yet")
    expect(waiting).to_have_count(1)
    press(tab, "Thaw instance two")
    expect(waiting).to_have_count(0)
    expect(events(tab, CALL)).to_be_visible()
    press(tab, "Kill instance two")
    press(tab, "Start instance two")
    expect(tab.locator("#instances .good")).to_have_count(2)
    press(tab, "1 instance")
    expect(tab.locator("#instances li")).to_have_count(1)
    assert len(shown.world.salesforce.events()) == 2


def test_message_that_a_killed_instance_had_is_sent_again(tab: Tab, shown: Shown) -> None:
    tab.get_by_role("button", name=re.compile("^slow")).click()
    press(tab, "Start timer")
    press(tab, "Stop")
    expect(tab.locator("#messages tr", has_text="no answer yet").first).to_be_visible()
    press(tab, "Kill instance one")
    expect(message(tab, "TIMER_STOPPED")).to_contain_text("503")
    press(tab, "all well")
    expect(events(tab, CALL)).to_have_count(1)
    expect(tab.locator("#messages tr", has_text="sent again").first).to_contain_text("200")
    assert len(shown.world.salesforce.events()) == 1


# What is drawn ----------------------------------------------------------------------------------


def test_absence_break_and_account_are_told_apart(visit: Visit, shown: Shown) -> None:
    org = shown.world.salesforce
    account = next(iter(org.records["Account"]))
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0)
    for minutes, show_as, what in (
        (0, "Busy", account),
        (40, "OutOfOffice", None),
        (80, "Free", None),
    ):
        an_event(shown, noon + timedelta(minutes=minutes), ShowAs=show_as, WhatId=what)
    tab = visit(timezone_id="Etc/GMT")
    work, absent, rest = (
        tab.get_by_role("button", name=re.compile(name))
        for name in ("Clockify, Northwind GmbH", "Absent", "Break")
    )
    looks = [
        each.evaluate("part => getComputedStyle(part).background + getComputedStyle(part).border")
        for each in (work, absent, rest)
    ]
    assert len(set(looks)) == 3
    for name in ("Northwind GmbH", "Alpenblick AG", "no account", "a break", "absent"):
        expect(tab.locator("#legend")).to_contain_text(name)


def test_times_are_the_visitors(visit: Visit, shown: Shown) -> None:
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0)
    an_event(shown, noon)
    expect(events(visit(timezone_id="Asia/Tokyo"))).to_contain_text("21:00 – 21:30")
    expect(events(visit(timezone_id="Etc/GMT+5"))).to_contain_text("07:00 – 07:30")


def test_page_opens_where_the_newest_event_is_and_tells_of_others(
    visit: Visit, shown: Shown
) -> None:
    an_event(shown, datetime.now(UTC) + timedelta(days=30))
    tab = visit()
    expect(events(tab)).to_be_visible()
    an_event(shown, datetime.now(UTC) - timedelta(days=30), ShowAs="Free")
    press(tab, "Show it")
    expect(events(tab, "Break")).to_be_visible()


def test_five_thousand_events_and_a_change_are_drawn_in_a_second(
    visit: Visit, shown: Shown
) -> None:
    org = shown.world.salesforce
    accounts = list(org.records["Account"])
    ids = [
        an_event(shown, this_month(number), WhatId=accounts[number % 3]) for number in range(5000)
    ]
    early = this_month(15).replace(hour=4, minute=0)  # when there is no other
    half = early + timedelta(minutes=30)
    org.change("Event", ids[-1], StartDateTime=early.isoformat(), EndDateTime=half.isoformat())
    tab = visit(timezone_id="Etc/GMT")
    expect(tab.locator("#counts")).to_contain_text("5000 Events")
    expect(events(tab).first).to_be_visible()
    drawn = tab.evaluate("performance.getEntriesByName('drawn')[0].duration")
    for view in ("dayGridMonth", "timeGridWeek", "timeGridDay"):
        took = tab.evaluate(
            """async view => {
                const began = performance.now()
                document.querySelector(`.fc-${view}-button`).click()
                await new Promise(done => requestAnimationFrame(() => setTimeout(done)))
                return performance.now() - began
            }""",
            view,
        )
        expect(events(tab).first).to_be_visible()
        assert took < 1000, view
    press(tab, "week")

    def change() -> None:
        org.change("Event", ids[-1], Description="Changed just now")

    assert seconds_until_seen(tab, "Changed just now", change) < 1
    assert drawn < 1000


# For everybody ----------------------------------------------------------------------------------


def test_keyboard_reaches_an_event_and_comes_back(tab: Tab) -> None:
    add(tab, "Workshop")
    events(tab, "Workshop").focus()
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("dialog")).to_contain_text("Workshop")
    tab.keyboard.press("Escape")
    expect(tab.get_by_role("dialog")).to_have_count(0)
    expect(events(tab, "Workshop")).to_be_focused()
    press(tab, "list")
    tab.get_by_role("button", name=re.compile("^Clockify, Website relaunch")).focus()
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("dialog")).to_contain_text("Workshop")
    tab.keyboard.press("Escape")
    tab.get_by_role("link", name="Past the calendar").press("Enter")
    tab.keyboard.press("Tab")
    expect(tab.get_by_label("Person")).to_be_focused()


def test_everything_to_press_has_a_name(tab: Tab) -> None:
    add(tab, "Workshop")
    events(tab, "Workshop").click()
    for part in (tab.locator("#event"), tab.locator("main")):
        lines = part.aria_snapshot().splitlines()
        found = [line for line in lines if re.search(r"- (button|combobox|textbox|spin)", line)]
        assert found
        assert [line for line in found if not re.search(r'"\w', line)] == []
        tab.keyboard.press("Escape")


CONTRAST = """() => {
    const channels = color => {
        const canvas = new OffscreenCanvas(1, 1).getContext("2d")
        canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1)
        return [...canvas.getImageData(0, 0, 1, 1).data]
    }
    const light = color => {
        const [r, g, b] = channels(color).slice(0, 3).map(v => v / 255)
            .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        return .2126 * r + .7152 * g + .0722 * b
    }
    const ground = node => {
        for (; node; node = node.parentElement) {
            const color = getComputedStyle(node).backgroundColor
            if (channels(color)[3] === 255) return color
        }
        return "white"
    }
    const weak = []
    for (const node of document.querySelectorAll("main *, header *")) {
        const text = [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim())
        if (!text || node.disabled || !node.checkVisibility() || node.closest(":disabled")) continue
        const [a, b] = [getComputedStyle(node).color, ground(node)].map(light).sort((x, y) => y - x)
        if ((a + .05) / (b + .05) < 4.5) weak.push(node.outerHTML.slice(0, 120))
    }
    return weak
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_page_fits_and_can_be_read(
    scheme: str, size: tuple[int, int], visit: Visit, shown: Shown
) -> None:
    shown.send_first_message()
    tab = visit(size, color_scheme=scheme, reduced_motion="reduce")
    expect(events(tab)).to_be_visible()
    tab.get_by_role("button", name=re.compile("^outage")).click()
    press(tab, "Start timer")
    expect(message(tab, "NEW_TIMER_STARTED")).to_be_visible()
    assert tab.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert tab.evaluate(CONTRAST) == []
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", ground)[0]) < 128) == (scheme == "dark")
    moves = "document.getAnimations().filter(each => each.playState === 'running').length"
    assert tab.evaluate(moves) == 0


# make run, and the tour -------------------------------------------------------------------------


def test_make_run_shows_the_first_event_in_five_seconds(browser: Browser, tmp_path: Path) -> None:
    log = tmp_path / "log"
    began = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "sandbox"], cwd=ROOT, stdout=out)
    try:
        found = None
        while found is None and time.monotonic() < began + 30:
            found = re.search(r"people do:  (\S+)", log.read_text())
            time.sleep(0.02)
        assert found is not None
        tab = browser.new_page()
        tab.goto(found[1])
        expect(events(tab, "Website relaunch")).to_be_visible()
        assert time.monotonic() - began < 5
        tab.close()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert "Stopping all of it." in log.read_text()


def test_tour_tells_and_shows_what_the_page_does(
    browser: Browser, shown: Shown, tmp_path: Path
) -> None:
    shown.send_first_message()
    take(browser, shown.page.url, tmp_path)
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {f"{step.__name__}.png" for step in TOUR} | {"phone.png"}
    assert {path.name for path in PICTURES.iterdir()} == made
    text = (ROOT / "docs/tour.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(pictures/([\w.]+)\)", text)) == made
    for path in (*tmp_path.iterdir(), *PICTURES.iterdir()):
        assert os.stat(path).st_size < LARGEST_PICTURE, path
