"""A plug-in is heard, and cannot hurt: whatever it does, there is a verdict or the policy's own answer."""

from __future__ import annotations

import re
import sys
import threading
import time
from pathlib import Path

import pytest

from ringfence.decision.answer import answer
from ringfence.decision.policy import DEFAULT, Answer
from ringfence.diagnosis.severity import Severity
from ringfence.journal import events as ev
from ringfence.service.plugins import GROUP, MOST_SAID, Asked, Plugin, installed, verdicts
from ringfence.world.domain import Dom0State, Domain, DomainKind
from ringfence.world.identities import CaseId, DomainId
from ringfence.world.situation import PluginVerdict, Situation

WEB = Domain(id=DomainId(3), name="web1", kind=DomainKind.HVM)
SITUATION = Situation(now_ms=0, dom0=Dom0State(has_handler=True), domains=(WEB,))
ASKED = Asked(domain=WEB, severity=Severity.SRAO, lost_pages=1, situation=SITUATION)


def leaves(asked: Asked, /) -> tuple[Answer, str] | None:
    return Answer.LEAVE, f"{asked.domain.name} heals itself"


def has_no_opinion(asked: Asked, /) -> tuple[Answer, str] | None:
    return None


def raises(asked: Asked, /) -> tuple[Answer, str] | None:
    raise KeyError("rack")


def says_nonsense(asked: Asked, /) -> tuple[Answer, str] | None:
    return "reboot the world", "why not"  # type: ignore[return-value] # what a careless plug-in does


def test_a_verdict_comes_with_its_reason_and_the_domain_it_is_about() -> None:
    assert verdicts({"rack": leaves}, ASKED) == (PluginVerdict("rack", "leave", "web1 heals itself", WEB.id),)


def test_who_has_no_opinion_is_left_out() -> None:
    assert verdicts({"quiet": has_no_opinion, "rack": leaves}, ASKED)[0].plugin == "rack"


def leaves_the_process(asked: Asked, /) -> tuple[Answer, str] | None:
    sys.exit("no rack")


class SpeechlessError(Exception):
    def __repr__(self) -> str:
        raise ValueError


def raises_what_cannot_be_told(asked: Asked, /) -> tuple[Answer, str] | None:
    raise SpeechlessError


@pytest.mark.parametrize(
    ("plugin", "why"),
    [
        (raises, "KeyError('rack')"),
        (says_nonsense, "reboot the world"),
        (leaves_the_process, "SystemExit('no rack')"),
        (raises_what_cannot_be_told, "SpeechlessError: it cannot say what"),
    ],
)
def test_one_that_fails_has_a_verdict_without_an_answer(plugin: Plugin, why: str) -> None:
    (verdict,) = verdicts({"bad": plugin}, ASKED, late_s=10)
    assert verdict.answer == ""
    assert why in verdict.because


def test_what_it_says_is_kept_in_part_and_can_be_written_down() -> None:
    def raves(asked: Asked, /) -> tuple[Answer, str] | None:
        return Answer.LEAVE, "\ud800" + "x" * 10_000_000

    (verdict,) = verdicts({"raves": raves}, ASKED, late_s=10)
    assert (verdict.answer, len(verdict.because) < 2 * MOST_SAID) == (Answer.LEAVE, True)
    event = ev.PluginSaid(at_ms=0, case=CaseId(1), plugin="raves", answer="leave", because=verdict.because)
    assert "\\ud800xxx" in ev.to_text(event).replace("\\\\", "\\")


def test_one_that_leaves_the_process_as_it_is_loaded_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaver.py").write_text("import sys\nsys.exit(3)\n")
    info = tmp_path / "leaver-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaver\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nleaver = leaver:rule\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = installed()
    (verdict,) = verdicts({"leaver": found["leaver"]}, ASKED, late_s=10)
    assert (verdict.answer, "SystemExit(3)" in verdict.because) == ("", True)


def test_one_that_is_late_is_left_to_itself() -> None:
    wait = threading.Event()

    def sleeps(asked: Asked, /) -> tuple[Answer, str] | None:
        wait.wait(30)
        return None

    before = time.monotonic()
    (verdict,) = verdicts({"slow": sleeps}, ASKED, late_s=0.05)
    wait.set()
    assert verdict.answer == "" and "late" in verdict.because
    assert time.monotonic() - before < 20


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (PluginVerdict("rack", "leave", "because", WEB.id), Answer.LEAVE),
        (PluginVerdict("rack", "leave", "because"), Answer.LEAVE),
        (PluginVerdict("rack", "leave", "about another", DomainId(4)), Answer.NOTIFY),
        (PluginVerdict("rack", "", "it failed", WEB.id), Answer.NOTIFY),
    ],
)
def test_the_decision_hears_it_only_if_it_is_about_this_domain_and_an_answer(
    verdict: PluginVerdict, says: Answer
) -> None:
    situation = Situation(now_ms=0, dom0=Dom0State(has_handler=True), domains=(WEB,), verdicts=(verdict,))
    reply = answer(WEB, situation, DEFAULT, severity=Severity.SRAO, lost_pages=1, only_operate=False)
    assert reply.says is says


PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"


def test_the_example_of_the_docs_is_found_by_its_entry_point_and_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    code = re.search(r"^<!-- file: rack.py -->\n```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert code is not None
    (tmp_path / "rack_plugin.py").write_text(code[1], encoding="utf-8")
    described = tmp_path / "mysite-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: mysite\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(
        f"[{GROUP}]\nrack = rack_plugin:rack\ngone = no_such_module:at_all\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = installed()
    assert {"rack", "gone"} <= set(found)
    database = Domain(id=DomainId(4), name="db1", kind=DomainKind.PV, labels=frozenset({"database"}))
    asked = Asked(domain=database, severity=Severity.SRAR, lost_pages=1, situation=SITUATION)
    said = {each.plugin: each for each in verdicts(found, asked)}
    assert said["rack"].answer == "notify"
    assert said["gone"].answer == "" and "could not be loaded" in said["gone"].because
    assert "rack" not in {each.plugin for each in verdicts(found, ASKED)}, "web1 is no database"


def test_late_ones_are_late_together_and_are_not_asked_again_before_they_come_back() -> None:
    release = threading.Event()

    def hangs(asked: Asked, /) -> tuple[Answer, str] | None:
        release.wait(10)
        return None

    plugins: dict[str, Plugin] = {f"hangs {number}": hangs for number in range(8)}
    began = time.monotonic()
    assert all("late" in verdict.because for verdict in verdicts(plugins, ASKED, late_s=0.2))
    assert time.monotonic() - began < 1.0
    before = threading.active_count()
    assert all("earlier question" in verdict.because for verdict in verdicts(plugins, ASKED, late_s=0.2))
    assert threading.active_count() == before
    release.set()
