"""Dashboard and alert rules speak of numbers that there are, by labels that they have, and leave none out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from docs import generate, reference_pages
from docs.monitoring import ALERTS, PANELS, WIDTH, dashboard, metrics_in, rules
from ringfence.views.metrics import ROWS, TABLE, Kind, Metric

SERIES = {name: each for each in TABLE for name in each.series}
OF_PROMETHEUS = {"up", "node_textfile_mtime_seconds"}
FUNCTIONS = {
    "sum", "min", "max", "by", "increase", "rate", "histogram_quantile", "last_over_time", "time",
    "unless", "and", "or", "offset",
}  # fmt: skip
EVERYWHERE = {"instance", "job", "le", "file"}
"""Labels that Prometheus or the collector gives."""


def dashboard_panels() -> list[dict[str, Any]]:
    found = json.loads(dashboard())["panels"]
    assert isinstance(found, list)
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for panel in dashboard_panels():
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for alert in ALERTS:
        yield alert.name, alert.expression


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_an_expression_uses_declared_series_and_their_labels_only(where: str, expression: str) -> None:
    bare = re.sub(r'"[^"]*"', '""', expression)
    selected = re.findall(
        r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([^}]*)\})?", re.sub(r"(?:by|on) \([^)]*\)|\[[^]]*\]", "", bare)
    )
    names = {name for name, _ in selected if name not in FUNCTIONS and not re.fullmatch(r"[0-9.]*[smhd]", name)}
    labels_in = {label for _, inside in selected for label in re.findall(r"([a-z_]+)\s*[=!]", inside)}
    names -= labels_in
    assert names, where
    assert names <= set(SERIES) | OF_PROMETHEUS, (where, names - set(SERIES))
    grouped = {label.strip() for inside in re.findall(r"by \(([^)]*)\)", bare) for label in inside.split(",")}
    own = {label.name for name in names if name in SERIES for label in SERIES[name].labels}
    assert (labels_in | grouped) <= own | EVERYWHERE, where
    assert bare.count("(") == bare.count(")")
    for name in names & set(SERIES):
        counts = SERIES[name].kind in {Kind.COUNTER, Kind.HISTOGRAM}
        if re.search(rf"(increase|rate)\({name}\b", bare):
            assert counts, f"{where}: {name} is no counter"


def test_every_number_is_on_the_dashboard() -> None:
    shown = {metric for panel in PANELS for query, _ in panel.queries for metric in metrics_in(query)}
    assert [each.name for each in TABLE if each not in shown] == []


def test_a_query_is_about_the_metric_that_it_names_and_no_other() -> None:
    def names(query: str) -> list[str]:
        return [each.name for each in metrics_in(query)]

    assert names("sum(ringfence_cases_open{x})") == ["cases_open"]
    assert names("increase(ringfence_cases_opened_total{x}[5m])") == ["cases_opened"]


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    panels = dashboard_panels()
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set[tuple[int, int]]()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_panels_say_what_their_numbers_mean_and_ask_for_the_chosen_hosts() -> None:
    for panel in dashboard_panels():
        if panel["type"] == "row":
            continue
        assert panel["description"].startswith("`ringfence_"), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert 'instance=~"$instance"' in target["expr"]
            assert len({each["refId"] for each in panel["targets"]}) == len(panel["targets"])


def test_the_dashboard_has_what_grafana_needs() -> None:
    found = json.loads(dashboard())
    assert {each["name"] for each in found["templating"]["list"]} == {"datasource", "instance"}
    assert found["schemaVersion"] >= 36
    assert found["uid"]
    assert [panel["title"] for panel in found["panels"] if panel["type"] == "row"] == list(ROWS)


def test_an_alert_says_what_to_do() -> None:
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)
    for alert in ALERTS:
        assert re.fullmatch(r"Ringfence[A-Za-z]+", alert.name)
        assert re.fullmatch(r"\d+[mh]", alert.holds)
        assert alert.urgency in {"page", "ticket"}
        assert alert.do.endswith(".")
        used = set(re.findall(r"\$labels\.(\w+)", alert.says))
        grouped = re.findall(r"by \(([^)]*)\)", alert.expression)
        if grouped:
            given = {label.strip() for label in grouped[0].split(",")}
            assert used <= given, alert.name


def test_every_command_that_an_alert_names_there_is() -> None:
    from ringfence.cli.main import main  # noqa: PLC0415

    for alert in ALERTS:
        for name in re.findall(r"(?<!-u )ringfence ([a-z]+)", alert.do):
            assert name in main.commands, f"{alert.name}: ringfence {name}"


def test_the_rules_are_yaml_with_each_alert() -> None:
    """Read by a grammar of what is written: two blanks a level, strings as JSON has them, which YAML 1.2 takes."""
    text = rules()
    assert text.count("      - alert: ") == len(ALERTS)
    for line in text.splitlines():
        assert re.fullmatch(
            r"#.*|groups:|  - name: ringfence|    rules:|      - alert: \w+|        (labels|annotations):"
            r"|        for: \d+[mh]|          urgency: (page|ticket)|        expr: \".*\"|          \w+: \".*\"", line,
        ), line  # fmt: skip
        if (quoted := line.partition(": ")[2]).startswith('"'):
            json.loads(quoted)


PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not there to read the rules")


@PROMTOOL
def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(rules())
    subprocess.run(["promtool", "check", "rules", str(path)], check=True)


@dataclass(frozen=True, slots=True)
class Course:
    """How series go on, a value a minute (promtool's notation), and when an alert fires that is about ``labels``."""

    alert: str
    series: dict[str, str]
    at: str
    labels: dict[str, str] = field(default_factory=dict)
    value: str = ""
    fires: bool = True


def of(name: str, **labels: str) -> str:
    """A series of one host."""
    inside = ", ".join(f'{key}="{value}"' for key, value in {"instance": "a", **labels}.items())
    return f"{name}{{{inside}}}"


LATENCY = {bound: of("ringfence_decision_latency_seconds_bucket", le=bound) for bound in ("0.1", "0.5", "+Inf")}
LEFT = of("ringfence_left_over_records_total", severity="FATAL")
KILLED = of("ringfence_outcomes_total", outcome="killed")
UP = of("ringfence_up")

COURSES = (
    Course("RingfenceAbsent", {of("up", job="ringfence"): "1x3 0x20"}, "10m", {"job": "ringfence"}),
    Course(
        "RingfenceUncorrectedError", {of("ringfence_errors_total", severity="SRAR", unit="memory"): "0x5 1x20"}, "7m",
        {"severity": "SRAR", "unit": "memory"},
    ),
    Course(
        "RingfenceUncorrectedError", {of("ringfence_errors_total", severity="CORRECTED", unit="link"): "0+9x20"}, "7m",
        fires=False,
    ),
    Course("RingfenceGuestLost", {KILLED: "0x5 1x40"}, "7m"),
    Course("RingfenceGuestLost", {UP: "1x60", KILLED: "_x30 1x40"}, "32m"),
    Course("RingfenceGuestLost", {UP: "1x60", KILLED: "_x30 1x40"}, "50m", fires=False),
    # What was before Prometheus came, or while the service was away, is no news.
    Course("RingfenceGuestLost", {UP: "_x5 1x60", KILLED: "_x5 1x60"}, "7m", fires=False),
    Course("RingfenceGuestLost", {UP: "1x9 _x60 1x60", KILLED: "1x9 _x60 1x60"}, "75m", fires=False),
    Course("RingfenceHostWentDown", {LEFT: "0x9 _x5 1x60"}, "16m"),
    Course("RingfenceHostWentDown", {LEFT: "0x9 _x200 1x60"}, "213m"),
    Course("RingfenceHostWentDown", {LEFT: "1x9 _x200 1x60"}, "213m", fires=False),
    Course("RingfenceApprovalWaits", {of("ringfence_approvals_waiting"): "0x3 2x9"}, "6m", value="2"),
    Course(
        "RingfencePartMustBeReplaced", {of("ringfence_faults", stage="untreated", suspect="DIMM"): "1x20"}, "12m",
        {"suspect": "DIMM"},
    ),
    Course("RingfencePartMustBeReplaced", {of("ringfence_faults", stage="isolated", suspect="page"): "1x20"}, "12m",
           fires=False),
    Course(
        "RingfenceUrgentEvidenceLost", {of("ringfence_evidence_lost_total", urgency="urgent"): "0x5 3x9"}, "7m",
    ),
    Course(
        "RingfenceOrderFailed", {of("ringfence_orders_total", step="PauseDomain", status="failed"): "0x5 1x9"}, "7m",
        {"step": "PauseDomain"},
    ),
    Course("RingfenceCaseStuck", {of("ringfence_case_oldest_open_seconds"): "3700+60x20"}, "6m"),
    Course("RingfenceProblem", {of("ringfence_problems"): "3x20"}, "11m", value="3"),
    Course("RingfenceDiskFull", {of("ringfence_journal_reserve_ready"): "1x3 0x9"}, "6m"),
    Course("RingfenceDiskFull", {of("ringfence_queue_length", queue="unwritten events"): "0x3 7x9"}, "6m",
           {"queue": "unwritten events"}),
    Course("RingfenceSlow", {LATENCY["0.1"]: "0+1x40", LATENCY["0.5"]: "0+9x40", LATENCY["+Inf"]: "0+9x40"}, "25m"),
    Course("RingfenceSlow", {LATENCY["0.1"]: "0+9x40", LATENCY["0.5"]: "0+9x40", LATENCY["+Inf"]: "0+9x40"}, "25m",
           fires=False),
    Course("RingfenceSourceDown", {of("ringfence_source_up", source="kmsg"): "0x20"}, "11m", {"source": "kmsg"}),
    Course("RingfenceReceiverDown", {of("ringfence_outlet_up", receiver="ops"): "0x20"}, "16m", {"receiver": "ops"}),
    Course(
        "RingfenceReceiverDown", {of("ringfence_outlet_attempts_total", receiver="ops", result="given up"): "0x5 1x30"},
        "25m", {"receiver": "ops", "result": "given up"},
    ),
    Course("RingfenceRestarts", {of("ringfence_starts_total"): "1+1x9"}, "9m"),
    Course("RingfenceRestarts", {of("ringfence_starts_total"): "1x30 2x30"}, "50m", fires=False),
)  # fmt: skip


def test_every_alert_has_a_course_on_which_it_fires() -> None:
    assert {each.alert for each in COURSES if each.fires} == {each.name for each in ALERTS}


@PROMTOOL
def test_prometheus_fires_each_alert_when_it_should_and_says_what_it_is_about(tmp_path: Path) -> None:
    """All of them in one run of promtool, which names those that fail."""
    (tmp_path / "rules.yml").write_text(rules())
    path = tmp_path / "courses.yml"
    path.write_text(json.dumps({"rule_files": ["rules.yml"], "tests": [course(each) for each in COURSES]}))
    command = ["promtool", "test", "rules", path.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def course(each: Course) -> dict[str, Any]:
    """One test of promtool's; JSON is YAML."""
    alert = next(one for one in ALERTS if one.name == each.alert)
    labels = {"instance": "a", **each.labels}

    def told(text: str) -> str:
        filled = re.sub(r"{{ \$labels\.(\w+) }}", lambda found: labels.get(found[1], ""), text)
        return filled.replace("{{ $value }}", each.value)

    fired = {
        "exp_labels": {"urgency": alert.urgency, **labels},
        "exp_annotations": {"summary": told(alert.says), "description": told(alert.do)},
    }
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in each.series.items()],
        "alert_rule_test": [
            {"eval_time": each.at, "alertname": each.alert, "exp_alerts": [fired] if each.fires else []}
        ],
    }


def test_the_page_names_every_series_every_label_and_every_alert() -> None:
    page = reference_pages.PAGES["docs/metrics.md"]()
    assert all(f"`{name}`" in page for name in SERIES)
    assert all(f"| `{label.name}` |" in page for each in TABLE for label in each.labels)
    assert all(f"| {alert.name} |" in page for alert in ALERTS)


def test_what_is_shipped_is_what_is_written_now() -> None:
    for name in ("packaging/grafana/ringfence.json", "packaging/prometheus/ringfence.rules.yml",
                 "packaging/ringfence.catalog"):  # fmt: skip
        assert (generate.ROOT / name).read_text() == reference_pages.PAGES[name]()


def test_a_metric_is_found_by_each_of_its_series() -> None:
    def histogram() -> Metric:
        return next(each for each in TABLE if each.kind is Kind.HISTOGRAM)

    assert all(histogram() in metrics_in(name) for name in histogram().series)
