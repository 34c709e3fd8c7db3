"""demo, explain and replay as their users run them."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ringfence.cli.main import main
from ringfence.decision.rows import Row
from ringfence.journal import events as ev
from ringfence.journal.store import Journal, Reader
from ringfence.world.identities import CaseId, DomainId

ROOT = Path(__file__).resolve().parents[2]
LOG = str(ROOT / "examples" / "host.log")


def run(*arguments: str, **options: str | bytes) -> Result:
    return CliRunner().invoke(main, arguments, input=options.get("input"))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The journal of one demo, and what it printed."""
    journal = tmp_path_factory.mktemp("demo") / "demo.sqlite"
    result = run("demo", "--speed", "0", "--plain", "--journal", str(journal))
    assert result.exit_code == 0, result.output
    return journal, result.output


def test_the_demo_passes_every_row_of_the_concept(played: tuple[Path, str]) -> None:
    _, output = played
    assert f"Rows of the concept passed: {len(Row)} of {len(Row)}" in output


def test_the_demo_ends_with_what_became_of_each_case_and_where_the_journal_lies(played: tuple[Path, str]) -> None:
    journal, output = played
    assert "old-pv: operated by I.3a-dom0; it was operated on" in output
    assert "the host: halted by I.2x" in output
    assert "still open" not in output
    assert f"The journal lies in {journal}" in output


def test_the_demo_is_told_in_the_order_in_which_things_happen_and_in_words(played: tuple[Path, str]) -> None:
    """A scene stands before what it brings about; an order is called the same as it is given and as it ends."""
    told = [line for line in played[1].split("What became")[0].splitlines() if line[:1].isdigit()]
    assert "  start " in told[0]
    late = [line for before, line in pairwise(told) if line[:12] < before[:12]]
    assert late == []
    assert not [line for line in told if re.search(r"\border \d+:|\bTrue\b|\bFalse\b|\(\d+,|refused, refused", line)]
    assert "order       [I.3a-inform] NotifyGuest batch-pv, page 0x65, endangered" in played[1]
    assert "refusal     [II.4] pause Dom0: refused: there is no guest 0" in played[1]
    assert "- shop-pv: migrate: expected loss: " in played[1]
    assert "- shop-pv: waiting: 28.35% that the uncorrected error, expected in 24 h, comes within 8 h" in played[1]


@pytest.mark.parametrize("speed", [1, 8])
def test_the_demo_waits_for_half_a_minute_in_all_and_a_few_gaps_or_less_at_speed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speed: int
) -> None:
    waits = list[float]()
    monkeypatch.setattr(time, "sleep", waits.append)
    result = run("demo", "--speed", str(speed), "--plain", "--journal", str(tmp_path / "demo.sqlite"))
    assert result.exit_code == 0, result.output
    assert 28 < sum(waits) * speed < 45


def test_the_same_seed_plays_the_same_demo(played: tuple[Path, str], tmp_path: Path) -> None:
    _, output = played
    again = run("demo", "--speed", "0", "--plain", "--journal", str(tmp_path / "demo.sqlite"))
    assert again.output.split("What became")[0] == output.split("What became")[0]


def test_the_demo_as_json_is_one_object_a_line(tmp_path: Path) -> None:
    result = run("demo", "--speed", "0", "--json", "--journal", str(tmp_path / "demo.sqlite"))
    shown = [json.loads(line) for line in result.output.splitlines()]
    assert {"at_ms", "what", "row", "text", "details"} == set(shown[0])
    assert "I.3b-inject" in {each["row"] for each in shown}


def test_an_unknown_scenario_is_said_so(tmp_path: Path) -> None:
    result = run("demo", "--scenario", "no-such", "--journal", str(tmp_path / "demo.sqlite"))
    assert result.exit_code == 2
    assert "no-such" in result.output


def case_of(journal: Path, words: str) -> str:
    """The number of the first case whose listing has these words."""
    lines = run("explain", "--journal", str(journal)).output.splitlines()
    at = next(number for number, line in enumerate(lines) if words in line)
    return next(line.split()[0] for line in reversed(lines[: at + 1]) if "->" not in line)


