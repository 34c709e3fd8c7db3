"""The policy commands as their user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ringfence.cli.main import main
from ringfence.decision.policy import DEFAULT
from ringfence.decision.policy_file import read

BAD = '[deadlines]\ndom0 = "5 parsecs"\ngest = "1s"\n'
GOOD = """\
unlocated = "drain"
approve = ["migrate"]

[deadlines]
dom0 = "5s"

[trends]
on_rank = "operate"

[[domain]]
name = "db-*"
labels = ["gold"]
on_srar = "operate"
operations = ["restore"]
ahead = ["migrate"]
keep = 10
vmce = false
inform_of_ce = true

[[domain]]
name = "db-*"
on_ue = "leave"
"""


def policy(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["policy", *arguments])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to be in, with a good and a bad policy."""
    monkeypatch.chdir(tmp_path)
    Path("good.toml").write_text(GOOD)
    Path("bad.toml").write_text(BAD)
    return tmp_path


@pytest.mark.usefixtures("here")
def test_a_good_policy_is_said_to_be_good() -> None:
    done = policy("check", "good.toml")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "good.toml: good, 2 rule(s) for domains\n", "")
    done = policy("check", "--json", "good.toml")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"file": "good.toml", "good": True, "problems": []})


@pytest.mark.usefixtures("here")
def test_a_bad_policy_has_its_problems_on_standard_error() -> None:
    done = policy("check", "bad.toml")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "bad.toml:2: deadlines.dom0: '5 parsecs' is no duration; allowed: a number with ms, s, min or h, from 100 ms "
        "to 1 h\n"
        "bad.toml:3: deadlines.gest: there is no such key; did you mean guest?; allowed: dom0, evidence, guest, mcip, "
        "operation, approval\n"
        "Nothing of the file is in force. `ringfence policy default` prints every key with its meaning.\n"
    )
    explained = policy("explain", "bad.toml")
    assert (explained.exit_code, explained.stdout, explained.stderr) == (1, "", done.stderr)


@pytest.mark.usefixtures("here")
def test_the_problems_of_a_bad_policy_are_fields_in_json() -> None:
    done = policy("check", "--json", "bad.toml")
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["good"] is False
    assert told["problems"][0] == {
        "line": 2,
        "key": "deadlines.dom0",
        "problem": "'5 parsecs' is no duration",
        "allowed": "a number with ms, s, min or h, from 100 ms to 1 h",
    }


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", ["check", "explain"])
@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_cannot_be_read_is_no_bad_policy(command: str, name: str) -> None:
    done = policy(command, name)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"ringfence: {name}: ")
    assert done.stderr.endswith("\n  Name a policy file that you may read.\n")


def test_the_default_is_printed_as_a_file_that_means_the_default() -> None:
    done = policy("default")
    assert done.exit_code == 0
    assert read(done.stdout.encode()).policy == DEFAULT


