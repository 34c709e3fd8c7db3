"""Which processor a family, model and stepping is: names by the makers' and Linux's tables.

Ordered, first match wins. A model that no row covers has no name here, and none is guessed for it.
Sources: Intel: Linux arch/x86/include/asm/intel-family.h (v6.18), and SDM vol. 4 table 2-1 for what is older. AMD: the
revision guides, BKDGs and PPRs of each family, Linux arch/x86/kernel/cpu/amd.c (bsp_init_amd: Zen generations) and
drivers/edac/amd64_edac.c; code names of products by AMD's own announcements. Hygon: Linux arch/x86/kernel/cpu/hygon.c.
Zhaoxin, Centaur: Linux arch/x86/events/zhaoxin/core.c, GCC gcc/common/config/i386/cpuinfo.h.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Models:
    """A run of display models of one display family (and of steppings) with the name they go by."""

    family: int
    first_model: int
    last_model: int
    name: str
    first_stepping: int = 0
    last_stepping: int = 15

    def __contains__(self, key: tuple[int, int, int]) -> bool:
        """Whether this row covers (family, model, stepping)."""
        family, model, stepping = key
        return (
            family == self.family
            and self.first_model <= model <= self.last_model
            and self.first_stepping <= stepping <= self.last_stepping
        )


def _one(family: int, model: int, name: str, first_stepping: int = 0, last_stepping: int = 15) -> Models:
    return Models(family, model, model, name, first_stepping, last_stepping)


INTEL: tuple[Models, ...] = (
    # Family 5
    Models(5, 0, 2, "Pentium (P5)"),
    _one(5, 4, "Pentium MMX (P55C)"),
    _one(5, 9, "Quark X1000"),
    # P6 and its descendants before Core
    Models(6, 0, 1, "Pentium Pro (P6)"),
    Models(6, 3, 6, "Pentium II (P6)"),
    Models(6, 7, 8, "Pentium III (P6)"),
    _one(6, 0x09, "Pentium M (Banias)"),
    Models(6, 0x0A, 0x0B, "Pentium III (P6)"),
    _one(6, 0x0D, "Pentium M (Dothan)"),
    _one(6, 0x0E, "Core (Yonah)"),
    _one(6, 0x15, "EP80579 (Tolapai)"),
    # Core 2
    _one(6, 0x0F, "Core 2 (Merom)"),
    _one(6, 0x16, "Core 2 (Merom-L)"),
    _one(6, 0x17, "Core 2 (Penryn)"),
    _one(6, 0x1D, "Core 2 (Dunnington)"),
    # Core, clients and servers, in the order of their generations
    _one(6, 0x1A, "Nehalem-EP"),
    _one(6, 0x1E, "Nehalem"),
    _one(6, 0x1F, "Nehalem-G"),
    _one(6, 0x2E, "Nehalem-EX"),
    _one(6, 0x25, "Westmere"),
    _one(6, 0x2C, "Westmere-EP"),
    _one(6, 0x2F, "Westmere-EX"),
    _one(6, 0x2A, "Sandy Bridge"),
    _one(6, 0x2D, "Sandy Bridge-EP"),
    _one(6, 0x3A, "Ivy Bridge"),
    # 306E7h is the E7 v2.
    _one(6, 0x3E, "Ivy Bridge-EX", 7, 7),
    _one(6, 0x3E, "Ivy Bridge-EP"),
    _one(6, 0x3C, "Haswell"),
    _one(6, 0x45, "Haswell-L"),
    _one(6, 0x46, "Haswell-G"),
    # 306F4h is the E7 v3.
    _one(6, 0x3F, "Haswell-EX", 4, 4),
    _one(6, 0x3F, "Haswell-EP"),
    _one(6, 0x3D, "Broadwell"),
    _one(6, 0x47, "Broadwell-G"),
    # E5 v4 and E7 v4 share stepping 1.
    _one(6, 0x4F, "Broadwell-EP/EX"),
    _one(6, 0x56, "Broadwell-DE"),
    _one(6, 0x4E, "Skylake-L"),
    _one(6, 0x5E, "Skylake"),
    _one(6, 0x55, "Skylake-SP", 0, 4),
    _one(6, 0x55, "Cascade Lake-SP", 5, 7),
    _one(6, 0x55, "Cooper Lake-SP", 10, 11),
    # Amber Lake-Y has stepping 9 too, Kaby Lake-R stepping 10, Comet Lake-U and Amber Lake-Y stepping 12.
    _one(6, 0x8E, "Kaby Lake-L", 0, 9),
    _one(6, 0x8E, "Kaby Lake-R / Coffee Lake-L", 10, 10),
    _one(6, 0x8E, "Whiskey Lake-L", 11, 11),
    _one(6, 0x8E, "Whiskey Lake-L / Comet Lake-L", 12, 12),
    _one(6, 0x9E, "Kaby Lake", 0, 9),
    _one(6, 0x9E, "Coffee Lake", 10, 13),
    _one(6, 0xA5, "Comet Lake"),
    _one(6, 0xA6, "Comet Lake-L"),
    _one(6, 0x66, "Cannon Lake-L"),
    _one(6, 0x6A, "Ice Lake-SP"),
    _one(6, 0x6C, "Ice Lake-D"),
    _one(6, 0x7D, "Ice Lake"),
    _one(6, 0x7E, "Ice Lake-L"),
    _one(6, 0x9D, "Ice Lake NNP-I"),
    _one(6, 0x8A, "Lakefield"),
    _one(6, 0xA7, "Rocket Lake"),
    _one(6, 0x8C, "Tiger Lake-L"),
    _one(6, 0x8D, "Tiger Lake"),
    _one(6, 0x8F, "Sapphire Rapids"),
    _one(6, 0xCF, "Emerald Rapids"),
    _one(6, 0xAD, "Granite Rapids"),
    _one(6, 0xAE, "Granite Rapids-D"),
    _one(6, 0x97, "Alder Lake"),
    _one(6, 0x9A, "Alder Lake-L"),
    _one(6, 0xBE, "Alder Lake-N"),
    _one(6, 0xB7, "Raptor Lake"),
    _one(6, 0xBA, "Raptor Lake-P"),
    _one(6, 0xBF, "Raptor Lake-S"),
    _one(6, 0xD7, "Bartlett Lake"),
    _one(6, 0xAA, "Meteor Lake-L"),
    _one(6, 0xAC, "Meteor Lake"),
    _one(6, 0xB5, "Arrow Lake-U"),
    _one(6, 0xC5, "Arrow Lake-H"),
    _one(6, 0xC6, "Arrow Lake"),
    _one(6, 0xBD, "Lunar Lake-M"),
    _one(6, 0xCC, "Panther Lake-L"),
    _one(6, 0xD5, "Wildcat Lake-L"),
    _one(18, 0x01, "Nova Lake"),
    _one(18, 0x03, "Nova Lake-L"),
    _one(19, 0x01, "Diamond Rapids"),
    # Atom
    _one(6, 0x1C, "Bonnell"),
    _one(6, 0x26, "Bonnell-MID"),
    _one(6, 0x27, "Saltwell-MID"),
    _one(6, 0x35, "Saltwell-Tablet"),
    _one(6, 0x36, "Saltwell"),
    _one(6, 0x37, "Silvermont"),
    _one(6, 0x4A, "Silvermont-MID"),
    _one(6, 0x4D, "Silvermont-D (Avoton)"),
    _one(6, 0x5A, "Silvermont-MID2 (Anniedale)"),
    _one(6, 0x4C, "Airmont"),
    _one(6, 0x75, "Airmont-NP"),
    _one(6, 0x5C, "Goldmont (Apollo Lake)"),
    _one(6, 0x5F, "Goldmont-D (Denverton)"),
    _one(6, 0x7A, "Goldmont Plus (Gemini Lake)"),
    _one(6, 0x86, "Tremont-D (Jacobsville)"),
    _one(6, 0x96, "Tremont (Elkhart Lake)"),
    _one(6, 0x9C, "Tremont-L (Jasper Lake)"),
    _one(6, 0xAF, "Sierra Forest"),
    _one(6, 0xB6, "Grand Ridge"),
    _one(6, 0xDD, "Clearwater Forest"),
    # Xeon Phi
    _one(11, 0x01, "Knights Corner"),
    _one(6, 0x57, "Knights Landing"),
    _one(6, 0x85, "Knights Mill"),
    # NetBurst
    Models(15, 0, 1, "Pentium 4 (Willamette)"),
    _one(15, 2, "Pentium 4 (Northwood)"),
    Models(15, 3, 4, "Pentium 4 (Prescott)"),
    _one(15, 6, "Pentium 4 (Cedar Mill)"),
)

AMD: tuple[Models, ...] = (
    # The last K7 is model 10 (Athlon XP "Barton").
    Models(0x06, 0x01, 0x0A, "K7"),
    # Revision F (publication 32559) begins with extended model 4.
    Models(0x0F, 0x00, 0x3F, "K8 (revision B to E)"),
    Models(0x0F, 0x40, 0xFF, "K8 (revision F and G)"),
    _one(0x10, 0x02, "K10 (Barcelona)"),
    _one(0x10, 0x04, "K10 (Shanghai)"),
    _one(0x10, 0x05, "K10 (Propus)"),
    _one(0x10, 0x06, "K10 (Regor)"),
    _one(0x10, 0x08, "K10 (Istanbul)"),
    _one(0x10, 0x09, "K10 (Magny-Cours)"),
    _one(0x10, 0x0A, "K10 (Thuban)"),
    _one(0x11, 0x03, "Griffin"),
    Models(0x12, 0x00, 0x01, "Llano"),
    Models(0x14, 0x00, 0x0F, "Bobcat"),
    Models(0x15, 0x00, 0x01, "Bulldozer"),
    _one(0x15, 0x02, "Piledriver (Abu Dhabi)"),
    Models(0x15, 0x10, 0x1F, "Piledriver (Trinity)"),
    Models(0x15, 0x30, 0x3F, "Steamroller (Kaveri)"),
    Models(0x15, 0x60, 0x6F, "Excavator (Carrizo)"),
    Models(0x15, 0x70, 0x7F, "Excavator (Stoney Ridge)"),
    Models(0x16, 0x00, 0x0F, "Jaguar (Kabini)"),
    Models(0x16, 0x30, 0x3F, "Puma (Mullins)"),
    # Naples and Summit Ridge share model 1, Pinnacle Ridge and Colfax model 8.
    Models(0x17, 0x00, 0x07, "Zen (Naples, Summit Ridge)"),
    Models(0x17, 0x08, 0x0F, "Zen+ (Pinnacle Ridge)"),
    Models(0x17, 0x10, 0x17, "Zen (Raven Ridge)"),
    Models(0x17, 0x18, 0x1F, "Zen+ (Picasso)"),
    Models(0x17, 0x20, 0x2F, "Zen (Dali)"),
    Models(0x17, 0x30, 0x3F, "Zen 2 (Rome, Castle Peak)"),
    Models(0x17, 0x40, 0x4F, "Zen 2"),
    Models(0x17, 0x50, 0x5F, "Zen"),
    Models(0x17, 0x60, 0x67, "Zen 2 (Renoir)"),
    Models(0x17, 0x68, 0x6F, "Zen 2 (Lucienne)"),
    Models(0x17, 0x70, 0x7F, "Zen 2 (Matisse)"),
    Models(0x17, 0x90, 0x91, "Zen 2 (Van Gogh)"),
    Models(0x17, 0xA0, 0xAF, "Zen 2 (Mendocino)"),
    Models(0x19, 0x00, 0x07, "Zen 3 (Milan)"),
    Models(0x19, 0x08, 0x0F, "Zen 3 (Chagall)"),
    Models(0x19, 0x10, 0x17, "Zen 4 (Genoa)"),
    Models(0x19, 0x18, 0x1F, "Zen 4 (Storm Peak)"),
    Models(0x19, 0x20, 0x2F, "Zen 3 (Vermeer)"),
    Models(0x19, 0x30, 0x3F, "Zen 3 (Trento)"),
    Models(0x19, 0x40, 0x4F, "Zen 3+ (Rembrandt)"),
    Models(0x19, 0x50, 0x5F, "Zen 3 (Cezanne)"),
    Models(0x19, 0x60, 0x6F, "Zen 4 (Raphael)"),
    Models(0x19, 0x70, 0x7F, "Zen 4 (Phoenix)"),
    Models(0x19, 0x80, 0x8F, "Zen 4 (MI300C)"),
    Models(0x19, 0x90, 0x9F, "Zen 4 (MI300A)"),
    Models(0x19, 0xA0, 0xAF, "Zen 4c (Bergamo, Siena)"),
    Models(0x1A, 0x00, 0x07, "Zen 5 (Turin)"),
    Models(0x1A, 0x08, 0x0F, "Zen 5 (Shimada Peak)"),
    Models(0x1A, 0x10, 0x1F, "Zen 5c (Turin Dense)"),
    Models(0x1A, 0x20, 0x2F, "Zen 5 (Strix Point)"),
    Models(0x1A, 0x40, 0x4F, "Zen 5 (Granite Ridge)"),
    Models(0x1A, 0x60, 0x6F, "Zen 5 (Krackan Point)"),
    Models(0x1A, 0x70, 0x7F, "Zen 5 (Strix Halo)"),
)

HYGON: tuple[Models, ...] = (Models(0x18, 0x00, 0x03, "Dhyana"),)

_CENTAUR_AND_ZHAOXIN: tuple[Models, ...] = (
    # ZX-C and later exist under both vendor strings.
    _one(6, 0x19, "ZX-C"),
    _one(7, 0x1B, "WuDaoKou"),
    _one(7, 0x3B, "LuJiaZui"),
    _one(7, 0x5B, "YongFeng"),
    _one(7, 0x6B, "ShiJiDaDao"),
)

CENTAUR: tuple[Models, ...] = (
    _one(5, 4, "WinChip C6"),
    Models(5, 8, 9, "WinChip 2"),
    Models(6, 0x06, 0x08, "C3 (Samuel, Ezra)"),
    _one(6, 0x09, "C3 (Nehemiah)"),
    _one(6, 0x0A, "C7 (Esther)"),
    _one(6, 0x0D, "C7 (Esther)"),
    _one(6, 0x0F, "Nano (Isaiah)"),
    *_CENTAUR_AND_ZHAOXIN,
)

ZHAOXIN: tuple[Models, ...] = _CENTAUR_AND_ZHAOXIN
