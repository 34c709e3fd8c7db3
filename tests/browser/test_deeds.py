"""What a person has done from the console: each in two steps that say what it means, and what became of it."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Opened, picture
from tests.browser.hosts import Host
from tests.browser.test_console import go, go_by_keys

ALL = "read,approve,operate,administer"
DIMM = "DIMM CPU_SrcID#0_Ha#0_Chan#1_DIMM#0"


def asked(page: Page) -> Locator:
    """The dialog that asks once more. Cancel has the focus, so that Enter alone does nothing."""
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    expect(dialog.locator("[data-consequence]")).not_to_be_empty()
    return dialog


def done(dialog: Locator, yes: str, becomes: str) -> None:
    """Take the second step, and read what became of it."""
    dialog.get_by_role("button", name=yes).click()
    expect(dialog.locator("[data-result]")).to_contain_text(becomes)
    expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    dialog.page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()


def test_a_domain_is_paused_and_let_run_again_by_keys_alone(opened: Opened, still: Host) -> None:
    page = opened(still, ALL)
    go(page, "domains")
    expect(page.get_by_role("option").filter(has_text="guest")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("j")
    chosen = page.get_by_role("complementary", name="The chosen domain")
    expect(chosen).to_contain_text("guest")
    picture(page, "domain")
    pause = chosen.get_by_role("button", name="Pause")
    for _ in range(4):  # the button that closes, then the operations
        page.keyboard.press("Tab")
        if pause.evaluate("(node) => node === document.activeElement"):
            break
    expect(pause).to_be_focused()
    page.keyboard.press("Enter")
    dialog = asked(page)
    expect(dialog).to_contain_text("Pause guest?")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(pause).to_be_focused()
    page.keyboard.press("Enter")
    asked(page)
    page.keyboard.press("Tab")
    expect(dialog.get_by_role("button", name="Yes, pause guest")).to_be_focused()
    picture(page, "pause")
    page.keyboard.press("Enter")
    expect(dialog.locator("[data-result]")).to_contain_text(re.compile(r"case \d+: (running|done)"))
    page.keyboard.press("Enter")
    expect(chosen).to_contain_text("paused")

    chosen.get_by_role("button", name="Unpause").click()
    done(asked(page), "Yes, unpause guest", "done")
    expect(chosen.locator(".tag")).to_contain_text("running")
    told = still.command("events", "--last", "50")
    assert re.search(r"token tester\S* \(HTTP from 127.0.0.1\)[^\n]*pause", told)
    assert re.search(r"token tester\S* \(HTTP from 127.0.0.1\)[^\n]*unpause", told)


def test_what_is_refused_says_why_and_can_be_left(opened: Opened, still: Host) -> None:
    page = opened(still, ALL)
    go(page, "host")
    page.get_by_label("The number of a CPU").fill("0")
    page.get_by_role("region", name="A CPU").get_by_role("button", name="Take out of use").click()
    dialog = asked(page)
    dialog.get_by_role("button", name="Yes, take out of use").click()
    expect(dialog.get_by_role("alert")).to_contain_text("CPU 0")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_label("The number of a CPU").fill("four")
    page.get_by_role("region", name="A CPU").get_by_role("button", name="Take out of use").click()
    expect(page.get_by_role("alert").filter(has_text="no number")).to_be_visible()
    expect(dialog).to_be_hidden()


def test_a_page_is_asked_after_taken_out_of_use_and_put_back(opened: Opened, still: Host) -> None:
    page = opened(still, ALL)
    go(page, "host")
    card = page.get_by_role("region", name="A page")
    number = page.get_by_label("The number of a page")
    number.fill("12z")
    page.keyboard.press("Enter")
    expect(card).to_contain_text("This is no number")
    number.fill("0x777123")
    page.get_by_label("What the number is").select_option("address")
    card.get_by_role("button", name="What is known").click()
    expect(card).to_contain_text("0x777000 to 0x777fff")
    expect(card).to_contain_text("in use")
    card.get_by_role("button", name="Take out of use").click()
    dialog = asked(page)
    expect(dialog).to_contain_text("0x777")
    done(dialog, "Yes, take out of use", "case")
    expect(card).to_contain_text("out of use")
    picture(page, "page")
    card.get_by_role("button", name="Put back").click()
    done(asked(page), "Yes, put back into use", "done")
    expect(card).to_contain_text("in use")
    assert "page 0x777" in still.command("page", "query", "0x777")
    assert re.search(r"token tester\S* [^\n]*frame 0x777", still.command("events", "--last", "50"))


def test_a_part_is_acquitted_with_a_reason_and_nothing_is_held_against_it_any_more(opened: Opened, still: Host) -> None:
    page = opened(still, ALL)
    go(page, "host")
    said = page.get_by_role("group", name=f"Say of {DIMM}")
    said.get_by_role("button", name="It was not at fault").click()
    dialog = asked(page)
    expect(dialog).to_contain_text("does not count any more")
    dialog.get_by_role("button", name="Yes").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Why it was not at fault")
    expect(dialog.get_by_label("Why it was not at fault")).to_be_focused()
    page.keyboard.type("a defect of the firmware")
    picture(page, "acquit")
    done(dialog, "Yes, it was not at fault", "does not count any more")
    expect(said).to_be_hidden()
    assert "a defect of the firmware" in still.command("events", "--details", "--last", "20")
    assert DIMM not in still.command("parts")


def test_a_module_was_replaced_by_one_of_another_number(opened: Opened, still: Host) -> None:
    page = opened(still, ALL)
    go(page, "host")
    page.get_by_role("group", name=f"Say of {DIMM}").get_by_role("button", name="It was replaced").click()
    dialog = asked(page)
    dialog.get_by_label("Serial number").fill("0")
    dialog.get_by_role("button", name="Yes, it was replaced").click()
    expect(dialog.get_by_role("alert")).to_contain_text("no serial number")
    dialog.get_by_label("Serial number").fill("8A51F02C")
    done(dialog, "Yes, it was replaced", "replaced")
    assert DIMM not in still.command("parts")


def test_the_configuration_is_loaded_again_or_is_not_with_the_reason(opened: Opened, still: Host) -> None:
    page = opened(still, ALL)
    go_by_keys(page, "s", "service")
    file = still.directory / "ringfence.toml"
    before = file.read_text()
    file.write_text(f"{before}[rights]\nread_users = 3\n")
    page.get_by_role("button", name="Load both again").click()
    dialog = asked(page)
    dialog.get_by_role("button", name="Yes, load them again").click()
    expect(dialog.get_by_role("alert")).to_contain_text("rights")
    file.write_text(before)
    done(dialog, "Yes, load them again", "is in force")
    picture(page, "service")


def test_a_receiver_that_is_not_there_is_said_so_by_its_test(opened: Opened, still: Host) -> None:
    page = opened(still, ALL)
    go(page, "service")
    page.get_by_role("button", name="Send a test to pager").click()
    dialog = asked(page)
    dialog.get_by_role("button", name="Yes, send it").click()
    expect(dialog.get_by_role("alert")).to_contain_text("NOT taken")
    expect(dialog.get_by_role("alert")).to_contain_text("http://127.0.0.1:1/")


def test_who_may_only_look_is_offered_no_deed(opened: Opened, still: Host) -> None:
    page = opened(still, "read")
    go(page, "domains")
    page.get_by_role("option").filter(has_text="guest").click()
    expect(page.get_by_role("complementary", name="The chosen domain")).to_contain_text("may not operate")
    go(page, "host")
    page.get_by_label("The number of a page").fill("1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="A page")).to_contain_text("0x1000 to 0x1fff")
    expect(page.locator("main")).to_contain_text(DIMM)
    go(page, "service")
    expect(page.locator("main")).to_contain_text("pager")
    for name in ("host", "domains", "service"):
        go(page, name)
        expect(page.locator("[data-do^='do-'], [data-do=switch], [data-do=cpu]")).to_have_count(0)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 360)])
def test_deeds_fit_every_screen(opened: Opened, still: Host, scheme: Literal["light", "dark"], width: int) -> None:
    page = opened(still, ALL, width=width, color_scheme=scheme)
    for name in ("host", "service", "domains"):
        go(page, name)
        if name == "domains":
            page.get_by_role("option").filter(has_text="guest").click()
            page.get_by_role("button", name="Destroy").click()
            asked(page)
        else:
            expect(page.locator("main .button").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        picture(page, f"deeds-{scheme}-{width}-{name}")
