"""What a module declares at its top level: names, values, and the docstring that stands below each."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True, slots=True)
class Declared:
    """One top-level assignment; ``doc`` is the string literal below it, empty if there is none."""

    module: str
    name: str
    value: object
    doc: str


def modules(package: ModuleType) -> Iterator[ModuleType]:
    """A package's modules, in the order of their names, with those of its subpackages."""
    for found in sorted(pkgutil.walk_packages(package.__path__, f"{package.__name__}."), key=lambda item: item.name):
        yield importlib.import_module(found.name)


def declared(module: ModuleType) -> Iterator[Declared]:
    """What ``module`` assigns at its top level, in the order of the source."""
    body = ast.parse(inspect.getsource(module)).body
    for here, below in zip(body, [*body[1:], None], strict=True):
        match here:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                doc = ""
                if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                    doc = inspect.cleandoc(str(below.value.value))
                yield Declared(module.__name__, name, getattr(module, name), doc)
            case _:
                pass


def first_sentence(module: ModuleType) -> str:
    """The first paragraph of a module's docstring, on one line."""
    return " ".join(inspect.cleandoc(module.__doc__ or "").split("\n\n")[0].split())