def test_explain_lists_the_cases_with_their_ends(played: tuple[Path, str]) -> None:
    journal, _ = played
    output = run("explain", "--journal", str(journal)).output
    assert "win-hvm: operated by I.3b-dom0" in output
    assert "corrected errors of page" in output


def test_explain_goes_from_the_registers_to_the_outcome_each_step_with_its_row(played: tuple[Path, str]) -> None:
    journal, _ = played
    result = run("explain", "--journal", str(journal), case_of(journal, "win-hvm: operated"))
    assert result.exit_code == 0
    order = [
        "status 0x",
        "[I.1]",
        "[B.1] win-hvm took the error in (proven)",
        "B.7: the platform marks bad data",
        "win-hvm has registered no PV MCA handler",
        "Dom0 is asked",
        "restart has the least expected loss",
        "[II.2] RestartDomain win-hvm",
        "operated for win-hvm",
        "outcome",
    ]
    at = [result.output.find(words) for words in order]
    assert -1 not in at, dict(zip(order, at, strict=True))
    assert at == sorted(at)


def test_a_corrected_error_makes_no_case_and_is_explained_all_the_same(played: tuple[Path, str]) -> None:
    journal, _ = played
    listed = run("explain", "--journal", str(journal)).output.partition("records that made no case")[2]
    number = next(line.split()[0] for line in listed.splitlines() if "Corrected error" in line)
    output = run("explain", "--journal", str(journal), number).output
    assert "[I.2a] Corrected error" in output
    assert "status 0x" in output
    assert "counted, and remembered for trends" in output


def test_an_event_of_a_case_is_explained_by_its_case_and_one_of_none_says_what_it_is(
    played: tuple[Path, str],
) -> None:
    journal, _ = played
    with Reader(journal) as reader:
        numbers = {type(event): number for number, event in reader.events()}
    of_order = run("explain", "--journal", str(journal), str(numbers[ev.Carried])).output
    assert of_order.startswith(f"event {numbers[ev.Carried]} is of case ")
    assert "outcome" in of_order
    changed = run("explain", "--journal", str(journal), str(numbers[ev.DomainChanged])).output
    assert changed.startswith(f"event {numbers[ev.DomainChanged]}, no case: domain\n")
    assert " is " in changed


def test_a_number_that_a_case_and_an_event_have_is_the_cases_unless_the_event_is_asked_for(tmp_path: Path) -> None:
    path, case = tmp_path / "journal.sqlite", CaseId(2)
    with Journal(path) as journal:
        journal.append(
            ev.Started(at_ms=0, life=1, version="1", hypervisor="model", boot="1"),
            ev.PolicyLoaded(at_ms=0, digest="abc"),
            ev.Asked(at_ms=1_500, case=case, domain=DomainId(3), deadline_ms=3_500),
        )
    assert run("explain", "--journal", str(path), "2").output.startswith("case 2, open:")
    assert run("explain", "--journal", str(path), "--event", "2").output.startswith("event 2, no case: policy\n")


def test_explain_tells_times_in_utc_where_the_wall_clock_is_known(tmp_path: Path) -> None:
    path, case = tmp_path / "journal.sqlite", CaseId(7)
    with Journal(path) as journal:
        journal.append(
            ev.Started(at_ms=0, life=1, version="1", hypervisor="model", boot="1", wall_ms=1_000_000_000_000),
            ev.Asked(at_ms=1_500, case=case, domain=DomainId(3), deadline_ms=3_500),
            ev.Started(at_ms=0, life=2, version="1", hypervisor="model", boot="2", wall_ms=1_000_000_060_000),
            ev.Closed(at_ms=7, case=case, outcome=(ev.OutcomeEntry(None, "halted", "I.2x"),)),
        )
    assert run("explain", "--journal", str(path), "7").output == (
        "case 7, closed: no evidence of its own\n"
        "2001-09-09 01:46:41.500Z  question    [I.2c-dom0] Dom0 is asked what shall become of domain 3, until "
        "2001-09-09\n"
        "                                      01:46:43.500Z\n"
        "2001-09-09 01:47:40.007Z  outcome     closed\n"
        "                                      - the host: halted by I.2x;\n"
    )


