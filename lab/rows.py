"""The concept's rows beside what each lab shows of them: what a test showed, and what that host makes impossible.

A test of the lab says at the beginning of its docstring which rows it shows (``I.2a: ...``, ``II.1, II.2: ...``).
What passed is written into ``docs/rows-shown.json`` by ``python -m lab keep-rows``, and the page
docs/reference/rows.md is made of that: a cell is never filled by hand.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ringfence.decision.rows import Row

TESTS: Final = Path(__file__).parent / "tests"
SHOWN: Final = Path(__file__).parent.parent / "docs" / "rows-shown.json"
"""What the last kept run of each lab showed: by host, by row, the names of the tests."""

_NAMED: Final = re.compile(
    "(?<![A-Za-z0-9.-])("
    + "|".join(re.escape(each) for each in sorted(Row, key=len, reverse=True))
    + ")(?![A-Za-z0-9-])"
)

XEN: Final = "Xen 4.20"
KVM: Final = "KVM"
HOSTS: Final = {"test_xen": XEN, "test_kvm": KVM}
"""Which host a file of tests runs on, by how its name begins."""

_ACTS_ALONE = "Xen acts alone at the machine check, and tells Dom0 afterwards: XEN_MC_notifydomain answers -EINVAL"
_KERNEL_ACTS = "the kernel acts alone at the machine check (memory_failure), and tells user space afterwards"
_HVM_NEEDS_VMX = (
    "software emulation has no VMX, and Xen recovers on Intel only: no HVM guest is ever hit recoverably here"
)
_NO_PV = "every guest of KVM is HVM"
_NO_DIMM = "no memory controller is emulated: no error names a rank or carries a syndrome"

IMPOSSIBLE: Final[dict[str, dict[Row, str]]] = {
    XEN: {
        Row.ASK_DOM0: _ACTS_ALONE,
        Row.ALONE: "Xen crashes a PV guest whose page is lost, and tells it nothing",
        Row.PV_HANDLER: "Xen crashes a PV guest whose page is lost, whether it has a handler or not",
        Row.PV_DOM0: _ACTS_ALONE,
        Row.HVM_HANDLER: _HVM_NEEDS_VMX,
        Row.HVM_INJECT: _HVM_NEEDS_VMX,
        Row.HVM_DOM0: _HVM_NEEDS_VMX,
        Row.HVM_KILL: _HVM_NEEDS_VMX,
        Row.DISTINCT_SYNDROMES: _NO_DIMM,
    },
    KVM: {
        Row.ASK_DOM0: _KERNEL_ACTS,
        Row.PV_HANDLER: _NO_PV,
        Row.PV_DOM0: _NO_PV,
        Row.PV_KILL: _NO_PV,
        Row.DISTINCT_SYNDROMES: _NO_DIMM,
    },
}
"""Rows that a host takes away, with the reason. A row that is shown all the same is an error of this table."""


def named(docstring: str) -> tuple[Row, ...]:
    """The rows that a test's docstring begins with, up to its first colon; none if it begins with none."""
    head, colon, _ = docstring.partition(":")
    return tuple(Row(each) for each in _NAMED.findall(head)) if colon else ()


def host_of(file: str) -> str | None:
    """Which host a file of tests runs on, by its name."""
    return next((host for prefix, host in HOSTS.items() if file.startswith(prefix)), None)


def declared() -> Iterator[tuple[str, str, tuple[Row, ...]]]:
    """Each test of the labs as it is written: its host, its name, the rows that it shows."""
    for path in sorted(TESTS.glob("test_*.py")):
        host = host_of(path.name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and host is not None:
                yield host, node.name, named(ast.get_docstring(node) or "")


def shown() -> dict[str, dict[Row, list[str]]]:
    """What the kept runs showed."""
    kept = json.loads(SHOWN.read_text(encoding="utf-8")) if SHOWN.exists() else {}
    return {host: {Row(row): list(names) for row, names in rows.items()} for host, rows in kept.items()}


def keep(passed: dict[str, list[str]]) -> None:
    """Write down what passed, by host; a host that did not run keeps what it had."""
    kept = {host: {str(row): names for row, names in rows.items()} for host, rows in shown().items()}
    for host, tests in passed.items():
        rows: dict[str, list[str]] = {}
        for at, test, of in declared():
            if at == host and test in tests:
                for row in of:
                    rows.setdefault(str(row), []).append(test)
        kept[host] = dict(sorted(rows.items(), key=lambda each: list(Row).index(Row(each[0]))))
    SHOWN.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
