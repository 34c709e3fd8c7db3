"""What packaging/ holds for monitoring: the Grafana dashboard and Prometheus' alert rules, each from a table here.

The dashboard is in the form of Grafana's JSON model (grafana.com/docs: "Dashboard JSON model"), for Grafana 10 and
later. The rules are in the form of Prometheus' rule files (prometheus.io: "Alerting rules"); JSON strings are YAML
strings, so that no expression needs an escape of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ringfence.views.metrics import ROWS, TABLE, Metric

# --- the dashboard ----------------------------------------------------------------------------------------------------

WIDTH: Final = 24
"""Columns of Grafana's grid."""
_WRONG, _ERRORS, _DECIDED, _PIPELINE = ROWS
_ON: Final = 'instance=~"$instance"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. ``queries`` are (expression, legend); ``red_from`` is where a value is bad, None: it never is.

    ``low_is_bad``: it is bad below ``red_from``. In expressions ``%`` stands for the choice of hosts.
    """

    row: str
    title: str
    kind: str
    width: int
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    red_from: float | None = None
    low_is_bad: bool = False
    height: int = 8


def _stat(  # noqa: PLR0913 (one argument a field)
    title: str, query: str, *, red_from: float = 1, low_is_bad: bool = False, unit: str = "short", legend: str = ""
) -> Panel:
    return Panel(_WRONG, title, "stat", 3, ((query, legend),), unit, red_from, low_is_bad, height=4)


PANELS: Final[tuple[Panel, ...]] = (
    _stat("Service", "ringfence_up{%}", low_is_bad=True, legend="{{instance}}"),
    _stat("Problems", "sum(ringfence_problems{%})"),
    _stat("Waits for you", "sum(ringfence_approvals_waiting{%})"),
    _stat("Open cases", "sum(ringfence_cases_open{%})", red_from=10),
    _stat("Oldest open case", "max(ringfence_case_oldest_open_seconds{%})", red_from=3600, unit="s"),
    _stat("Hosts halted", "sum(ringfence_host_halted{%})"),
    _stat("Dom0 able", "min(ringfence_dom0_able{%})", low_is_bad=True),
    _stat("Dom0 hurt", "sum(ringfence_dom0_hurt{%})"),
    _stat("Dry runs", "sum(ringfence_policy_dry_run{%})"),
    _stat("Policies refused", "sum(ringfence_policy_refused{%})"),
    _stat("Domains", "sum(ringfence_domains{%})", red_from=0, low_is_bad=True),
    _stat("Starts in a day", "sum(increase(ringfence_starts_total{%}[1d]))", red_from=3),
    _stat("Youngest process", "time() - max(ringfence_start_time_seconds{%})", red_from=300, low_is_bad=True, unit="s"),
    Panel(_WRONG, "Which Ringfence", "table", 9, (("ringfence_build_info{%}", ""),), height=4),
    Panel(
        _ERRORS, "Errors by severity", "timeseries", 12,
        (("sum by (severity) (increase(ringfence_errors_total{%}[$__rate_interval]))", "{{severity}}"),),
    ),
    Panel(
        _ERRORS, "Corrected errors by DIMM: heat map", "status-history", 12,
        ((
            'sum by (instance, dimm) (increase(ringfence_dimm_errors_total{severity="CORRECTED", %}'
            "[$__rate_interval]))", "{{instance}} {{dimm}}",
        ),),
        red_from=10,
    ),
    Panel(
        _ERRORS, "Uncorrected errors by unit", "timeseries", 8,
        (('sum by (unit) (increase(ringfence_errors_total{severity!~"CORRECTED|NONE", %}[$__rate_interval]))',
          "{{unit}}"),),
    ),
    Panel(
        _ERRORS, "Pages out of use by DIMM", "bargauge", 8,
        (("ringfence_pages_offlined{%}", "{{instance}} {{dimm}}"),), red_from=64,
    ),
    Panel(_ERRORS, "Parts at fault", "timeseries", 8, (("sum by (suspect, stage) (ringfence_faults{%})",
                                                         "{{suspect}} {{stage}}"),)),
    Panel(
        _ERRORS, "Known bad", "timeseries", 6,
        (("sum(ringfence_pages_known_bad{%})", "pages"), ("sum(ringfence_cpus_known_bad{%})", "CPUs")),
    ),
    Panel(
        _ERRORS, "Thresholds passed", "timeseries", 6,
        (("sum by (suspect) (increase(ringfence_trends_total{%}[$__rate_interval]))", "{{suspect}}"),),
    ),
    Panel(
        _ERRORS, "Evidence lost, or not understood", "timeseries", 6,
        (
            ("sum by (urgency) (increase(ringfence_evidence_lost_total{%}[$__rate_interval]))", "lost, {{urgency}}"),
            ("sum(increase(ringfence_records_unrecognised_total{%}[$__rate_interval]))", "not understood"),
        ),
    ),
    Panel(
        _ERRORS, "Records", "timeseries", 6,
        (
            ("sum(rate(ringfence_records_total{%}[$__rate_interval]))", "received a second"),
            ("sum(rate(ringfence_further_reports_total{%}[$__rate_interval]))", "further reports a second"),
            ("sum by (severity) (increase(ringfence_left_over_records_total{%}[$__rate_interval]))",
             "left over, {{severity}}"),
        ),
    ),
    Panel(
        _DECIDED, "Decisions by row, in all", "timeseries", 8,
        (("sum by (row, seat) (ringfence_decisions_total{%})", "{{row}} ({{seat}})"),),
    ),
    Panel(
        _DECIDED, "Outcomes, in all", "timeseries", 8,
        (("sum by (outcome) (ringfence_outcomes_total{%})", "{{outcome}}"),),
    ),
    Panel(
        _DECIDED, "Orders that were not carried out, in all", "timeseries", 8,
        (('sum by (step, status) (ringfence_orders_total{status!~"done|pending", %})',
          "{{step}} {{status}}"),),
    ),
    Panel(
        _DECIDED, "Cases", "timeseries", 6,
        (
            ("sum by (severity) (ringfence_cases_open{%})", "open, {{severity}}"),
            ("sum(increase(ringfence_cases_opened_total{%}[$__rate_interval]))", "opened"),
            ("sum(increase(ringfence_cases_closed_total{%}[$__rate_interval]))", "closed"),
        ),
    ),
    Panel(
        _DECIDED, "Times that were over", "timeseries", 6,
        (("sum by (which) (increase(ringfence_deadlines_passed_total{%}[$__rate_interval]))", "{{which}}"),),
    ),
    Panel(
        _DECIDED, "People's words", "timeseries", 6,
        (
            ("sum by (word) (increase(ringfence_approvals_total{%}[$__rate_interval]))", "{{word}}"),
            ("sum by (operation, answer) (ringfence_instructions_total{%})", "{{operation}} {{answer}}, in all"),
        ),
    ),
    Panel(_DECIDED, "Orders that run", "timeseries", 6, (("sum(ringfence_orders_running{%})", "running"),)),
    Panel(
        _PIPELINE, "From arrival to durable decision", "timeseries", 8,
        (
            ("histogram_quantile(0.5, sum by (le) (rate(ringfence_decision_latency_seconds_bucket{%}"
             "[$__rate_interval])))", "half are below"),
            ("histogram_quantile(0.99, sum by (le) (rate(ringfence_decision_latency_seconds_bucket{%}"
             "[$__rate_interval])))", "99 % are below"),
            ("histogram_quantile(0.99, sum by (le) (rate(ringfence_turn_duration_seconds_bucket{%}"
             "[$__rate_interval])))", "99 % of turns are below"),
        ),
        unit="s", red_from=0.05,
    ),
    Panel(
        _PIPELINE, "Queues, of what they may hold", "timeseries", 8,
        (("max by (queue) (ringfence_queue_length{%} / ringfence_queue_bound{%})", "{{queue}}"),),
        unit="percentunit", red_from=0.8,
    ),
    Panel(
        _PIPELINE, "The journal", "timeseries", 8,
        (("sum by (instance) (ringfence_journal_size_bytes{%})", "{{instance}}"),), unit="bytes",
    ),
    Panel(
        _PIPELINE, "Events of the journal a second", "timeseries", 6,
        (
            ("sum(rate(ringfence_journal_events_total{%}[$__rate_interval]))", "written"),
            ("sum(rate(ringfence_events_unkept_total{%}[$__rate_interval]))", "in the kernel's log only"),
            ("sum(rate(ringfence_journal_events_stray_total{%}[$__rate_interval]))", "stray"),
            ("sum(rate(ringfence_journal_events_unread_total{%}[$__rate_interval]))", "of a later version"),
        ),
    ),
    Panel(
        _PIPELINE, "Reserve for a full disk", "stat", 3, (("min(ringfence_journal_reserve_ready{%})", ""),),
        red_from=1, low_is_bad=True,
    ),
    Panel(
        _PIPELINE, "Sources that are read", "stat", 3, (("ringfence_source_up{%}", "{{source}}"),),
        red_from=1, low_is_bad=True,
    ),
    Panel(
        _PIPELINE, "Sources", "timeseries", 6,
        (
            ("sum by (source) (rate(ringfence_source_items_total{%}[$__rate_interval]))", "{{source}} a second"),
            ("sum by (source) (rate(ringfence_source_lost_total{%}[$__rate_interval]))", "{{source}} lost a second"),
            ("max by (source) (ringfence_source_silent_seconds{%})", "{{source}} silent for s"),
        ),
    ),
    Panel(
        _PIPELINE, "Clients not served", "timeseries", 6,
        (
            ("sum(increase(ringfence_clients_turned_away_total{%}[$__rate_interval]))", "turned away"),
            ("sum(increase(ringfence_clients_dropped_total{%}[$__rate_interval]))", "dropped as too slow"),
        ),
    ),
    Panel(
        _PIPELINE, "Who is told: events behind", "timeseries", 12,
        (("max by (instance, receiver) (ringfence_outlet_lag_events{%})", "{{instance}} {{receiver}}"),), red_from=1000,
    ),
    Panel(
        _PIPELINE, "Who is told: attempts", "timeseries", 9,
        (("sum by (receiver, result) (increase(ringfence_outlet_attempts_total{%}[$__rate_interval]))",
          "{{receiver}} {{result}}"),),
    ),
    Panel(
        _PIPELINE, "Who takes what it is told", "stat", 3, (("ringfence_outlet_up{%}", "{{receiver}}"),),
        red_from=1, low_is_bad=True,
    ),
)  # fmt: skip
"""The dashboard's panels, row by row."""


