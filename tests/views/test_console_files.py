"""The console's files: what they may not contain, that every colour can be read, that no word is missing."""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import pytest

from ringfence.decision.flow import State
from ringfence.decision.policy import Operation
from ringfence.diagnosis.fault_case import Ending, Stage
from ringfence.diagnosis.severity import Severity
from ringfence.diagnosis.suspects import GRADES
from ringfence.journal.events import KINDS
from ringfence.service.control_protocol import PartState, Switch
from ringfence.views import chain
from ringfence.world.domain import LIVING, DomainState

CONSOLE = resources.files("ringfence.views") / "console"


def files(directory: Traversable = CONSOLE, prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for each in directory.iterdir():
        if each.is_dir():
            found |= files(each, f"{prefix}{each.name}/")
        else:
            found[f"{prefix}{each.name}"] = each.read_text(encoding="utf-8")
    return found


FILES = files()
SCRIPTS = {name: text for name, text in FILES.items() if name.endswith(".js")}
CSS = FILES["console.css"]

# --- hostile text -----------------------------------------------------------------------------------------------------

PARSES_MARKUP = (
    "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "createContextualFragment",
    "setHTML", "srcdoc", "eval(", "new Function", "javascript:", "dangerously",
)  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_nothing_in_the_console_can_parse_text_as_markup_or_run_it(name: str) -> None:
    assert [each for each in PARSES_MARKUP if each in SCRIPTS[name]] == []


@pytest.mark.parametrize("name", FILES)
def test_nothing_comes_from_elsewhere(name: str) -> None:
    addresses = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s'\"]*", FILES[name])
    assert [each for each in addresses if "www.w3.org" not in each] == []  # the name of SVG is no address
    assert "url(" not in FILES[name]
    assert "@import" not in FILES[name]


def test_the_page_has_no_script_and_no_style_of_its_own() -> None:
    page = FILES["index.html"]
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert "<style" not in page
    assert re.findall(r"\s(?:on\w+|style)=", page) == []


def test_every_module_that_is_imported_is_there() -> None:
    for name, text in SCRIPTS.items():
        folder = name.rpartition("/")[0]
        for wanted in re.findall(r"from '(\.[^']+)'", text):
            path = [each for each in f"{folder}/{wanted}".split("/") if each not in {"", "."}]
            while ".." in path:
                at = path.index("..")
                del path[at - 1 : at + 1]
            assert "/".join(path) in FILES, f"{name} imports {wanted}"


# --- words ------------------------------------------------------------------------------------------------------------


def keys_of(table: str) -> set[str]:
    """The keys of an exported object of words.js."""
    body = re.search(rf"export const {table} = {{\n(.*?)\n}};", SCRIPTS["words.js"], re.DOTALL)
    assert body is not None
    return {key.strip("'") for key in re.findall(r"^  ('[^']+'|\w+):", body[1], re.MULTILINE)}


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("STATES", set(State)),
        ("OPERATIONS", set(Operation)),
        ("DOMAIN_STATES", set(DomainState)),
        ("OFFERED", set(DomainState)),
        ("STAGES", set(Stage)),
        ("GRADES", set(GRADES)),
        ("PART_STATES", set(PartState)),
        ("SEVERITIES", set(Severity)),
    ],
)
def test_every_name_that_the_service_uses_has_its_words_and_no_other(table: str, names: set[str]) -> None:
    assert keys_of(table) == {str(each) for each in names}


def test_what_is_offered_for_a_domain_is_what_the_service_may_do_in_its_state() -> None:
    lists = re.findall(r"^  ('[^']+'|\w+): \[([^\]]*)\]", SCRIPTS["words.js"], re.MULTILINE)
    offered = {state.strip("'"): set(re.findall(r"'(\w+)'", names)) for state, names in lists}
    brought_back = {"restore", "restart"}  # service.instructing.why_not
    for state in DomainState:
        anything = set(Operation) if state in LIVING else brought_back if state is not DomainState.MIGRATED else set()
        if state is DomainState.PAUSED:
            anything = anything - {Operation.PAUSE} | {"unpause"}
        assert offered[state] == {str(each) for each in anything}, state


