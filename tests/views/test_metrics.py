"""Numbers: named by convention, few of each, readable by Prometheus whatever evidence is called, and never falling."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import Metric as Family
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as of_prometheus

from ringfence.diagnosis.fault_case import Fault
from ringfence.diagnosis.severity import Severity
from ringfence.journal import events as ev
from ringfence.journal.state import State, apply
from ringfence.journal.tallies import DIMMS_TOLD_APART
from ringfence.views.exposition import Exposition, exposition, wanted
from ringfence.views.metric_values import OutletReading, Queue, Readings, SourceReading, samples
from ringfence.views.metrics import ERRORS, TABLE, Histogram, Kind, Since
from ringfence.world.identities import CaseId, Frame
from ringfence.world.situation import Suspect
from tests.journal.strategies import events
from tests.journal.test_tallies import received

READINGS = Readings(
    version="1.0",
    hypervisor="model",
    started_s=1e9,
    host_now_ms=10_000,
    halted=False,
    dom0_able=True,
    dom0_hurt=False,
    domains=3,
    dry_run=False,
    policy_refused=False,
    problems=0,
    journal_events=7,
    journal_bytes=4096,
    reserve_ready=True,
    unkept=0,
    latency=Histogram((0.001, 0.01), (1, 2, 3), 0.5),
    turn=Histogram((0.001, 0.01), (0, 0, 0), 0.0),
    queues=(Queue("writer inbox", 1, 64),),
    sources=(("kmsg", SourceReading(up=True, items=5, lost=1, silent_s=0.5)),),
    outlets=(("ops", OutletReading(up=False, at=3, taken=2, failed=9, given_up=1)),),
)


def values(text: str) -> dict[str, float]:
    """Each line of an exposition that is a value, by its series."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}


def shown(state: State, readings: Readings = READINGS) -> dict[str, float]:
    return values(exposition(samples(state, readings), Exposition.PROMETHEUS))


def full_state() -> State:
    """A state in which every metric has a value."""
    state = State()
    case = CaseId(1)
    state.offlined["A1"] = {Frame(1): 1}
    fault = Fault(suspect=Suspect.DIMM, name="A1", opened_ms=0, since_ms=0)
    state.faults.known[Suspect.DIMM, "A1"] = fault
    for event in (
        received("A1", count=3),
        received("A1", severity="FATAL", left_over=True),
        ev.Decided(at_ms=1, case=case, domain=None, seat="Dom0", row="I.2n"),  # type: ignore[arg-type]  # as from disk
        ev.Intended(at_ms=1, order=1, case=case, step=ev.StepWire("HaltHost", ())),  # type: ignore[arg-type]  # as above
        ev.Carried(at_ms=1, order=1, status="done"),  # type: ignore[arg-type]  # as from disk
        ev.Closed(at_ms=1, case=case, outcome=(ev.OutcomeEntry(None, "healed", "I.2b"),)),
        ev.Instructed(at_ms=1, domain=1, operation="pause", who="me"),  # type: ignore[arg-type]  # as from disk
    ):
        apply(state, event)
    return state


# --- the table --------------------------------------------------------------------------------------------------------


def test_names_follow_the_conventions() -> None:
    """prometheus.io/docs/practices/naming: base units, no unit's plural forgotten, nothing said twice."""
    families = [each.family for each in TABLE]
    assert len(set(families)) == len(families)
    for each in TABLE:
        assert re.fullmatch(r"ringfence(_[a-z0-9]+)+", each.family)
        assert not each.name.endswith(("_total", "_info", "_count", "_sum", "_bucket", "_created"))
        assert each.unit in {"", "seconds", "bytes"}
        assert all(re.fullmatch(r"[a-z_]+", label.name) and label.name not in {"le", "instance", "job"}
                   for label in each.labels)  # fmt: skip
        assert not re.search(r"_(ms|milliseconds|kib|percent)$", each.family)
        assert each.meaning.endswith(".")
        assert each.look
        assert each.comes_from


def test_a_counter_covers_a_time_and_a_gauge_is_of_now() -> None:
    for each in TABLE:
        assert (each.since is Since.NOW) == (each.kind in {Kind.GAUGE, Kind.INFO}), each.name


def test_every_metric_has_a_value_and_every_value_its_labels() -> None:
    found = samples(full_state(), READINGS)
    assert {sample.metric.name for sample in found} == {each.name for each in TABLE}
    assert all(len(sample.labels) == len(sample.metric.labels) for sample in found)
    assert len({(sample.metric.name, sample.labels) for sample in found}) == len(found)


# --- values -----------------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_state_and_process() -> None:
    found = shown(full_state())
    assert found['ringfence_errors_total{severity="CORRECTED",unit="memory"}'] == 3
    assert found['ringfence_dimm_errors_total{severity="CORRECTED",dimm="A1"}'] == 3
    assert found['ringfence_left_over_records_total{severity="FATAL"}'] == 1
    assert found["ringfence_records_total"] == 2
    assert found["ringfence_cases_opened_total"] == 1
    assert found["ringfence_cases_closed_total"] == 1
    assert found['ringfence_outcomes_total{row="I.2b",outcome="healed"}'] == 1
    assert found['ringfence_orders_total{step="HaltHost",status="done"}'] == 1
    assert found['ringfence_pages_offlined{dimm="A1"}'] == 1
    assert found['ringfence_outlet_lag_events{receiver="ops"}'] == 4
    assert found['ringfence_decision_latency_seconds_bucket{le="0.01"}'] == 3
    assert found['ringfence_decision_latency_seconds_bucket{le="+Inf"}'] == 6


