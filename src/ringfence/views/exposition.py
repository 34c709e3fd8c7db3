"""Numbers as monitoring systems read them: Prometheus' text format 0.0.4, and OpenMetrics 1.0.

Sources: prometheus.io/docs/instrumenting/exposition_formats; the OpenMetrics 1.0 specification
(github.com/prometheus/OpenMetrics). The two differ in the names of families, in units, and in the end mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum

from ringfence.views.metrics import TABLE, Histogram, Kind, Metric, Sample


class Exposition(Enum):
    """A format, with its media type."""

    PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def wanted(accept: str) -> Exposition:
    """The format that an HTTP client asks for in ``Accept``: OpenMetrics where it names it with a weight above 0.

    Prometheus names it first where it can read it; anything else, hand-typed requests among them, gets plain text.
    """
    for choice in accept.split(","):
        name, *parameters = (each.strip() for each in choice.split(";"))
        weights = [each[2:] for each in parameters if each.startswith("q=")]
        if name == "application/openmetrics-text" and not any(weight.strip("0.") == "" for weight in weights):
            return Exposition.OPENMETRICS
    return Exposition.PROMETHEUS


def exposition(samples: Iterable[Sample], form: Exposition) -> str:
    """All samples as one text, family after family in the order of the table."""
    families: dict[Metric, list[Sample]] = {}
    for sample in samples:
        families.setdefault(sample.metric, []).append(sample)
    lines = [line for metric in TABLE if metric in families for line in _family(metric, families[metric], form)]
    if form is Exposition.OPENMETRICS:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def _family(metric: Metric, samples: list[Sample], form: Exposition) -> Iterator[str]:
    name, kind = metric.family, metric.kind.value
    if form is Exposition.PROMETHEUS and metric.kind in {Kind.COUNTER, Kind.INFO}:
        # Here a family has the name of its series, and there is no kind for what is always 1.
        name = metric.series[0]
        kind = "gauge" if metric.kind is Kind.INFO else kind
    yield f"# HELP {name} {_help(metric.meaning, form)}"
    yield f"# TYPE {name} {kind}"
    if form is Exposition.OPENMETRICS and metric.unit:
        yield f"# UNIT {name} {metric.unit}"
    for sample in samples:
        if isinstance(sample.value, Histogram):
            yield from _histogram(metric, sample, sample.value)
        else:
            yield f"{metric.series[0]}{_labels(metric, sample)} {_number(sample.value)}"


def _histogram(metric: Metric, sample: Sample, value: Histogram) -> Iterator[str]:
    below = 0
    for bound, count in zip((*map(_bound, value.bounds_s), "+Inf"), value.counts, strict=True):
        below += count
        yield f"{metric.family}_bucket{_labels(metric, sample, le=bound)} {below}"
    yield f"{metric.family}_sum{_labels(metric, sample)} {_number(value.sum_s)}"
    yield f"{metric.family}_count{_labels(metric, sample)} {below}"


def _labels(metric: Metric, sample: Sample, **more: str) -> str:
    pairs = [*zip((label.name for label in metric.labels), sample.labels, strict=True), *more.items()]
    return "{" + ",".join(f'{name}="{_label(value)}"' for name, value in pairs) + "}" if pairs else ""


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _help(text: str, form: Exposition) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if form is Exposition.OPENMETRICS else escaped


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _bound(bound_s: float) -> str:
    """A bucket's bound as OpenMetrics writes numbers canonically: always with a point."""
    return repr(float(bound_s))