def test_every_deed_that_is_asked_for_has_its_words() -> None:
    used = set(re.findall(r"DEEDS\.(\w+)", SCRIPTS["deeds.js"] + SCRIPTS["pages/domains.js"]))
    used |= {f"{what} {each}" for what in ("page", "cpu") for each in Switch} | {str(each) for each in Ending}
    assert keys_of("DEEDS") == used


SORTS = set(re.findall(r'Link\(\s*[^,]+,\s*"([^"]+)"', Path(chain.__file__).read_text(encoding="utf-8")))
"""What an event can be, in the words of ``views.chain``."""


def listed(name: str, table: str) -> set[str]:
    """Every word in the lists of a table."""
    body = re.search(rf"const {table} = \[\n(.*?)\n\];", SCRIPTS[name], re.DOTALL)
    assert body is not None
    return {
        word for each in re.findall(r"\[([^\[\]]*)\](?!,\n  \[)", body[1]) for word in re.findall(r"'([^']+)'", each)
    }


@pytest.mark.parametrize(("name", "table"), [("words.js", "CHAIN"), ("pages/events.js", "GROUPS")])
def test_every_sort_of_event_has_its_place(name: str, table: str) -> None:
    assert len(SORTS) > 20
    assert SORTS - listed(name, table) == set()


def test_what_an_event_changes_is_told_for_kinds_that_there_are() -> None:
    body = re.search(r"const CHANGES = {\n(.*?)\n};", SCRIPTS["store.js"], re.DOTALL)
    assert body is not None
    kinds = set(re.findall(r"^  (\w+):", body[1], re.MULTILINE))
    assert kinds
    assert kinds <= set(KINDS)


# --- colours ----------------------------------------------------------------------------------------------------------

COLOURS = {
    name: (light, dark)
    for name, light, dark in re.findall(
        r"^  --([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", CSS, re.MULTILINE
    )
}

GROUNDS = ("ground", "surface", "raised")
TEXT = [
    *((text, ground) for text in ("text", "muted", "accent") for ground in GROUNDS),
    *((tone, f"{tone}-ground") for tone in ("good", "work", "warn", "bad", "calm")),
    *((tone, "surface") for tone in ("warn", "bad")),
    *((f"on-heat-{level}", f"heat-{level}") for level in range(5)),
    ("on-accent", "accent"),
    ("text", "work-ground"),
    ("muted", "work-ground"),
    ("text", "warn-ground"),
    ("muted", "warn-ground"),
]
"""What is written on what (WCAG 2.2, 1.4.3: 4.5 to 1)."""
SHAPES = [
    *((shape, ground) for shape in ("edge", "focus") for ground in GROUNDS),
    ("bad", "surface"),
    ("good", "surface"),
]
"""Borders of fields and buttons, the focus, the mark of the connection (WCAG 2.2, 1.4.11: 3 to 1)."""


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2, definitions)."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("front", "back", "least"), [*((*pair, 4.5) for pair in TEXT), *((*pair, 3.0) for pair in SHAPES)]
)
def test_what_is_shown_stands_out_from_what_it_is_shown_on(front: str, back: str, least: float, theme: str) -> None:
    at = ("light", "dark").index(theme)
    assert contrast(COLOURS[front][at], COLOURS[back][at]) >= least


def test_every_colour_is_declared_once_for_both_themes() -> None:
    rules = CSS[CSS.index("\n}\n") :]
    used = set(re.findall(r"#[0-9a-f]{3,8}\b", rules)) - {"#17212b99", "#000000b3", "#ffffff", "#2a0906"}
    assert used == set()  # those are the veil behind a dialog, and what is written on a grave button


def test_motion_is_only_for_those_who_did_not_ask_for_less() -> None:
    outside = re.sub(r"@media \(prefers-reduced-motion: no-preference\) {.*?\n}", "", CSS, flags=re.DOTALL)
    assert "animation:" not in outside
    assert "transition" not in outside
