"""The words that the API uses, with what they mean: the rows of the concept and the grades of suspects."""

from __future__ import annotations

import msgspec

from ringfence.decision.rows import MEANINGS
from ringfence.diagnosis.suspects import GRADES
from ringfence.service.http.routes import Answer, Call, Method, Nothing, Route, Scope


class RowMeaning(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the concept: when it applies, and what happens then."""

    row: str
    condition: str
    happens: str


class GradeMeaning(msgspec.Struct, frozen=True, kw_only=True):
    """A grade of a suspect, and what is true of a suspect that has it. No probability."""

    grade: str
    means: str


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """Every row of the concept and every grade, in their order."""

    rows: tuple[RowMeaning, ...]
    grades: tuple[GradeMeaning, ...]


WORDS = Words(
    rows=tuple(RowMeaning(row=row, condition=each.condition, happens=each.happens) for row, each in MEANINGS.items()),
    grades=tuple(GradeMeaning(grade=grade, means=means) for grade, means in GRADES.items()),
)


async def words(call: Call[Nothing]) -> Answer:
    """What the words mean; the same for every host of this version."""
    del call
    return WORDS


ROUTES = (
    Route(
        method=Method.GET, path="/api/v1/words", name="words", needs=Scope.READ, asked=Nothing, answers=Words,
        handler=words, summary="What the rows of the concept and the grades of suspects mean",
    ),
)  # fmt: skip
"""Words."""
