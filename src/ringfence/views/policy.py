"""What a policy does, as text and as JSON."""

from __future__ import annotations

from textwrap import fill
from typing import Final

from ringfence.decision.policy_explained import Explained, PolicyExplained, RuleExplained
from ringfence.decision.policy_file import PolicyFile

_WIDTH: Final = 110


def plain(file: PolicyFile, explained: PolicyExplained) -> dict[str, object]:
    """The whole as JSON has it."""
    return {
        "file": file.path or None,
        "host": [_row_json(row) for row in explained.host],
        "domains": [
            {"rule": rule.number, "line": rule.line, "about": rule.about, "rows": [_row_json(row) for row in rule.rows]}
            for rule in explained.rules
        ],
    }


def _row_json(row: Explained) -> dict[str, object]:
    values = [{"key": each.key, "value": each.value, "from": each.origin} for each in row.values]
    return {"rows": [each.value for each in row.rows], "when": row.when, "then": row.then, "values": values}


def text(file: PolicyFile, explained: PolicyExplained, name: str | None) -> str:
    """The whole for reading; ``name`` is the one domain that it is about, None if it is about all."""
    parts = [f"Policy: {file.path or 'the default (no file)'}", "", "The host"]
    parts += [_row_text(row) for row in explained.host]
    for rule in explained.rules:
        parts += ["", _head(rule, name)]
        parts += [_row_text(row) for row in rule.rows]
    return "\n".join(parts) + "\n"


def _head(rule: RuleExplained, name: str | None) -> str:
    about = rule.about[0].upper() + rule.about[1:]
    which = f" (the rule on line {rule.line})" if rule.line is not None else ""
    return f"Domain {name}: {rule.about}{which}" if name is not None else f"{about}{which}"


def _row_text(row: Explained) -> str:
    head = f"  {', '.join(row.rows)}: {row.when}"
    then = fill(f"{row.then}.", _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False)
    return "\n".join((head, then, *(f"{' ' * 8}{each.key} = {each.value}  ({each.origin})" for each in row.values)))
