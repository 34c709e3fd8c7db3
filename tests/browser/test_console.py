"""The console, clicked through in Chromium, on real services."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Opened, picture, sign_in
from tests.browser.hosts import HOSTILE, Host
from tests.service.processes import until

MANY = ("--last", "100000")
"""Events: all that a host had during the tests, however quick it was."""

PAGES = ("", "approvals", "events", "cases", "host", "domains", "policy", "service")
LONG_MS = 180_000
"""The demo has half a minute; then its host is reset, and its case closed. A busy machine takes longer."""


def go(page: Page, name: str) -> None:
    """Open a page by its address, until it is the one that is shown."""
    page.goto(re.sub(r"#.*|$", f"#/{name}", page.url, count=1))
    page.locator(f'.rail a[aria-current="page"][href="#/{name}"]').wait_for()
    page.locator("main h1").first.wait_for()


def go_by_keys(page: Page, letter: str, name: str) -> None:
    """Open a page by its two keys. They have to follow each other within a second or so: if not, once more."""
    shown = page.locator(f'.rail a[aria-current="page"][href="#/{name}"]')

    def pressed() -> bool:
        page.keyboard.press("g")
        page.keyboard.press(letter)
        page.wait_for_timeout(100)
        return shown.count() == 1

    until(pressed, LONG_MS / 1000)
    page.locator("main h1").first.wait_for()


def event_that_says(page: Page, words: str) -> None:
    """Until there is an event with these words, however many others there are."""
    go(page, "events")
    page.get_by_label("Search the events").fill(words)
    expect(page.get_by_role("option").first).to_contain_text(words)


def after_the_demo(page: Page) -> None:
    """Until the demo has ended: the host halted, and came again."""
    go(page, "cases")
    page.get_by_text("Fatal error: watchdog timeout", exact=False).first.wait_for(timeout=LONG_MS)
    expect(page.locator("main .head .sub")).to_contain_text("none open", timeout=LONG_MS)


# --- signing in -------------------------------------------------------------------------------------------------------


def test_who_shows_no_token_sees_nothing_of_the_host(opened: Opened, busy: Host) -> None:
    page = opened(busy, scopes=None)
    expect(page.get_by_role("dialog", name="Ringfence")).to_be_visible()
    expect(page.locator("main")).not_to_contain_text("domain")
    page.get_by_label("Token").fill("rf_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).not_to_be_empty()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Ringfence")).to_be_visible()
    picture(page, "login")


def test_the_token_is_kept_nowhere_in_the_browser(opened: Opened, busy: Host) -> None:
    page = opened(busy, scopes=None)
    token = busy.token("kept-nowhere", "read")
    sign_in(page, token)
    assert token not in page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])")
    page.get_by_label("Sign out").click()
    expect(page.get_by_role("dialog", name="Ringfence")).to_be_visible()


# --- approvals --------------------------------------------------------------------------------------------------------


def test_an_operation_is_granted_in_two_steps_that_name_it_and_what_it_means(opened: Opened, busy: Host) -> None:
    page = opened(busy)
    expect(page.locator(".verdict h1")).to_contain_text("for you", timeout=LONG_MS)
    picture(page, "overview-waiting")
    go_by_keys(page, "a", "approvals")
    waits = page.locator("main li[data-item]").first
    name = (waits.locator("b").inner_text()).removeprefix("Destroy ").removesuffix("?")
    expect(waits.get_by_role("timer")).to_have_text(re.compile(r"^\d:\d\d$|^10:00$"))
    waits.get_by_role("button", name="Grant").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(name)
    expect(dialog).to_contain_text("destroy")
    expect(dialog.locator("[data-consequence]")).to_contain_text("is lost")
    expect(dialog.get_by_role("timer")).to_be_visible()
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    picture(page, "approval")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator("main")).to_contain_text(f"Destroy {name}?")

    waits.get_by_role("button", name="Grant").click()
    dialog.get_by_role("button", name=f"Yes, destroy {name}").click()
    expect(dialog).to_be_hidden()
    event_that_says(page, "granted destroy")
    assert re.search(r"token tester\S* \(HTTP from 127.0.0.1\) granted destroy", busy.command("events", *MANY))


def test_an_operation_is_denied_in_two_steps(opened: Opened, busy: Host) -> None:
    page = opened(busy)
    go(page, "approvals")
    page.locator("main").get_by_role("button", name="Deny").first.click(timeout=LONG_MS)
    expect(page.locator("[data-consequence]")).to_contain_text("It is not done")
    page.get_by_role("button", name="Deny: do not destroy").click()
    event_that_says(page, "denied destroy")


def test_what_was_asked_and_answered_lately_is_listed(opened: Opened, busy: Host) -> None:
    page = opened(busy)
    go(page, "approvals")
    expect(page.locator("main .feed li").first).to_contain_text("destroy", timeout=LONG_MS)


def test_who_may_only_look_is_offered_no_word(opened: Opened, busy: Host) -> None:
    page = opened(busy, scopes="read")
    go(page, "approvals")
    expect(page.locator("main li[data-item]").first).to_contain_text("may look only", timeout=LONG_MS)
    expect(page.get_by_role("button", name="Grant")).to_have_count(0)


def test_a_word_comes_too_late_for_what_does_not_wait_any_more(opened: Opened, busy: Host) -> None:
    page = opened(busy)
    go(page, "approvals")
    page.locator("main").get_by_role("button", name="Grant").first.click(timeout=LONG_MS)
    key = page.locator("dialog[data-ask]").get_attribute("data-ask") or ""
    case, domain, _ = key.split(" ")
    busy.command("reject", case, domain)
    expect(page.get_by_role("alert")).to_contain_text("does not wait any more")
    expect(page.locator("[data-yes]")).to_be_disabled()


# --- hostile names, live ----------------------------------------------------------------------------------------------


def test_a_name_that_is_markup_is_shown_as_it_is_on_every_page(opened: Opened, busy: Host) -> None:
    page = opened(busy)
    for name in PAGES:
        go(page, name)
        page.wait_for_timeout(200)
        assert page.locator("img").count() == 0
    go(page, "domains")
    expect(page.get_by_role("option").filter(has_text=HOSTILE).first).to_be_visible()
    picture(page, "hostile")


def test_events_come_live_and_leave_what_is_read_in_its_place(opened: Opened, busy: Host) -> None:
    page = opened(busy)
    go(page, "events")
    listed = page.get_by_role("listbox")
    expect(listed.get_by_role("option").first).to_be_visible(timeout=LONG_MS)
    until(lambda: listed.evaluate("(list) => list.scrollHeight > 3000"), LONG_MS / 1000)
    listed.evaluate("(list) => { list.scrollTop = 1200; }")
    page.wait_for_timeout(200)
    # What is read at a place of the list, once it is drawn.
    at = """() => {
        const box = document.querySelector('.llist').getBoundingClientRect();
        return document.elementFromPoint(box.x + 20, box.y + 60)?.closest('.lrow')?.dataset.key;
    }"""
    before = until(lambda: page.evaluate(at))
    expect(page.locator(".newer")).to_be_visible(timeout=LONG_MS)
    assert until(lambda: page.evaluate(at)) == before
    page.locator(".newer").click()
    expect(page.locator(".newer")).to_be_hidden()


def test_ten_thousand_events_and_a_thousand_domains_are_shown_by_those_in_sight(opened: Opened, quiet: Host) -> None:
    # Each event that comes takes the oldest one's place: none may come.
    page = opened(quiet)
    go(page, "events")
    page.evaluate(
        """async () => {
            const { store, changed } = await import('/store.js');
            const one = store.events[0];
            const event = (_, at) => ({ ...one, number: 1e9 - at, text: `event ${at}` });
            const domain = (_, at) => ({ ...store.domains[0], domain: at, name: `guest ${at}`, cases: [] });
            store.events = Array.from({ length: 10000 }, event);
            store.domains = Array.from({ length: 1000 }, domain);
            changed();
        }"""
    )
    listed = page.get_by_role("listbox")
    expect(listed.get_by_text("event 0", exact=True)).to_be_visible()
    listed.evaluate("(list) => { list.scrollTop = list.scrollHeight; }")
    expect(listed.get_by_text("event 9999", exact=True)).to_be_visible()
    assert listed.get_by_role("option").count() < 80
    page.keyboard.press("/")
    page.keyboard.type("event 77")
    expect(page.locator("main .tools")).to_contain_text("111 events")
    go(page, "domains")
    expect(page.get_by_role("option").first).to_be_visible()
    assert page.get_by_role("option").count() < 80
    go(page, "")
    assert page.locator(".tile").count() < 80


# --- the demo: who was hit, and why -----------------------------------------------------------------------------------


def test_the_first_page_says_what_is_wrong_what_waits_and_who_was_hit(opened: Opened, demo: Host) -> None:
    page = opened(demo)
    after_the_demo(page)
    go(page, "")
    expect(page.get_by_role("region", name="Wrong now")).to_be_visible()
    waits = page.get_by_role("region", name="Waits for you")
    expect(waits).to_contain_text("replace it")
    hit = page.get_by_role("region", name="Who was hit")
    expect(hit).to_contain_text("the host")
    expect(hit).to_contain_text("halted")
    expect(hit).to_contain_text("test-hvm")
    expect(hit).to_contain_text("killed")
    picture(page, "overview")


def test_the_host_is_a_picture_with_words_for_its_colours(opened: Opened, demo: Host) -> None:
    page = opened(demo)
    after_the_demo(page)
    go(page, "host")
    module = page.locator("button.dimm.heat-4").first
    words = module.get_attribute("aria-label") or ""
    assert re.search(r"\d+ corrected errors? in the last 24 hours", words)
    assert "distinct syndrome" in words
    expect(module).to_contain_text("replace it")
    module.click()
    detail = page.get_by_role("region", name="The module")
    expect(detail).to_contain_text("rank")
    expect(page.get_by_role("region", name="Pages in trouble")).to_contain_text("0xe0c8")
    expect(page.locator(".legend")).to_contain_text("judged bad")
    picture(page, "host")
    page.keyboard.press("Escape")
    expect(detail).to_be_hidden()


def test_a_case_is_explained_from_registers_to_outcome(opened: Opened, demo: Host) -> None:
    page = opened(demo)
    after_the_demo(page)
    page.get_by_label("Search the cases").fill("I.3a-kill")
    page.locator("a.title").last.click()
    stages = page.locator(".stage h3")
    expect(stages.first).to_have_text("Evidence")
    told = list(dict.fromkeys(stages.all_inner_texts()))
    assert [each for each in told if each in {"Evidence", "Finding", "Impact", "Decision", "Steps", "Outcome"}] == told
    assert told[:4] == ["Evidence", "Finding", "Impact", "Decision"]
    assert stages.all_inner_texts()[-1] == "Outcome"
    expect(page.locator(".registers").first).to_contain_text("status")
    expect(page.get_by_role("heading", name="Outcome").first).to_be_visible()
    page.locator(".row-name").filter(has_text="I.3a-kill").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("PV DomU, neither of them")
    expect(page.get_by_role("dialog")).to_contain_text("it is killed")
    page.keyboard.press("Escape")
    picture(page, "case")


def test_every_case_and_every_record_of_the_demo_is_explained(opened: Opened, demo: Host) -> None:
    page = opened(demo)
    after_the_demo(page)
    cases = page.locator("a.title").evaluate_all("(links) => links.map((link) => link.hash)")
    assert len(cases) > 20
    go(page, "events")
    records = page.evaluate(
        """async () => (await import('/store.js')).store.events
            .filter((event) => event.kind === 'Received').map((event) => `#/event/${event.number}`)"""
    )
    for place in (*cases, *records):
        page.evaluate("(place) => { location.hash = place; }", place)
        expect(page.locator("dd.mono").get_by_text(place.rpartition("/")[2], exact=True)).to_be_visible()
        expect(page.locator(".stage").first).to_be_visible()


def test_a_case_that_acts_ahead_names_its_suspects_with_what_speaks_for_and_against_them(
    opened: Opened, demo: Host
) -> None:
    page = opened(demo)
    after_the_demo(page)
    page.get_by_label("Search the cases").fill("distinct syndromes")
    page.locator("a.title").first.click()
    suspects = page.locator("section").filter(has=page.get_by_role("heading", name="Suspects"))
    expect(suspects.last).to_contain_text("rank socket 0 channel 0 rank 1")
    expect(suspects.last).to_contain_text("likely")
    expect(suspects.last).to_contain_text("two only: it may be chance")
    picture(page, "suspects")


def test_a_record_that_made_no_case_is_explained_as_well(opened: Opened, demo: Host) -> None:
    page = opened(demo)
    go(page, "events")
    page.get_by_label("Search the events").fill("I.2a")
    page.get_by_role("option").first.get_by_role("link", name="explain").click(timeout=LONG_MS)
    expect(page.locator(".stage h3").first).to_have_text("Evidence")
    expect(page.locator("main")).to_contain_text("counted, and remembered for trends")


def test_a_policy_is_tried_and_nothing_is_changed(opened: Opened, demo: Host) -> None:
    page = opened(demo)
    after_the_demo(page)
    go(page, "policy")
    expect(page.locator("main")).to_contain_text("10 corrected errors of one page")
    page.get_by_role("button", name="Try another").click()
    text = page.get_by_label("A policy, as its file has it")
    expect(text).to_have_value(re.compile("unlocated"))
    text.fill('unlocated = "panic"\n')
    page.get_by_role("button", name="Try it").click()
    expect(page.locator("main")).to_contain_text("It is no policy")
    page.get_by_role("button", name="line 1").click()
    chosen = "(field) => field.value.slice(field.selectionStart, field.selectionEnd)"
    assert text.evaluate(chosen) == 'unlocated = "panic"'
    text.fill('unlocated = "halt"\n')
    page.get_by_role("button", name="Try it").click()
    expect(page.locator("main")).to_contain_text("It is a good policy", timeout=LONG_MS)
    expect(page.locator("main")).to_contain_text("would end otherwise")
    expect(page.locator("main .said.changed")).to_have_count(1)
    picture(page, "policy")
    assert "PolicyLoaded" not in demo.command("events", "--json", "--last", "3")


# --- the keyboard -----------------------------------------------------------------------------------------------------


def test_everything_is_reached_by_keys_alone(opened: Opened, demo: Host) -> None:
    page = opened(demo)
    after_the_demo(page)
    for letter, name in (
        ("h", "host"),
        ("e", "events"),
        ("d", "domains"),
        ("a", "approvals"),
        ("p", "policy"),
        ("s", "service"),
        ("c", "cases"),
    ):
        go_by_keys(page, letter, name)
        expect(page.locator("main h1").first).to_have_text(name.capitalize())
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    first = page.locator("a.title").first
    expect(first).to_be_focused()
    assert first.evaluate("(link) => getComputedStyle(link.closest('.case')).outlineStyle") == "solid"
    wanted = first.inner_text()
    page.keyboard.press("Enter")
    expect(page.locator("main h1").first).to_have_text(wanted)
    page.keyboard.press("j")
    expect(page.locator(".step").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("main h1").first).to_have_text("Cases")
    page.keyboard.press("/")
    page.keyboard.type("killed")
    expect(page.get_by_label("Search the cases")).to_have_value("killed")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    picture(page, "keys")
    page.keyboard.press("Escape")
    go_by_keys(page, "e", "events")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator(".lrow[aria-selected=true]")).to_have_count(1)
    expect(page.get_by_role("complementary", name="The chosen event")).to_be_visible()
    picture(page, "events")


NAMELESS = """() => [...document.querySelectorAll('a, button, input, select, textarea, [role=option], [role=listbox]')]
    .filter((node) => node.offsetParent !== null)
    .filter((node) => !(node.getAttribute('aria-label') || node.textContent.trim() || node.labels?.length))
    .map((node) => node.outerHTML)"""


@pytest.mark.parametrize("name", PAGES)
def test_whatever_can_be_pressed_or_filled_has_a_name_and_a_page_has_one_heading(
    opened: Opened, demo: Host, name: str
) -> None:
    page = opened(demo)
    go(page, name)
    assert page.evaluate(NAMELESS) == []
    assert page.locator("main h1").count() == 1
    tones = page.evaluate(
        "() => [...document.querySelectorAll('.tag, .dimm, .cell')].filter((n) => !n.textContent.trim())"
    )
    assert tones == [], "a colour without a word or a number"


# --- looks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_the_theme_is_the_systems_until_somebody_chooses(
    opened: Opened, demo: Host, scheme: Literal["dark", "light"]
) -> None:
    page = opened(demo, color_scheme=scheme)
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    colours = {"dark": "rgb(14, 19, 24)", "light": "rgb(243, 245, 247)"}
    assert page.evaluate(ground) == colours[scheme]
    for wanted in ("dark", "light"):
        page.keyboard.press("t")
        assert page.evaluate(ground) == colours[wanted]
    page.reload()
    assert page.evaluate(ground) == colours["light"]
    page.locator(".verdict").wait_for()
    page.keyboard.press("t")
    assert page.evaluate(ground) == colours[scheme]


@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wider_than_a_narrow_screen(opened: Opened, demo: Host, name: str) -> None:
    page = opened(demo, width=360, height=780)
    after_the_demo(page)
    go(page, name)
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    picture(page, f"narrow-{name or 'overview'}")


def test_a_case_fits_a_narrow_screen_too(opened: Opened, demo: Host) -> None:
    page = opened(demo, width=360, height=780)
    after_the_demo(page)
    page.locator("a.title").first.click()
    page.locator(".stage").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    picture(page, "narrow-case")


def test_what_is_shown_does_not_jump_while_the_service_talks(opened: Opened, busy: Host) -> None:
    page = opened(busy)
    go(page, "events")
    expect(page.get_by_role("option").first).to_be_visible(timeout=LONG_MS)
    page.wait_for_timeout(500)
    page.evaluate(
        """() => { window.moved = 0; new PerformanceObserver((list) => {
            for (const each of list.getEntries()) window.moved += each.value; }).observe({ type: 'layout-shift' }); }"""
    )
    page.wait_for_timeout(3000)
    assert page.evaluate("window.moved") < 0.01


# --- a service that goes away -----------------------------------------------------------------------------------------


def test_a_service_that_goes_away_is_said_so_and_taken_up_again(opened: Opened, own: Host) -> None:
    page = opened(own)
    go(page, "events")
    expect(page.get_by_role("option").first).to_be_visible()
    own.stop()
    expect(page.locator("#notice")).to_contain_text(re.compile(r"Disconnected since \d\d:\d\d:\d\d UTC"))
    expect(page.locator(".link")).to_have_attribute("data-state", "lost")
    assert page.title().startswith("✕")
    shown = page.get_by_role("option").count()
    assert shown > 0
    picture(page, "disconnected")
    own.start()
    expect(page.get_by_role("dialog", name="Ringfence")).to_contain_text("started anew", timeout=LONG_MS)
    sign_in(page, own.token("again", "read"))
    expect(page.locator("#notice")).to_be_empty()
    page.get_by_label("Search the events").fill("life 2")
    expect(page.get_by_role("option").first).to_contain_text("life 2")
    expect(page.locator("main h1").first).to_have_text("Events")
