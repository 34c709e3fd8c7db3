"""Many numbers read at once: eight characters of text are one 64-bit word, and each step works on an array of them.

A word is loaded little-endian, so that the first character is its lowest byte. Carries and borrows between the bytes of
a word can therefore only reach characters that stand later in the text; everything here relies on it: what follows the
first character that is no digit may turn into anything, and is cut off.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Positions = NDArray[np.intp]
Flags = NDArray[np.bool_]

PAD_BYTES: Final = 512
"""How many readable bytes must follow a text: no reader of one line looks further than this behind the line's end."""


def word(characters: bytes) -> np.uint64:
    """Up to eight characters as a word, zero-filled behind."""
    return np.uint64(int.from_bytes(characters, "little"))


def mask(length: int) -> np.uint64:
    """The word that keeps the first ``length`` characters, 0 to 8."""
    return np.uint64((1 << 8 * length) - 1)


def _each(byte: int) -> np.uint64:
    return np.uint64(byte * 0x0101_0101_0101_0101)


_ZEROS: Final = _each(0x30)
_ONES: Final = _each(0x01)
_SIXES: Final = _each(0x06)
_LOW: Final = _each(0x0F)
_HIGH: Final = _each(0xF0)
_ABOVE_NINE: Final = _each(0x76)
_TOP: Final = _each(0x80)
_LETTER_GAP: Final = np.uint64(0x47)
_PAIRS: Final = np.uint64(0x00FF_00FF_00FF_00FF)
_FOURS: Final = np.uint64(0x0000_FFFF_0000_FFFF)
_UPPER_FOUR: Final = np.uint64(0xFFFF_0000)
_ONE: Final = np.uint64(1)
_S3, _S4, _S6, _S8, _S16, _S32, _S48, _S64 = (np.uint64(bits) for bits in (3, 4, 6, 8, 16, 32, 48, 64))


class Text:
    """A text that can be read at many positions at once.

    ``buffer`` holds the text and at least PAD_BYTES more, whatever they are. Raises ValueError if it does not.
    """

    def __init__(self, buffer: bytes, size: int) -> None:
        if len(buffer) < size + PAD_BYTES:
            raise ValueError(f"{len(buffer)} bytes are no text of {size} with {PAD_BYTES} behind it")
        self.buffer = buffer
        self.size = size
        self.characters: NDArray[np.uint8] = np.frombuffer(buffer, np.uint8)

    def words(self, at: Positions) -> Words:
        """The eight characters from each position on."""
        overlapping: Words = np.ndarray((len(self.buffer) - 7,), "<u8", self.buffer, strides=(1,))
        return overlapping[at]

    def rows(self, at: Positions, words: int) -> Words:
        """The ``words`` times eight characters from each position on, one row for each."""
        width = 8 * words
        overlapping: NDArray[np.void] = np.ndarray(
            (len(self.buffer) - width + 1,), f"V{width}", self.buffer, strides=(1,)
        )
        return overlapping[at].view("<u8").reshape(-1, words)

    def equal(self, at: Positions, literal: bytes) -> Flags:
        """Where the characters from the position on are ``literal``."""
        same: Flags = (self.words(at) & mask(min(8, len(literal)))) == word(literal[:8])
        if len(literal) > 8:
            same &= self.equal(at + 8, literal[8:])
        return same


def _length(flagged: Words) -> Words:
    """How many characters stand before the first whose byte has a bit set: 0 to 8."""
    below: Words = np.bitwise_count((flagged - _ONE) & ~flagged).astype(np.uint64)
    return below >> _S3


def _nibbles(words: Words) -> tuple[Words, Words]:
    """The value of each character as a lower-case hexadecimal digit, and how many such digits come first."""
    values = words ^ _ZEROS
    letters = (values >> _S6) & _ONES
    values -= letters * _LETTER_GAP
    # Now '0'..'9' alone are below 10 without the letter's bit, and 'a'..'f' alone are 10 to 15 with it: adding 6
    # carries into bit 4 for these and not for those.
    flagged = (((values + _SIXES) >> _S4) ^ letters) & _ONES
    flagged |= values & _HIGH
    values &= _LOW
    return values, _length(flagged)


def _packed(nibbles: Words) -> Words:
    """Eight digits of four bits each, first character highest, in the low 32 bits."""
    pairs = ((nibbles * np.uint64(0x1001)) >> _S8) & _PAIRS
    fours = pairs * np.uint64(0x100_0001)
    return (fours & _UPPER_FOUR) | (fours >> _S48)


def hexadecimal8(words: Words) -> tuple[Words, Words]:
    """Hexadecimal numbers of up to 8 digits, and their lengths; length 8 may mean that more digits follow."""
    nibbles, length = _nibbles(words)
    return _packed(nibbles) >> (_S32 - (length << np.uint64(2))), length


def hexadecimal16(pairs: Words) -> tuple[Words, Words]:
    """Hexadecimal numbers of up to 16 digits from rows of two words, and their lengths, as ``hexadecimal8``."""
    nibbles, length = _nibbles(pairs.reshape(-1))
    packed = _packed(nibbles)
    lengths = length[0::2] + length[1::2] * (length[0::2] >> _S3)
    return ((packed[0::2] << _S32) | packed[1::2]) >> (_S64 - (lengths << np.uint64(2))), lengths


def decimal8(words: Words) -> tuple[Words, Words]:
    """Decimal numbers of up to 8 digits, and their lengths; length 8 may mean that more digits follow."""
    values = words ^ _ZEROS
    length = _length(((values + _ABOVE_NINE) | values) & _TOP)
    values &= _LOW
    values <<= _S64 - (length << _S3)
    values = ((values * np.uint64(10 << 8 | 1)) >> _S8) & _PAIRS
    values = ((values * np.uint64(100 << 16 | 1)) >> _S16) & _FOURS
    return (values * np.uint64(10000 << 32 | 1)) >> _S32, length


_POWERS_OF_TEN: Final = np.array([10**power for power in range(9)], np.uint64)


def decimal16(pairs: Words) -> tuple[Words, Words]:
    """Decimal numbers of up to 16 digits from rows of two words, and their lengths, as ``decimal8``."""
    values, length = decimal8(pairs.reshape(-1))
    more = length[1::2] * (length[0::2] >> _S3)
    low = values[1::2] * (more > 0)
    return values[0::2] * _POWERS_OF_TEN[more.astype(np.intp)] + low, length[0::2] + more


def digits_only(difference: Words, columns: np.uint64) -> Words:
    """Not zero where a character is no decimal digit although ``columns`` (0x80 in its byte) asks for one.

    ``difference`` is the text's word XOR a word with '0' in these columns; once a byte of it before a column is not
    zero, what is said of that column does not count.
    """
    return ((difference + _ABOVE_NINE) | difference) & columns
