"""A browser for all tests, a fresh profile for each, and what must be true of every page that was ever open."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Literal, TypeAlias

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, Request, expect, sync_playwright

from tests.browser.hosts import APPROVING, FAULTY, HOSTILE, NOBODY, QUIET, Host, asking

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

NUMBERS = count(1)

PATIENCE_MS = 30_000
"""For what is waited for: the machine may have other work. Nothing here asserts how fast anything is."""
expect.set_options(timeout=PATIENCE_MS)

Opened: TypeAlias = Callable[..., Page]


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind() -> None:
    """In place of the check for all tests: Playwright's event loop lasts from the first test to the last, and its pool
    of threads with it.
    """


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = os.environ.get("RINGFENCE_CHROMIUM", "/usr/bin/chromium")
    if not Path(path).exists():
        pytest.fail(f"there is no {path}: apt-get install chromium, or set RINGFENCE_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session", autouse=True)
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host on which the demo is played: half a minute in which everything happens, then quiet.

    Started before it is wanted: it plays while other tests run.
    """
    yield from _running(Host(tmp_path_factory.mktemp("demo")))


@pytest.fixture(scope="session")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host whose guests lose pages all the time; a person must approve what is done to them. One has a bad name."""
    scenario = asking(HOSTILE, "shop", "mail", "cache", "search", "build")
    yield from _running(Host(tmp_path_factory.mktemp("busy"), policy=APPROVING, scenario=scenario))


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host on which nothing happens."""
    yield from _running(Host(tmp_path_factory.mktemp("quiet"), scenario=QUIET))


@pytest.fixture
def still(tmp_path: Path) -> Iterator[Host]:
    """A host of the test's own with one guest and one faulty DIMM, on which nothing more happens."""
    yield from _running(Host(tmp_path, log=FAULTY, more=NOBODY))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Host]:
    """A host of the test's own, which it may stop and start."""
    yield from _running(Host(tmp_path))


def _running(host: Host) -> Iterator[Host]:
    host.write()
    try:
        host.start()
        yield host
    finally:
        host.stop()


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Opened]:
    """Open the console of a host, signed in with some scopes. At the end: nothing failed, nothing came from elsewhere,
    no text became markup, and the policy on content was never broken.
    """
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def foreign(request: Request) -> None:
        if not request.url.startswith("http://127.0.0.1:"):
            wrong.append(f"asked elsewhere: {request.url}")

    def console(kind: str, text: str) -> None:
        # What Chromium itself says of answers that are no success (signing in), and of a service that is stopped.
        if kind in {"error", "warning"} and not text.startswith("Failed to load resource:"):
            wrong.append(f"{kind}: {text}")

    def dialog(shown: Dialog) -> None:
        wrong.append(f"a script ran: {shown.message}")
        shown.dismiss()

    def open_page(
        host: Host,
        scopes: str | None = "read,approve",
        width: int = 1440,
        height: int = 900,
        color_scheme: Literal["dark", "light"] = "dark",
    ) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, reduced_motion="reduce", color_scheme=color_scheme
        )
        contexts.append(context)
        context.set_default_timeout(2 * PATIENCE_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(f"{error.message}\n{error.stack}"))
        page.on("console", lambda message: console(message.type, message.text))
        page.on("request", foreign)
        page.on("dialog", dialog)
        page.goto(host.url)
        if scopes is not None:
            sign_in(page, host.token(f"tester{next(NUMBERS)}", scopes))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def sign_in(page: Page, token: str) -> None:
    """Show a token, as a person does."""
    page.get_by_label("Token").fill(token)
    page.keyboard.press("Enter")
    page.locator("dialog#login").wait_for(state="detached")
    page.locator(".link[data-state=live]").wait_for()


def picture(page: Page, name: str) -> None:
    """Keep a screenshot, if somebody wants to look: RINGFENCE_SCREENSHOTS names the directory."""
    if directory := os.environ.get("RINGFENCE_SCREENSHOTS"):
        page.screenshot(path=Path(directory) / f"{name}.png")
