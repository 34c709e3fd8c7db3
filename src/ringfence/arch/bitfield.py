"""What a register declaration is: named bit fields that must not overlap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ringfence.errors import DeclarationError


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a register, bits ``high`` down to ``low`` (inclusive, bit 0 is the least significant)."""

    name: str
    high: int
    low: int
    meaning: str
    cite: str
    mask: int = field(init=False, repr=False, compare=False)
    """The field's bits in place."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", ((1 << (self.high - self.low + 1)) - 1) << self.low)

    def of(self, value: int) -> int:
        """The field's value in a register value, shifted down to bit 0."""
        return (value & self.mask) >> self.low

    def put(self, field_value: int) -> int:
        """A register value with only this field set. Raises ValueError if ``field_value`` does not fit."""
        if field_value < 0 or (field_value << self.low) & ~self.mask:
            raise ValueError(f"{field_value:#x} does not fit {self.name}[{self.high}:{self.low}]")
        return field_value << self.low


@dataclass(frozen=True, slots=True)
class FieldValue:
    """A field as found in one register value; ``field`` is None for set bits that no declaration names."""

    field: Field | None
    high: int
    low: int
    value: int


@dataclass(frozen=True, slots=True)
class Register:
    """A register layout: ``fields`` from the highest bit to the lowest, as a datasheet prints it.

    Raises DeclarationError at construction if fields overlap, leave the register, or repeat a name.
    """

    name: str
    fields: tuple[Field, ...]
    cite: str
    width_bits: int = 64

    def __post_init__(self) -> None:
        taken = 0
        names: set[str] = set()
        for declared in self.fields:
            if not 0 <= declared.low <= declared.high < self.width_bits:
                raise DeclarationError(f"{self.name}.{declared.name}: bits {declared.high}:{declared.low} are outside")
            if taken & declared.mask:
                raise DeclarationError(
                    f"{self.name}.{declared.name}: bits {declared.high}:{declared.low} overlap another field"
                )
            if declared.name in names:
                raise DeclarationError(f"{self.name}.{declared.name}: declared twice")
            taken |= declared.mask
            names.add(declared.name)

    def __getitem__(self, name: str) -> Field:
        for declared in self.fields:
            if declared.name == name:
                return declared
        raise KeyError(f"{self.name} has no field {name}")

    @property
    def declared_mask(self) -> int:
        """Every bit that some field names."""
        mask = 0
        for declared in self.fields:
            mask |= declared.mask
        return mask

    def split(self, value: int) -> Iterator[FieldValue]:
        """Every declared field with its value, and each run of set bits that no field names, highest first.

        The pieces always add up to ``value`` again: nothing is dropped.
        """
        pieces = [FieldValue(declared, declared.high, declared.low, declared.of(value)) for declared in self.fields]
        rest = value & ~self.declared_mask & ((1 << self.width_bits) - 1)
        while rest:
            low = (rest & -rest).bit_length() - 1
            run = rest >> low
            length = ((run + 1) & -(run + 1)).bit_length() - 1
            pieces.append(FieldValue(None, low + length - 1, low, (1 << length) - 1))
            rest &= ~(((1 << length) - 1) << low)
        yield from sorted(pieces, key=lambda piece: -piece.high)

    def join(self, values: Mapping[str, int]) -> int:
        """The register value in which the named fields hold ``values`` and all else is zero.

        Raises KeyError for an unknown name and ValueError for a value that does not fit.
        """
        result = 0
        for name, field_value in values.items():
            result |= self[name].put(field_value)
        return result