def test_explain_as_json_has_the_same_links(played: tuple[Path, str]) -> None:
    journal, _ = played
    shown = json.loads(run("explain", "--json", "--journal", str(journal), case_of(journal, "win-hvm: op")).output)
    assert not shown["open"]
    assert shown["outcome"] == ["win-hvm: operated by I.3b-dom0; it was operated on"]
    assert {"evidence", "finding", "impact", "decision", "order", "result", "outcome"} <= {
        each["what"] for each in shown["links"]
    }


def test_explain_without_such_a_case_or_journal_says_what_to_do(played: tuple[Path, str], tmp_path: Path) -> None:
    journal, _ = played
    for none in ("0", "999999", str(1 << 80)):
        missed = run("explain", "--journal", str(journal), none)
        assert missed.exit_code == 1
        assert f"there is no case and no event {none}" in missed.output
    missing = run("explain", "--journal", str(tmp_path / "none.sqlite"))
    assert missing.exit_code == 2
    assert "start Ringfence first" in missing.output


def test_replay_puts_a_log_to_a_model_host() -> None:
    result = run("replay", LOG)
    assert result.exit_code == 0
    assert "SRAR" in result.output
    assert "the host: healed by I.2b" in result.output, "the kernel was the consumer in this log, and went on"
    assert "Assumed: the stand-in (hvm)" in result.output


GUEST_LOG = """\
mce: [Hardware Error]: Machine check events logged
mce: [Hardware Error]: CPU 3: Machine Check Exception: f Bank 1: bd80000000100134
mce: [Hardware Error]: RIP 33:<00007f0000001000>
mce: [Hardware Error]: TSC 0 ADDR 123456780 MISC 86
mce: [Hardware Error]: PROCESSOR 0:50657 TIME 1700000000 SOCKET 0 APIC 6 microcode 5003302
"""


@pytest.mark.parametrize(
    ("stand_in", "end"),
    [
        ("hvm", "the guest: injected by I.3b-inject"),
        ("hvm-plain", "the guest: operated by I.3b-dom0"),
        ("pv", "the guest: guest healed by I.3a-handler"),
        ("pv-plain", "the guest: operated by I.3a-dom0"),
    ],
)
def test_what_would_have_happened_depends_on_who_had_the_page(tmp_path: Path, stand_in: str, end: str) -> None:
    log = tmp_path / "guest.log"
    log.write_text(GUEST_LOG)
    assert end in run("replay", str(log), "--stand-in", stand_in).output


def test_what_was_found_by_polling_after_a_reset_halts_nothing_again(tmp_path: Path) -> None:
    """A Coffee Lake at its start: UC and PCC in a bank that firmware had not cleared, EN=0 (forum log, Dec 2020)."""
    log = tmp_path / "boot.log"
    log.write_text(
        "mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 7: ae00000000801136\n"
        "mce: [Hardware Error]: TSC 0 ADDR 8be6c800 MISC 70e0000086\n"
        "mce: [Hardware Error]: PROCESSOR 0:906eb TIME 1607550045 SOCKET 0 APIC 0 microcode ca\n"
    )
    output = run("replay", str(log)).output
    assert "1 FATAL" in output
    assert "halted" not in output
    assert "history: it was found after the fact" in output


def test_a_host_that_was_closed_to_new_guests_is_started_anew_for_what_follows_the_loss_of_its_guest(
    tmp_path: Path,
) -> None:
    log, policy = tmp_path / "two.log", tmp_path / "destroy.toml"
    unlocated = (
        "mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 7: b00000000000009f\n"
        "mce: [Hardware Error]: TSC 0\n"
        "mce: [Hardware Error]: PROCESSOR 0:50657 TIME 1699999940 SOCKET 0 APIC 0 microcode 5003302\n"
    )
    log.write_text(unlocated + GUEST_LOG)
    policy.write_text('[otherwise]\non_srar = "operate"\noperations = ["destroy"]\n')
    result = run("replay", str(log), "--policy", str(policy))
    assert result.exit_code == 0
    assert "the host: degraded by I.2u" in result.output
    assert "the guest: operated by II.2" in result.output


