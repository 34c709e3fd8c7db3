"""Frozen dataclasses that are made in less time: for the few classes of which thousands are made for one error.

The ``__init__`` that ``dataclasses`` writes for a frozen class calls ``object.__setattr__`` for each field, which is
ten times as dear as setting a slot. Here an object is made as one of an open twin, with the same slots and no
``__setattr__`` of its own, and becomes one of its frozen class when all is set. Nothing else of the class changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, Final, TypeVar

T = TypeVar("T")

_COPIED: Final[dict[type, Callable[[Any], Any]]] = {}
"""Of each quick class, what makes an open twin with the same values."""


def changed(value: T, /, **changes: object) -> T:
    """As ``dataclasses.replace``, of a quick class; in less time. Raises AttributeError for a field that is not there,
    KeyError for a value of another class.
    """
    cls = type(value)
    new = _COPIED[cls](value)
    for name, each in changes.items():
        setattr(new, name, each)
    new.__class__ = cls
    found: T = new
    return found


def quick(cls: type[T]) -> type[T]:
    """Above ``@dataclass(frozen=True, slots=True)``: the same class, with an ``__init__`` that takes less time.

    Raises TypeError for a class with a base, or with fields that are no arguments: nothing here needs them.
    """
    known = fields(cls)  # type: ignore[arg-type]  # a dataclass: else it raises TypeError, as it should
    if cls.__bases__ != (object,) or not all(each.init for each in known) or hasattr(cls, "__post_init__"):
        raise TypeError(f"{cls.__name__} is not plain enough to be made quickly")
    names = tuple(each.name for each in known)
    given: dict[str, Any] = {
        "_become": object.__setattr__,
        "_make": object.__new__,
        "_open": type(cls.__name__, (), {"__slots__": names}),
        "_frozen": cls,
        "_missing": MISSING,
    }
    arguments: list[str] = []
    keywords: list[str] = []
    lines = ["_become(self, '__class__', _open)"]
    for each in known:
        argument, value = each.name, each.name
        if each.default is not MISSING:
            given[f"_default_{each.name}"] = each.default
            argument += f"=_default_{each.name}"
        elif each.default_factory is not MISSING:
            given[f"_make_{each.name}"] = each.default_factory
            argument += "=_missing"
            value = f"_make_{each.name}() if {each.name} is _missing else {each.name}"
        (keywords if each.kw_only else arguments).append(argument)
        lines.append(f"self.{each.name} = {value}")
    lines.append("self.__class__ = _frozen")
    copied = "".join(f"\n    new.{each.name} = old.{each.name}" for each in known)
    heading = ", ".join(["self", *arguments, *(["*", *keywords] if keywords else [])])
    body = "".join(f"\n    {line}" for line in lines)
    made: dict[str, Any] = {}
    exec(f"def __init__({heading}):{body}", given, made)  # noqa: S102 (names of fields alone, as dataclasses does)
    exec(f"def copied(old):\n    new = _make(_open){copied}\n    return new", given, made)  # noqa: S102 (as above)
    _COPIED[cls] = made["copied"]
    made["__init__"].__annotations__ = cls.__init__.__annotations__
    made["__init__"].__qualname__ = f"{cls.__qualname__}.__init__"
    type.__setattr__(cls, "__init__", made["__init__"])
    return cls
