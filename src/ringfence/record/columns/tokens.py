"""Which of many lines hold one of a set of tokens, without looking at each line with each token.

Four characters stand for each token, the rarest that it has. A table of all pairs of characters says which tokens' four
start or end with a pair, so that one look-up for each character of text leaves few places to compare in full.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringfence.record.columns.digits import Positions, Text

_COMMONEST_FIRST: Final = b" etaoinsrlcdu0p1m:.h2g3f456789bvkyw-_/=,x[]()jqz"
"""Characters of kernel logs from the commonest to the rarest; all others, as capital letters, are rarer still."""

GRAM_BYTES: Final = 4
_GROUPS: Final = 8
"""A pair stands for groups of tokens, a bit for each in half of a 16-bit word: 8."""

_WINDOW_BYTES: Final = 64
_STEP_BYTES: Final = _WINDOW_BYTES - GRAM_BYTES + 1
_LONG_LINE_BYTES: Final = 16 * _WINDOW_BYTES
"""Lines longer than this are few: they are searched one by one."""


def _share(character: int) -> float:
    """How often a character is met, roughly."""
    rank = _COMMONEST_FIRST.find(bytes((character,)))
    return 0.15 / (1 + rank) if rank >= 0 else 0.002


def _rarest_gram(token: bytes) -> bytes:
    grams = [token[at : at + GRAM_BYTES] for at in range(len(token) - GRAM_BYTES + 1)]
    return min(grams, key=lambda gram: math.prod(map(_share, gram)))


class LineFilter:
    """Which lines the reader of single lines wants: those with a token, if ``confirm``, when given, agrees.

    ``confirm`` is asked with the line, without its end; it must be true for every line that is evidence by itself.
    ``context_lines`` lines on either side of a wanted one come with it, if no plain record has them: the most that any
    grammar's ``inside_lines`` asks for. Raises ValueError for a token of fewer than GRAM_BYTES characters.
    """

    def __init__(
        self, tokens: Iterable[bytes], context_lines: int = 0, confirm: Callable[[bytes], bool] | None = None
    ) -> None:
        given = set(tokens)
        if any(len(token) < GRAM_BYTES for token in given):
            raise ValueError(f"a token needs {GRAM_BYTES} characters")
        # A token that holds another one is found with it.
        self.tokens = tuple(sorted(t for t in given if not any(other in t for other in given if other != t)))
        self.context_lines = context_lines
        self.confirm = confirm or (lambda _: True)
        self._tokens_of: dict[int, list[bytes]] = {}
        for token in self.tokens:
            self._tokens_of.setdefault(int.from_bytes(_rarest_gram(token), "little"), []).append(token)
        self._grams = np.array(sorted(self._tokens_of), np.uint64)
        # The low byte of a pair's entry: groups whose four start with it; the high byte: groups whose four end with it.
        self._pairs = np.zeros(1 << 16, np.uint16)
        for number, gram in enumerate(sorted(self._tokens_of)):
            group = number * _GROUPS // len(self._tokens_of)
            self._pairs[gram & 0xFFFF] |= np.uint16(1 << group)
            self._pairs[gram >> 16] |= np.uint16(1 << group + _GROUPS)

    def among(self, text: Text, starts: Positions, ends: Positions) -> Positions:
        """Which of the lines from ``starts`` up to ``ends`` hold a token, as indices; ``confirm`` is not asked yet."""
        lengths = ends - starts
        long = np.flatnonzero(lengths > _LONG_LINE_BYTES).tolist()
        found = {index for index in long if self._holds(text.buffer, int(starts[index]), int(ends[index]), self.tokens)}
        pending = (
            np.flatnonzero((lengths >= GRAM_BYTES) & (lengths <= _LONG_LINE_BYTES)) if self.tokens else lengths[:0]
        )
        skip = 0
        while len(pending):
            lines, grams = self._grams_in(text, starts[pending] + skip, lengths[pending] - skip)
            for index, gram in set(zip(pending[lines].tolist(), grams.tolist(), strict=True)):
                if index not in found and self._holds(
                    text.buffer, int(starts[index]), int(ends[index]), self._tokens_of[gram]
                ):
                    found.add(index)
            skip += _STEP_BYTES
            pending = pending[lengths[pending] >= skip + GRAM_BYTES]
        return np.array(sorted(found), np.intp)

    @staticmethod
    def _holds(buffer: bytes, start: int, end: int, tokens: Iterable[bytes]) -> bool:
        return any(buffer.find(token, start, end) >= 0 for token in tokens)

    def _grams_in(self, text: Text, at: Positions, lengths: Positions) -> tuple[Positions, NDArray[np.uint64]]:
        """Where one of the tokens' four stands in windows of 64 characters: indices of windows, and which four."""
        characters = text.rows(at, _WINDOW_BYTES // 8).view(np.uint8).reshape(-1)
        entries = np.zeros(len(characters), np.uint16)
        entries[0::2] = self._pairs[characters.view("<u2")]
        entries[1:-1:2] = self._pairs[characters[1:-1].view("<u2")]
        starting = entries[:-2] & (entries[2:] >> np.uint16(_GROUPS))
        places = np.flatnonzero(starting != 0)
        window, within = places // _WINDOW_BYTES, places % _WINDOW_BYTES
        inside = within + GRAM_BYTES <= np.minimum(lengths[window], _WINDOW_BYTES)
        window, within = window[inside], within[inside]
        grams = text.words(at[window] + within) & np.uint64(0xFFFF_FFFF)
        index = np.minimum(np.searchsorted(self._grams, grams), len(self._grams) - 1)
        same = self._grams[index] == grams
        return window[same], grams[same]