def metrics_in(expression: str) -> list[Metric]:
    """The metrics that an expression is about, in the table's order."""
    named = set(re.findall(r"[a-z0-9_]+", expression))
    return [each for each in TABLE if named & {*each.series}]


def dashboard() -> str:
    """packaging/grafana/ringfence.json."""
    choice = {
        "name": "instance", "label": "host", "type": "query", "datasource": _SOURCE, "includeAll": True, "multi": True,
        "allValue": ".*", "current": {"selected": True, "text": "All", "value": "$__all"}, "refresh": 2, "sort": 1,
        "query": {"query": "label_values(ringfence_up, instance)", "refId": "instance"},
    }  # fmt: skip
    source = {"name": "datasource", "label": "data source", "type": "datasource", "query": "prometheus"}
    return _json(
        {
            "uid": "ringfence",
            "title": "Ringfence",
            "description": "Machine checks on virtualization hosts: errors, decisions, outcomes. docs/metrics.md.",
            "tags": ["ringfence", "ras"],
            "schemaVersion": 39,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-24h", "to": "now"},
            "timezone": "utc",
            "templating": {"list": [source, choice]},
            "annotations": {"list": []},
            "links": [],
            "panels": list(_laid_out()),
        }
    )


_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


def _laid_out() -> Iterator[dict[str, object]]:
    """Rows and panels from left to right, each with a number of its own."""
    number, y = 1, 0
    for row in ROWS:
        yield {
            "id": number, "type": "row", "title": row, "collapsed": False, "panels": [],
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
        }  # fmt: skip
        number, y, x, height = number + 1, y + 1, 0, 0
        for each in (panel for panel in PANELS if panel.row == row):
            if x + each.width > WIDTH:
                y, x, height = y + height, 0, 0
            yield _panel(each, number, {"h": each.height, "w": each.width, "x": x, "y": y})
            number, x, height = number + 1, x + each.width, max(height, each.height)
        y += height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, object]:
    about = dict.fromkeys(metric for query, _ in panel.queries for metric in metrics_in(query))
    says = "\n\n".join(f"`{each.series[0]}`: {each.meaning}\n\nLook when {each.look}." for each in about)
    targets = [
        {
            "refId": chr(ord("A") + position), "datasource": _SOURCE, "expr": query.replace("%", _ON),
            "legendFormat": legend, "range": panel.kind != "table", "instant": panel.kind == "table",
            "format": "table" if panel.kind == "table" else "time_series",
        }
        for position, (query, legend) in enumerate(panel.queries)
    ]  # fmt: skip
    defaults: dict[str, object] = {"unit": panel.unit, "min": 0}
    if panel.red_from is not None:
        colours = ("red", "green") if panel.low_is_bad else ("green", "red")
        steps = [{"color": colours[0], "value": None}, {"color": colours[1], "value": panel.red_from}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        defaults["color"] = {"mode": "thresholds"}
    if panel.kind == "status-history":
        defaults["color"] = {"mode": "continuous-YlRd"}
    if panel.kind == "timeseries":
        defaults["color"] = {"mode": "palette-classic"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": says,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
        "targets": targets,
    }


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


# --- alert rules ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: when it fires, for how long it must hold, how urgent it is, what it says and what to do."""

    name: str
    expression: str
    holds: str
    urgency: str
    says: str
    do: str


KNOWN: Final = "7d"
"""So long ago a host may have been heard for the last time, and what is other since then is news: a week's repair."""


def _grows(by: str, series: str) -> str:
    """That a counter grew, or a new one of its family came: an increase is not seen in a series that begins with 1.

    What was there before the host was heard at all is no news.
    """
    new = f"{series} unless last_over_time({series}[{KNOWN}] offset 15m)"
    heard = f"last_over_time(ringfence_up[{KNOWN}] offset 15m)"
    return f"sum by ({by}) (increase({series}[15m])) > 0 or sum by ({by}) ({new} and on (instance) {heard}) > 0"


def _grew_meanwhile(by: str, series: str) -> str:
    """That a counter grew, also while nobody could be heard: an increase needs two values within its window."""
    before = f"last_over_time({series}[{KNOWN}] offset 1h)"
    return f"sum by ({by}) (increase({series}[1h])) > 0 or sum by ({by}) ({series} - {before}) > 0"


ALERTS: Final[tuple[Alert, ...]] = (
    Alert(
        "RingfenceAbsent", 'up{job="ringfence"} == 0', "5m", "page",
        "Nobody decides about machine checks on {{ $labels.instance }}",
        "systemctl status ringfence; a hypervisor that acts by itself still does. With the textfile collector, use "
        "time() - node_textfile_mtime_seconds{file=~\".*ringfence.prom\"} > 120 instead.",
    ),
    Alert(
        "RingfenceUncorrectedError",
        'sum by (instance, severity, unit) (increase(ringfence_errors_total{severity!~"CORRECTED|NONE"}[15m])) > 0',
        "0m", "ticket",
        "An uncorrected hardware error ({{ $labels.severity }}, {{ $labels.unit }}) on {{ $labels.instance }}",
        "ringfence cases --all says whom it hit and what was done. Plan the replacement of the part.",
    ),
    Alert(
        "RingfenceGuestLost", _grows("instance", 'ringfence_outcomes_total{outcome=~"killed|stuck"}'), "0m", "page",
        "A guest on {{ $labels.instance }} was killed or is stuck because of a hardware error",
        "ringfence cases --all names it. Start it again elsewhere; ringfence explain CASE says why nothing better "
        "was possible.",
    ),
    Alert(
        "RingfenceHostWentDown",
        _grew_meanwhile("instance", 'ringfence_left_over_records_total{severity!~"CORRECTED|NONE"}'), "0m", "page",
        "{{ $labels.instance }} went down with a hardware error: an earlier boot left its record",
        "ringfence events --last 100 has the record decoded. Do not put load on the host before the part is replaced.",
    ),
    Alert(
        "RingfenceApprovalWaits", "ringfence_approvals_waiting > 0", "1m", "page",
        "{{ $value }} operations on {{ $labels.instance }} wait for a person's word",
        "ringfence approve, on that host, before the deadline; after it the policy goes on without you.",
    ),
    Alert(
        "RingfencePartMustBeReplaced", 'sum by (instance, suspect) (ringfence_faults{stage="untreated"}) > 0', "10m",
        "ticket",
        "A {{ $labels.suspect }} of {{ $labels.instance }} is at fault and cannot be taken out of use",
        "ringfence status and ringfence events name it. Replace it, then say so: ringfence repaired.",
    ),
    Alert(
        "RingfenceUrgentEvidenceLost",
        'sum by (instance) (increase(ringfence_evidence_lost_total{urgency="urgent"}[15m])) > 0', "0m", "ticket",
        "Urgent evidence was lost on {{ $labels.instance }}: an uncorrected error may have gone unseen",
        "ringfence events says which queue overran. Plan a reboot with a memory test.",
    ),
    Alert(
        "RingfenceOrderFailed", _grows("instance, step", 'ringfence_orders_total{status=~"failed|unknown"}'), "0m",
        "ticket",
        "{{ $labels.step }} was decided and not done on {{ $labels.instance }}",
        "ringfence events --details says why. See that the toolstack answers.",
    ),
    Alert(
        "RingfenceCaseStuck", "ringfence_case_oldest_open_seconds > 3600", "5m", "ticket",
        "A case on {{ $labels.instance }} has been open for more than an hour",
        "ringfence cases says what it waits for.",
    ),
    Alert(
        "RingfenceProblem", "ringfence_problems > 0", "10m", "ticket",
        "{{ $value }} things are wrong with Ringfence on {{ $labels.instance }}",
        "ringfence status names each with what to do.",
    ),
    Alert(
        "RingfenceDiskFull",
        'ringfence_journal_reserve_ready == 0 or ringfence_queue_length{queue="unwritten events"} > 0', "1m", "page",
        "The journal's disk on {{ $labels.instance }} is full or fails",
        "Make room on it. Until then acting goes on, and what is not on the disk is in the kernel's log.",
    ),
    Alert(
        "RingfenceSlow",
        "histogram_quantile(0.99, sum by (instance, le) (rate(ringfence_decision_latency_seconds_bucket[10m]))) > 0.25",
        "10m", "ticket",
        "Decisions on {{ $labels.instance }} take long to become durable",
        "See the latency of the journal's disk, and the load of Dom0.",
    ),
    Alert(
        "RingfenceSourceDown", "ringfence_source_up == 0", "10m", "ticket",
        "The source {{ $labels.source }} on {{ $labels.instance }} is not read",
        "ringfence status says why.",
    ),
    Alert(
        "RingfenceReceiverDown",
        'ringfence_outlet_up == 0 or increase(ringfence_outlet_attempts_total{result="given up"}[1h]) > 0', "15m",
        "ticket",
        "The receiver {{ $labels.receiver }} does not take what {{ $labels.instance }} tells it",
        "ringfence status says what it answers; ringfence webhook test NAME tries it.",
    ),
    Alert(
        "RingfenceRestarts", "increase(ringfence_starts_total[1h]) > 3", "0m", "ticket",
        "Ringfence or the host {{ $labels.instance }} began anew more than three times in an hour",
        "journalctl -u ringfence says how it ended.",
    ),
)  # fmt: skip
"""The alerts: what wakes somebody (``page``), and what can wait for the day (``ticket``)."""


def rules() -> str:
    """packaging/prometheus/ringfence.rules.yml."""
    lines = [
        "# Generated by `python -m docs.generate` from docs/monitoring.py. Edit that, not this file.",
        "# urgency: page wakes somebody, ticket can wait for the day. promtool check rules reads it.",
        "groups:",
        "  - name: ringfence",
        "    rules:",
    ]
    for each in ALERTS:
        lines += [
            f"      - alert: {each.name}",
            f"        expr: {json.dumps(each.expression)}",
            f"        for: {each.holds}",
            "        labels:",
            f"          urgency: {each.urgency}",
            "        annotations:",
            f"          summary: {json.dumps(each.says)}",
            f"          description: {json.dumps(each.do)}",
        ]
    return "\n".join(lines) + "\n"
