"""A class that is made quickly is the same class."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace

import msgspec
import pytest

from ringfence.quick import changed, quick


@dataclass(frozen=True, slots=True)
class Slow:
    first: int
    second: str = "b"
    third: list[int] = field(default_factory=list)


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    first: int
    second: str = "b"
    third: list[int] = field(default_factory=list)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    first: int
    second: int = 2


def test_it_is_made_shown_compared_and_changed_as_before() -> None:
    one = Quick(1)
    assert type(one) is Quick
    assert repr(one) == repr(Slow(1)).replace("Slow", "Quick")
    assert one == Quick(1, "b", []) != Quick(1, "c")
    assert one.third is not Quick(1).third
    assert replace(one, second="c") == Quick(first=1, second="c")
    assert hash(Named(first=1)) == hash(Named(second=2, first=1))
    assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one
    assert msgspec.json.decode(msgspec.json.encode(one), type=Quick) == one


def test_it_is_as_frozen_as_before() -> None:
    one = Quick(1)
    with pytest.raises(FrozenInstanceError):
        one.first = 2  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        one.fourth = 2  # type: ignore[attr-defined]


def test_it_is_changed_as_by_replace() -> None:
    one = Quick(1, third=[3])
    assert changed(one, first=2, second="c") == replace(one, first=2, second="c")
    assert (one, type(changed(one))) == (Quick(1, third=[3]), Quick)
    with pytest.raises(FrozenInstanceError):
        changed(one).first = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="fourth"):
        changed(one, fourth=2)
    with pytest.raises(KeyError, match="Slow"):
        changed(Slow(1), first=2)


def test_wrong_arguments_are_refused_as_before() -> None:
    with pytest.raises(TypeError, match="first"):
        Quick()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        Named(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected"):
        Quick(1, fourth=2)  # type: ignore[call-arg]


def test_what_is_not_plain_is_refused() -> None:
    class Base:
        __slots__ = ()

    @dataclass(frozen=True, slots=True)
    class Child(Base):
        first: int

    with pytest.raises(TypeError, match="not plain enough"):
        quick(Child)
