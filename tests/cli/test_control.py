"""status, events, cases, domains, approve, reject and do, as people run them against a running service."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ringfence.cli import control, control_text
from ringfence.cli.main import main
from ringfence.decision.policy import Operation
from ringfence.journal import events as ev
from ringfence.service import control_protocol as say
from tests.service.processes import ASKING, PATIENCE_S, RINGFENCE, Service, service, until


@pytest.fixture(scope="module")
def quiet() -> Iterator[Service]:
    """A healthy host."""
    with service() as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def asking() -> Iterator[Service]:
    """A host on which a person is asked again and again."""
    with service(scenario=ASKING) as made:
        made.start()
        yield made


def run(at: Service, command: str, *arguments: str, colour: bool = False) -> Result:
    return CliRunner().invoke(main, [command, *arguments, "--socket", str(at.socket)], color=colour)


# --- the service is not there -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [("status",), ("events",), ("cases",), ("domains",), ("approve",), ("reject", "1"), ("do", "pause", "web")],
)
def test_without_a_service_every_command_says_so_with_advice_and_ends_with_three(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*command, "--socket", "/no/such/socket"])
    assert result.exit_code == control.EXIT_NOT_RUNNING == 3
    assert "the service is not running (/no/such/socket: No such file or directory)" in result.output
    assert "systemctl start ringfence" in result.output


def test_the_socket_is_found_in_the_state_directory_or_where_the_environment_says(tmp_path: Path) -> None:
    in_state = CliRunner().invoke(main, ["status", "--state-dir", str(tmp_path)])
    named = CliRunner().invoke(main, ["status"], env={"RINGFENCE_SOCKET": "/elsewhere/s"})
    assert str(tmp_path / "control.sock") in in_state.output
    assert "/elsewhere/s" in named.output


@pytest.mark.parametrize(
    "arguments", [("do", "halt", "web"), ("do", "pause"), ("approve", "soon"), ("events", "--last", "-1")]
)
def test_what_cannot_be_meant_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == control.EXIT_USAGE == 2


# --- looking ----------------------------------------------------------------------------------------------------------


def test_status_says_whether_all_is_well_and_what_runs(quiet: Service) -> None:
    result = run(quiet, "status")
    assert result.exit_code == 0
    assert result.output.startswith("well\n")
    assert "model concept, boot 1" in result.output
    assert str(quiet.state) in result.output


def test_status_as_json_is_the_services_own_answer(quiet: Service) -> None:
    shown = json.loads(run(quiet, "status", "--json").output)
    assert shown["reply"] == "health"
    assert shown["hypervisor"] == "model concept"


def test_domains_are_a_table_that_can_be_read_without_counting_columns(quiet: Service) -> None:
    head, first, *_ = run(quiet, "domains").output.splitlines()
    assert head.split() == ["ID", "NAME", "KIND", "STATE", "VCPUS", "MIB", "HANDLER", "MCA", "OPEN", "CASES"]
    assert first.split() == ["0", "Domain-0", "Dom0", "running", "2", "128", "none", "-", "-"]
    assert first.index("Domain-0") == head.index("NAME")


def test_colours_are_for_terminals_alone(quiet: Service) -> None:
    assert "\x1b[" not in run(quiet, "domains").output
    assert "\x1b[32m" in run(quiet, "domains", colour=True).output


def test_events_are_lines_with_number_time_row_and_words(quiet: Service) -> None:
    result = run(quiet, "events", "--after", "0", "--last", "1")
    assert re.fullmatch(
        r" +1  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z  start       Ringfence \S+, life 1, on model concept\n",
        result.output,
    )


def test_a_follower_sees_what_is_done_and_by_whom_and_ends_with_three_when_the_service_does() -> None:
    with service() as running:
        running.start()
        command = [str(RINGFENCE), "events", "--follow", "--last", "0", "--socket", str(running.socket)]
        follower = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until(lambda: running.health().clients == 2)
        assert run(running, "do", "pause", "mail-hvm").exit_code == 0
        assert follower.stdout is not None
        first = follower.stdout.readline()
        running.end()
        _, said = follower.communicate(timeout=PATIENCE_S)
    assert re.search(r"instruction \[II\.2\] \w+ \(uid \d+, pid \d+\) instructs: pause mail-hvm \(case \d+\)", first)
    assert follower.returncode == 3
    assert "it hung up" in said


# --- doing ------------------------------------------------------------------------------------------------------------


def test_what_is_done_is_done_once_and_the_journal_says_who_did_it(quiet: Service) -> None:
    done = run(quiet, "do", "pause", "win-hvm")
    again = run(quiet, "do", "pause", "win-hvm")
    domains = {line.split()[1]: line.split() for line in run(quiet, "domains").output.splitlines()}
    number, *_, state = domains["win-hvm"][:4]
    assert state == "paused"
    instructed = [
        event for event in quiet.journal() if isinstance(event, ev.Instructed) and event.domain == int(number)
    ]
    assert [bool(event.refused) for event in instructed] == [False, True]
    assert all("(uid " in event.who for event in instructed)
    case = instructed[0].case
    assert (done.exit_code, done.output) == (0, f"case {case}: pause win-hvm done\n")
    assert again.exit_code == control.EXIT_REFUSED
    assert "refused: it is paused already" in again.output
    ends = until(lambda: [each for each in quiet.journal() if isinstance(each, ev.Closed) and each.case == case])
    assert [(entry.state, entry.row) for entry in ends[0].outcome] == [("operated", "II.2")]


@pytest.mark.parametrize(
    ("operation", "domain", "why"),
    [
        ("pause", "77", "there is no domain 77"),
        ("pause", "no-such", "there is no domain 'no-such'"),
        ("destroy", "Domain-0", "Dom0 is no guest"),
        ("destroy", "0", "Dom0 is no guest"),
    ],
)
def test_what_must_not_be_done_is_refused_and_changes_nothing(
    quiet: Service, operation: str, domain: str, why: str
) -> None:
    before = run(quiet, "domains").output
    result = run(quiet, "do", operation, domain)
    assert result.exit_code == control.EXIT_REFUSED
    assert why in result.output
    assert run(quiet, "domains").output == before


def test_an_operation_that_takes_time_is_begun_and_ends_in_its_case(quiet: Service) -> None:
    begun = json.loads(run(quiet, "do", "migrate", "cache-hvm", "--json").output)
    assert begun["status"] == "running"
    until(lambda: f"case {begun['case']}" in (each := run(quiet, "events").output) and "migrate done" in each)


def test_every_operation_of_case_two_can_be_named() -> None:
    assert set(control._OPERATIONS) == {each.value for each in Operation}


# --- a person's word --------------------------------------------------------------------------------------------------


def test_what_waits_is_listed_with_its_deadline_and_how_to_answer(asking: Service) -> None:
    until(asking.approvals)
    head, first, *_, advice = run(asking, "approve").output.splitlines()
    assert head.split() == ["CASE", "DOMAIN", "OPERATION", "TIME", "LEFT", "UNTIL"]
    assert re.fullmatch(r"\d+ +\S+ +destroy +(\d+ s|1 min 0 s) +\d{4}-\d\d-\d\d \S+Z", first)
    assert re.fullmatch(r"ringfence approve \d+ \d+   or   ringfence reject \d+ \d+", advice)


@pytest.mark.parametrize(("command", "granted", "state"), [("approve", True, "destroyed"), ("reject", False, None)])
def test_a_word_is_taken_once_and_the_journal_says_whose_it_was(
    asking: Service, command: str, granted: bool, state: str | None
) -> None:
    waiting = until(asking.approvals)[-1]
    arguments = (str(waiting.case), waiting.name)
    result, again = run(asking, command, *arguments), run(asking, command, *arguments)
    word = "granted" if granted else "denied"
    assert (result.exit_code, result.output) == (0, f"{word}: destroy {waiting.name}, case {waiting.case}\n")
    assert again.exit_code == control.EXIT_REFUSED
    assert "nothing of case" in again.output
    given = [each for each in asking.journal() if isinstance(each, ev.ApprovalGiven) and each.case == waiting.case]
    assert [(each.granted, each.domain) for each in given] == [(granted, waiting.domain)]
    assert "(uid " in given[0].who
    if state is not None:
        until(lambda: re.search(rf"{waiting.name} is {state}", run(asking, "events", "--last", "300").output))


def test_open_cases_are_listed_with_how_far_each_part_is(asking: Service) -> None:
    waiting = until(asking.approvals)[0]
    shown = run(asking, "cases").output
    assert f"{waiting.case}  open, " in shown
    assert f"    {waiting.name}: " in shown


# --- in words ---------------------------------------------------------------------------------------------------------


def test_a_closed_case_an_own_one_and_a_superseded_one_in_words() -> None:
    part = say.CasePart(whom="web1", state="guest_healed", row="I.3a-handler", because="it healed itself")
    found = say.CaseList(
        cases=(
            say.CaseLine(case=7, open=False, parts=(part,)),
            say.CaseLine(case=8, open=False, superseded_by=9),
            say.CaseLine(case=9, open=True, opened_wall_ms=0, severity="SRAR", pages=1),
            say.CaseLine(case=10, open=True, instructed="migrate"),
        )
    )
    assert control_text.cases(found).replace("\x1b[33m", "").replace("\x1b[0m", "") == (
        "7  closed\n"
        "    web1: guest healed by I.3a-handler; it healed itself\n"
        "8  closed\n"
        "    taken over by case 9\n"
        "9  open, SRAR, since 1970-01-01 00:00:00.000Z, 1 page\n"
        "10  open, migrate\n"
    )


def test_nothing_is_said_as_nothing() -> None:
    assert control_text.cases(say.CaseList(cases=())) == "no open case\n"
    assert control_text.approvals(say.ApprovalList(approvals=())) == "nothing waits for your word\n"


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (-1, "0 s"),
        (999, "0 s"),
        (59_999, "59 s"),
        (61_000, "1 min 1 s"),
        (3_660_000, "1 h 1 min"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_spans_have_their_two_largest_units(ms: int, words: str) -> None:
    assert control_text.span(ms) == words


def test_a_domains_name_cannot_write_on_the_terminal() -> None:
    line = say.DomainLine(domain=1, name="\x1b[2Jgone", kind="PV", state="running")
    shown = control_text.domains(say.DomainList(domains=(line,)))
    assert "\\x1b[2Jgone" in shown


def test_a_halted_host_is_the_first_thing_that_status_says() -> None:
    with service(scenario=_HALTING) as running:
        running.start()
        until(lambda: running.health().halted)
        output = run(running, "status").output
        refused = run(running, "do", "pause", "1")
        code, _ = running.end(signal.SIGTERM)
    assert output.startswith("NOT WELL\n  ! the host has halted; it is reset in ")
    assert refused.exit_code == control.EXIT_REFUSED
    assert "the host has halted" in refused.output
    assert code == 0


_HALTING = """
based_on = "quiet"
[memory]
[units]
"context corrupt" = 1000.0
"cache tags" = 1000.0
"link" = 1000.0
"""
