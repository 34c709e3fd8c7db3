"""The generated page of the configuration's keys, and its JSON Schema, from their declarations."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from ringfence.decision.toml_document import MAX_BYTES
from ringfence.service.configuration import file
from ringfence.service.configuration.keys import Key

Table = Callable[[tuple[str, ...], Iterable[tuple[str, ...]]], str]
Page = Callable[[str, str, Iterable[str]], str]


def schema() -> str:
    """The JSON Schema of a configuration file."""
    return json.dumps(file.schema(), indent=2) + "\n"


def configuration(page: Page, table: Table) -> str:
    """The page."""
    tables: dict[tuple[str, ...], list[Key]] = {(): []}
    about: dict[tuple[str, ...], Key] = {}
    for path, key in file.all_keys():
        if key.table is None:
            tables[path[:-1]].append(key)
        else:
            tables[path], about[path] = [], key
    parts = []
    for path, keys in tables.items():
        if not keys:
            continue
        name = ".".join(path)
        head = f"`[[{name}]]`" if path and about[path].many else f"`[{name}]`" if path else "Before the first table"
        meaning = f"{about[path].meaning}\n\n" if path else ""
        rows = (
            (f"`{key.name}`", key.meaning, key.allowed, f"`{file.written(key.default) or '-'}`", key.applies.value)
            for key in keys
        )
        parts.append(
            f"## {head}\n\n{meaning}" + table(("key", "meaning", "allowed", "default", "a change applies"), rows)
        )
    return page(
        "The configuration file",
        f"TOML 1.0 in UTF-8, at most {MAX_BYTES // 1024} KiB. A key that is left out has its default. "
        "`ringfence config default` prints a file with every key, `ringfence config check` names every problem with "
        "its line, `ringfence config explain KEY` says what holds and where it comes from. The JSON Schema for editors "
        "is docs/configuration-schema.json. The tables of a policy ([policy.md](policy.md)) may stand in it, each with "
        "`policy.` before its name.",
        parts,
    )