def test_the_first_uncorrected_error_is_an_increase() -> None:
    """Prometheus sees none in a series that begins with 1."""
    before, state = shown(State()), State()
    apply(state, received(None, severity="SRAR"))
    assert before['ringfence_errors_total{severity="SRAR",unit="memory"}'] == 0
    assert shown(state)['ringfence_errors_total{severity="SRAR",unit="memory"}'] == 1


def test_the_first_uncorrected_error_of_a_module_that_erred_is_an_increase() -> None:
    state = State()
    apply(state, received("A1"))
    assert shown(state)['ringfence_dimm_errors_total{severity="FATAL",dimm="A1"}'] == 0


def test_a_case_that_is_open_has_its_age_by_the_hosts_clock() -> None:
    state = State()
    apply(state, ev.Decided(at_ms=4_000, case=CaseId(1), domain=None, seat="Dom0", row="II.1"))  # type: ignore[arg-type]  # as from disk
    found = shown(state)
    assert found["ringfence_case_oldest_open_seconds"] == 6
    assert found['ringfence_cases_open{severity="own"}'] == 1
    assert found['ringfence_cases_open{severity="FATAL"}'] == 0


def test_names_without_end_do_not_make_series_without_end() -> None:
    state = State()
    for number in range(DIMMS_TOLD_APART * 2):
        apply(state, received(f"D{number}"))
        state.offlined[f"D{number}"] = {Frame(number): 1}
    found = shown(state)
    modules = {name for name in found if name.startswith("ringfence_dimm_errors_total")}
    assert len(modules) == (DIMMS_TOLD_APART + 1) * len(Severity)
    assert found['ringfence_pages_offlined{dimm="other"}'] == DIMMS_TOLD_APART


@settings(max_examples=40)
@given(st.lists(events, max_size=25))
def test_what_is_counted_since_the_journal_began_never_falls(given: list[ev.Event]) -> None:
    counters = {each.series[0] for each in TABLE if each.kind is Kind.COUNTER and each.since is Since.JOURNAL}
    state, before = State(), dict[str, float]()
    for number, event in enumerate(given):
        apply(state, event)
        found = shown(state, replace(READINGS, journal_events=number))
        now = {series: value for series, value in found.items() if series.partition("{")[0] in counters}
        if not isinstance(event, ev.Started):  # its number of lives is what a journal says
            assert all(now.get(series, -1) >= value for series, value in before.items() if "starts" not in series)
        before = now


# --- the text ---------------------------------------------------------------------------------------------------------

NAMES = st.text(max_size=12) | st.sampled_from(
    ('a"b', "a\\b", "a\nb", "x\x1b[31m", "\u202eevil", '"} 7\nup 0', "\ud800")
)
PARSE: dict[Exposition, Callable[[str], Iterable[Family]]] = {
    Exposition.PROMETHEUS: of_prometheus,
    Exposition.OPENMETRICS: openmetrics.text_string_to_metric_families,
}


@given(st.lists(NAMES, max_size=4, unique=True), st.sampled_from(Exposition))
def test_whatever_evidence_is_called_a_parser_reads_every_series_once(names: list[str], form: Exposition) -> None:
    state = full_state()
    for name in names:
        apply(state, received(name))
    text = exposition(samples(state, READINGS), form)
    text.encode()
    assert not any(unicodedata.category(character) == "Cc" for character in text.replace("\n", ""))
    assert "\u202e" not in text
    read = [sample for family in PARSE[form](text) for sample in family.samples]
    assert len({(sample.name, *sorted(sample.labels.items())) for sample in read}) == len(read)
    known = {name for each in TABLE for name in each.series}
    assert {sample.name for sample in read} == known
    errors = [sample for sample in read if sample.name == ERRORS.series[0]]
    assert sum(sample.value for sample in errors) == 3 + len(names)


@pytest.mark.parametrize("form", list(Exposition))
def test_a_parser_reads_type_and_help_of_each_family(form: Exposition) -> None:
    families = {family.name: family for family in PARSE[form](exposition(samples(full_state(), READINGS), form))}
    for each in TABLE:
        name = each.family
        if form is Exposition.PROMETHEUS and each.kind is Kind.INFO:
            assert families[f"{name}_info"].type == "gauge"
            continue
        assert families[name].type == each.kind.value
        assert families[name].documentation == each.meaning
        if form is Exposition.OPENMETRICS:
            assert families[name].unit == each.unit


def test_a_histogram_is_read_whole() -> None:
    text = exposition(samples(State(), READINGS), Exposition.OPENMETRICS)
    families = PARSE[Exposition.OPENMETRICS](text)
    family = next(each for each in families if each.name == "ringfence_decision_latency_seconds")
    buckets = {float(each.labels["le"]): each.value for each in family.samples if each.name.endswith("_bucket")}
    assert buckets == {0.001: 1, 0.01: 3, math.inf: 6}


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Exposition.PROMETHEUS),
        ("*/*", Exposition.PROMETHEUS),
        ("text/plain;version=0.0.4;q=0.5", Exposition.PROMETHEUS),
        ("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.2", Exposition.OPENMETRICS),
        ("text/plain, application/openmetrics-text; q=0.0", Exposition.PROMETHEUS),
        ("application/openmetrics-text", Exposition.OPENMETRICS),
    ],
)
def test_a_client_gets_the_format_that_it_asks_for(accept: str, form: Exposition) -> None:
    assert wanted(accept) is form