@pytest.mark.usefixtures("here")
def test_a_policy_is_explained_row_by_row_with_the_line_of_each_value() -> None:
    done = policy("explain", "good.toml", "--domain", "db-1", "--label", "gold")
    assert done.exit_code == 0
    assert (
        done.stdout
        == """\
Policy: good.toml

The host
  II.1: 10 corrected errors of one page within 24 h
      its content is copied to a good page and it is taken out of use, up to 64 pages a DIMM in all.
        trends.page_count = 10  (default)
        trends.page_window = "24h"  (default)
        trends.engine = "window"  (default)
        trends.on_page = "exchange"  (default)
        budgets.pages_per_dimm = 64  (default)
  II.1, II.3: 10 corrected errors of one CPU core within 24 h
      the logical CPU is taken out of use, if it is not the first.
        trends.core_count = 10  (default)
        trends.core_window = "24h"  (default)
  II.1, B.8: 2 distinct syndromes of one rank within 72 h
      an uncorrected error is expected in 24 h; each domain is operated on as its rule allows, at most 2 at a
      time.
        trends.rank_syndromes = 2  (default)
        trends.rank_window = "72h"  (default)
        trends.rank_ue = "24h"  (default)
        trends.on_rank = "operate"  (good.toml:8)
        budgets.operations_at_a_time = 2  (default)
  II.1: 50 corrected errors of one row within 24 h
      people are told; a raw count predicts too little to act upon.
        trends.row_count = 50  (default)
        trends.row_window = "24h"  (default)
  II.1: 10 corrected errors of one DIMM within 24 h
      people are told; a raw count predicts too little to act upon.
        trends.dimm_count = 10  (default)
        trends.dimm_window = "24h"  (default)
  II.1: 4 corrected errors of one cache within 72 h
      people are told; a raw count predicts too little to act upon.
        trends.cache_count = 4  (default)
        trends.cache_window = "72h"  (default)
  II.1: 4 corrected errors of one link within 72 h
      people are told; a raw count predicts too little to act upon.
        trends.link_count = 4  (default)
        trends.link_window = "72h"  (default)
  II.1: 100 corrected errors of one socket within 24 h
      people are told; a raw count predicts too little to act upon.
        trends.socket_count = 100  (default)
        trends.socket_window = "24h"  (default)
  B.6: an operation on a domain is to be chosen
      the loss of each is weighed, as shares of a domain that is gone for good: its run state 0.25, an orderly
      stop 0.1, an hour of standstill 0.01, until a person comes after 8 h; going back to a checkpoint of 24 h
      loses 63 %. The chance that a lost page is needed is 0.5, that an error during a copy takes the host
      along 0.1. These are judgements, not measurements.
        losses.run_state = 0.25  (default)
        losses.orderly_stop = 0.1  (default)
        losses.standstill_per_hour = 0.01  (default)
        losses.person = "8h"  (default)
        losses.rollback = "24h"  (default)
        losses.lost_page_needed = 0.5  (default)
        losses.copier_takes_host = 0.1  (default)
  I.2b: uncorrected; consumer or loser is the hypervisor or Dom0
      the broken part is taken out of use; if that fails, Dom0, if it is unhurt, has 1 s to save the evidence,
      then last words and a halt.
        deadlines.evidence = "1s"  (default)
  I.2n: uncorrected; nobody loses
      the page is taken out of use; Dom0 is told if it has a handler.
  I.2u: uncorrected, not consumed, and its page cannot be named
      nothing is stopped; no new guest starts on this host, and those on it are moved away.
        unlocated = "drain"  (good.toml:1)
  I.2x: FATAL or UNCONFINED
      Dom0, if it is unhurt, has 1 s to save the evidence; the last words have as long; then the host halts.
        deadlines.evidence = "1s"  (default)

Domain db-1: domains named "db-*" and labelled gold (the rule on line 10)
  I.2a: corrected error of its memory
      Dom0 is notified if it has a handler, else the error is counted and logged; its agent is told as well.
        domain.inform_of_ce = true  (good.toml:18)
  I.2c-dom0: it lost memory that nobody consumed yet
      Dom0, if it has a handler and is unhurt, is asked and has 5 s. Dom0 answers that the domain is to be
      notified. If it is silent, the rows below apply.
        deadlines.dom0 = "5s"  (good.toml:5)
        domain.on_ue = "notify"  (default)
  I.2c-dom0: it consumed the error, and stands still
      Dom0, if it has a handler and is unhurt, is asked and has 5 s. Dom0 operates on the domain. If it is
      silent, the rows below apply.
        deadlines.dom0 = "5s"  (good.toml:5)
        domain.on_srar = "operate"  (good.toml:13)
  I.2c-alone: Dom0 has no handler, or is hurt
      the hypervisor notifies it by itself: the rows below apply, without operations.
  I.3a-handler, I.3b-pv: it has a PV MCA handler that serves this class of error
      it is told its lost pages, and has 1 s to heal itself.
        deadlines.guest = "1s"  (default)
  I.3b-inject, B.5: HVM, and it enabled MCA
      nothing: no vMCE is allowed.
        domain.vmce = false  (good.toml:17)
        budgets.vmces_per_error = 8  (default)
        deadlines.mcip = "500ms"  (default)
  I.3a-dom0, I.3b-dom0, B.6: it cannot be told, or Dom0 has chosen to operate
      restore, in 2 min; its loss counts 10.
        domain.operations = ["restore"]  (good.toml:14)
        domain.keep = 10.0  (good.toml:16)
        deadlines.operation = "2min"  (default)
  I.3a-kill, I.3b-kill: nothing above could be done
      it is killed.
  II.1, B.6: a rank that holds its memory is about to fail
      migrate, in 2 min; its loss counts 10; a person must approve migrate within 1 min.
        trends.on_rank = "operate"  (good.toml:8)
        domain.ahead = ["migrate"]  (good.toml:15)
        domain.keep = 10.0  (good.toml:16)
        deadlines.operation = "2min"  (default)
        approve = ["migrate"]  (good.toml:2)
        deadlines.approval = "1min"  (default)
"""
    )


@pytest.mark.usefixtures("here")
def test_a_domain_is_shown_the_first_rule_that_matches_what_is_said_of_it() -> None:
    def head(*arguments: str) -> str:
        lines = policy("explain", "good.toml", "--domain", *arguments).stdout.splitlines()
        return next(line for line in lines if line.startswith("Domain "))

    assert head("db-1") == 'Domain db-1: domains named "db-*" (the rule on line 20)'
    assert head("web") == "Domain web: domains that no rule matches"


@pytest.mark.usefixtures("here")
def test_the_explanation_in_json_has_every_rule_with_its_line() -> None:
    told = json.loads(policy("explain", "good.toml", "--json").stdout)
    assert [(rule["rule"], rule["line"]) for rule in told["domains"]] == [(0, 10), (1, 20), (None, None)]
    asked = told["domains"][1]["rows"][1]
    assert asked["rows"] == ["I.2c-dom0"]
    assert asked["values"][1] == {"key": "domain.on_ue", "value": '"leave"', "from": "good.toml:22"}


def test_without_a_file_the_default_is_explained() -> None:
    done = policy("explain")
    assert done.stdout.startswith("Policy: the default (no file)\n")
    assert done.stdout.count("(default)") == done.stdout.count(" = ")


def test_a_uuid_or_label_alone_is_of_no_domain() -> None:
    assert policy("explain", "--label", "gold").exit_code == 2