def test_two_policies_stand_side_by_side(tmp_path: Path) -> None:
    log, policy = tmp_path / "guest.log", tmp_path / "operate.toml"
    log.write_text(GUEST_LOG)
    policy.write_text('[otherwise]\non_srar = "operate"\n')
    result = run("replay", str(log), "--policy", str(policy), "--against", "default")
    assert f"{policy}: the guest: operated by II.2" in result.output
    assert "the default policy: the guest: injected by I.3b-inject" in result.output
    assert "The policies differ in 1 of them." in result.output


def test_replay_as_json_names_the_policy_of_each_outcome(tmp_path: Path) -> None:
    log = tmp_path / "guest.log"
    log.write_text(GUEST_LOG)
    (line,) = run("replay", str(log), "--json").output.splitlines()
    shown = json.loads(line)
    assert shown["severity"] == "SRAR"
    assert shown["outcomes"][0]["policy"] == "the default policy"


def test_replay_says_of_unreadable_evidence_where_it_stands_and_why(tmp_path: Path) -> None:
    log = tmp_path / "cut.cper"
    log.write_bytes(b"CPER" + bytes(200))
    shown = run("replay", str(log)).output
    assert "Not readable: " in shown
    assert str(log) in shown
    assert "1 unreadable" in shown
    (line,) = run("replay", str(log), "--json").output.splitlines()
    assert json.loads(line)["unrecognised"] in shown


def test_two_replays_are_not_told_as_one_history(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert run("replay", LOG, "--keep", str(kept)).exit_code == 0
    again = run("replay", LOG, "--keep", str(kept))
    assert again.exit_code == 2
    assert "it holds an earlier replay" in again.output


def test_a_policy_that_cannot_be_read_is_said_so() -> None:
    result = run("replay", LOG, "--policy", "/no/such/policy.toml")
    assert result.exit_code == 2


def test_the_demo_takes_away_no_file_but_an_earlier_demos_journal(tmp_path: Path) -> None:
    (beside := tmp_path / "journal.sqlite.backup").write_text("kept")
    (other := tmp_path / "notes").write_text("kept")
    for name, code in (("notes", 2), ("journal.sqlite", 0), ("journal.sqlite", 0)):
        result = run("demo", "--speed", "0", "--plain", "--journal", str(tmp_path / name))
        assert result.exit_code == code, result.output
    assert beside.read_text() == other.read_text() == "kept"


def test_the_demo_leaves_the_journal_of_a_real_host_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with Journal(path, fsync=False) as journal:
        journal.append(ev.Started(at_ms=0, life=1, version="1", hypervisor="Xen 4.20.0"))
    result = run("demo", "--speed", "0", "--plain", "--journal", str(path))
    assert (result.exit_code, "no journal of a demo" in result.output) == (2, True)
    with Reader(path) as reader:
        assert reader.check() == 1


def test_explain_lists_what_holds_of_a_damaged_journal_and_says_what_is_lost(
    played: tuple[Path, str], tmp_path: Path
) -> None:
    path = tmp_path / "hurt.sqlite"
    shutil.copy(played[0], path)
    whole = run("explain", "--journal", str(path)).output
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER no_update")
        connection.execute("UPDATE event SET text = '{}' WHERE number = 30")
        connection.commit()
    result = run("explain", "--journal", str(path))
    assert result.exit_code == 3
    assert "event 30 is lost; what holds is shown" in result.stderr
    cases = [line for line in whole.splitlines() if line[:16].strip().isdecimal()]
    assert len([line for line in cases if line in result.stdout]) >= len(cases) - 1
    lines = [json.loads(line) for line in run("explain", "--journal", str(path), "--json").stdout.splitlines()]
    assert len(lines) >= len(cases) - 2
    assert sum("damaged" in line for line in lines) <= 1
