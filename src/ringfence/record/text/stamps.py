"""The civil time that a log's stamp gives: a date and a clock of the logging machine, which name no zone.

``dmesg -T`` writes weekday, month, day, clock and year in the words of its locale (util-linux sys-utils/dmesg.c,
record_ctime: strftime's ``%a %b %e %H:%M:%S %Y``). The abbreviations of the months are those of glibc's locales
(localedata/locales, abmon and ab_alt_mon of LC_TIME). Where two languages use one abbreviation for different months
("lis" is October in Croatian, November in Czech and Polish), the month is not known.
"""

# ruff: noqa: RUF001  (months are written in the letters of their language)

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Final

ABBREVIATIONS: Final = (
    "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec",  # English
    "Jan|Feb|Mär|Apr|Mai|Jun|Jul|Aug|Sep|Okt|Nov|Dez",  # German
    "Jän|Feb|Mär|Apr|Mai|Jun|Jul|Aug|Sep|Okt|Nov|Dez",  # German, Austria
    "janv.|févr.|mars|avril|mai|juin|juil.|août|sept.|oct.|nov.|déc.",  # French
    "jan|fév|mar|avr|mai|jun|jui|aoû|sep|oct|nov|déc",  # French, Canada
    "ene|feb|mar|abr|may|jun|jul|ago|sep|oct|nov|dic",  # Spanish
    "gen|feb|mar|apr|mag|giu|lug|ago|set|ott|nov|dic",  # Italian
    "jan|fev|mar|abr|mai|jun|jul|ago|set|out|nov|dez",  # Portuguese
    "jan|feb|mrt|apr|mei|jun|jul|aug|sep|okt|nov|dec",  # Dutch
    "sty|lut|mar|kwi|maj|cze|lip|sie|wrz|paź|lis|gru",  # Polish
    "led|úno|bře|dub|kvě|čen|čec|srp|zář|říj|lis|pro",  # Czech
    "jan|feb|mar|apr|máj|jún|júl|aug|sep|okt|nov|dec",  # Slovak
    "jan|febr|márc|ápr|máj|jún|júl|aug|szept|okt|nov|dec",  # Hungarian
    "ian|feb|mar|apr|mai|iun|iul|aug|sep|oct|nov|dec",  # Romanian
    "яну|фев|мар|апр|май|юни|юли|авг|сеп|окт|ное|дек",  # Bulgarian
    "янв|фев|мар|апр|мая|июн|июл|авг|сен|окт|ноя|дек",  # Russian
    "січ|лют|бер|кві|тра|чер|лип|сер|вер|жов|лис|гру",  # Ukrainian
    "сту|лют|сак|кра|мая|чэр|ліп|жні|вер|кас|ліс|сне",  # Belarusian
    "јан|феб|мар|апр|мај|јун|јул|авг|сеп|окт|нов|дец",  # Serbian
    "jan|feb|mar|apr|maj|jun|jul|avg|sep|okt|nov|dec",  # Serbian, Latin
    "sij|velj|ožu|tra|svi|lip|srp|kol|ruj|lis|stu|pro",  # Croatian
    "jan|feb|mar|apr|maj|jun|jul|avg|sep|okt|nov|dec",  # Slovenian
    "saus.|vas.|kov.|bal.|geg.|birž.|liep.|rugp.|rugs.|spal.|lapkr.|gruod.",  # Lithuanian
    "jan|feb|mar|apr|mai|jūn|jūl|aug|sep|okt|nov|dec",  # Latvian
    "jaan|veebr|märts|apr|mai|juuni|juuli|aug|sept|okt|nov|dets",  # Estonian
    "tammi|helmi|maalis|huhti|touko|kesä|heinä|elo|syys|loka|marras|joulu",  # Finnish
    "jan|feb|mar|apr|maj|jun|jul|aug|sep|okt|nov|dec",  # Swedish
    "jan.|feb.|mars|april|mai|juni|juli|aug.|sep.|okt.|nov.|des.",  # Norwegian
    "jan|feb|mar|apr|maj|jun|jul|aug|sep|okt|nov|dec",  # Danish
    "jan|feb|mar|apr|maí|jún|júl|ágú|sep|okt|nóv|des",  # Icelandic
    "Ιαν|Φεβ|Μαρ|Απρ|Μαΐ|Ιουν|Ιουλ|Αυγ|Σεπ|Οκτ|Νοε|Δεκ",  # Greek
    "Ιαν|Φεβ|Μάρ|Απρ|Μάι|Ιούν|Ιούλ|Αύγ|Σεπ|Οκτ|Νοέ|Δεκ",  # Greek, standing alone
    "Oca|Şub|Mar|Nis|May|Haz|Tem|Ağu|Eyl|Eki|Kas|Ara",  # Turkish
    "ינו|פבר|מרץ|אפר|מאי|יונ|יול|אוג|ספט|אוק|נוב|דצמ",  # Hebrew
    "ينا|فبر|مار|أبر|ماي|يون|يول|أغس|سبت|أكت|نوف|ديس",  # Arabic
    "يناير|فبراير|مارس|أبريل|مايو|يونيو|يوليو|أغسطس|سبتمبر|أكتوبر|نوفمبر|ديسمبر",  # Arabic, Saudi Arabia
    "ژانویه|فوریه|مارس|آوریل|مه|ژوئن|ژوئیه|اوت|سپتامبر|اكتبر|نوامبر|دسامبر",  # Persian
    "जन॰|फ़र॰|मार्च|अप्रैल|मई|जून|जुल॰|अग॰|सित॰|अक्तू॰|नव॰|दिस॰",  # Hindi
    "ม.ค.|ก.พ.|มี.ค.|เม.ย.|พ.ค.|มิ.ย.|ก.ค.|ส.ค.|ก.ย.|ต.ค.|พ.ย.|ธ.ค.",  # Thai
    "Thg 1|Thg 2|Thg 3|Thg 4|Thg 5|Thg 6|Thg 7|Thg 8|Thg 9|Thg 10|Thg 11|Thg 12",  # Vietnamese
    "Jan|Feb|Mar|Apr|Mei|Jun|Jul|Agu|Sep|Okt|Nov|Des",  # Indonesian
    "Jan|Feb|Mac|Apr|Mei|Jun|Jul|Ogos|Sep|Okt|Nov|Dis",  # Malay
    "1月|2月|3月|4月|5月|6月|7月|8月|9月|10月|11月|12月",  # Japanese, Chinese
    "1월|2월|3월|4월|5월|6월|7월|8월|9월|10월|11월|12월",  # Korean
    "de gen.|de febr.|de març|d’abr.|de maig|de juny|de jul.|d’ag.|de set.|d’oct.|de nov.|de des.",  # Catalan
    "gen.|febr.|març|abr.|maig|juny|jul.|ag.|set.|oct.|nov.|des.",  # Catalan, standing alone
    "urt|ots|mar|api|mai|eka|uzt|abu|ira|urr|aza|abe",  # Basque
    "Xan|Feb|Mar|Abr|Mai|Xuñ|Xul|Ago|Set|Out|Nov|Dec",  # Galician
    "јан|фев|мар|апр|мај|јун|јул|авг|сеп|окт|ное|дек",  # Macedonian
    "Jan|Shk|Mar|Pri|Maj|Qer|Kor|Gsh|Sht|Tet|Nën|Dhj",  # Albanian
    "იან|თებ|მარ|აპრ|მაი|ივნ|ივლ|აგვ|სექ|ოქტ|ნოე|დეკ",  # Georgian
    "Հնվ|Փտր|Մար|Ապր|Մայ|Հնս|Հլս|Օգս|Սեպ|Հոկ|Նմբ|Դեկ",  # Armenian
    "Yan|Fev|Mar|Apr|May|İyn|İyl|Avq|Sen|Okt|Noy|Dek",  # Azerbaijani
    "Қаң|Ақп|Нау|Сәу|Мам|Мау|Шіл|Там|Қыр|Қаз|Қар|Жел",  # Kazakh
    "Yan|Fev|Mar|Apr|May|Iyn|Iyl|Avg|Sen|Okt|Noy|Dek",  # Uzbek
)
"""The twelve months as glibc abbreviates them, a language a line."""

NUMBERED: Final = re.compile(r"(?P<number>\d{1,2})[\u6708\uc6d4]$")
"""A month by its number: Japanese and Chinese, and Korean."""
_STAMP: Final = re.compile(
    r"(?P<words>\S.{0,38}?) +(?P<day>\d{1,2}) +(?P<clock>\d{1,2}:\d\d:\d\d)(?:[.,]\d{1,9})? +(?P<year>\d{4})$"
)
_ISO: Final = re.compile(r"(?P<date>\d{4}-\d\d-\d\d)[T ](?P<clock>\d\d:\d\d:\d\d)(?:[.,]\d{1,9})?$")
_ENGLISH: Final = re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} ")
REMEMBERED: Final = 4096
"""So many stamps are remembered: a storm repeats the same few."""


def _key(word: str) -> str:
    return unicodedata.normalize("NFC", word).casefold().rstrip(".\u0970")


def _months(languages: Iterable[str]) -> dict[str, int | None]:
    """The month of each abbreviation; None where languages differ."""
    known: dict[str, int | None] = {}
    for language in languages:
        for month, word in enumerate(language.split("|"), start=1):
            key = _key(word)
            known[key] = month if known.get(key, month) == month else None
    return known


_MONTHS: Final = _months(ABBREVIATIONS)


def _month(words: str) -> int | None:
    """The month that the words before the day end with: a weekday may stand before it."""
    parts = words.split()
    for first in range(len(parts)):
        word = " ".join(parts[first:])
        if (numbered := NUMBERED.match(word)) is not None:
            return int(numbered["number"])
        if (key := _key(word)) in _MONTHS:
            return _MONTHS[key]
    return None


@lru_cache(maxsize=REMEMBERED)
def civil_time(stamp: str) -> datetime | None:
    """The date and clock of a stamp, without a zone, to the second; None if it has no year or its month is not known.

    A stamp that names its zone is an absolute time (``lines``), and None here.
    """
    if (iso := _ISO.match(stamp)) is not None:
        return _read(f"{iso['date']} {iso['clock']}")
    match = _STAMP.match(stamp)
    month = _month(match["words"]) if match is not None else None
    if match is None or month is None:
        return None
    return _read(f"{match['year']}-{month:02}-{int(match['day']):02} {match['clock']}")


def _read(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return None


def is_foreign(stamp: str) -> bool:
    """Whether a stamp has the form of ``dmesg -T`` in the words of a locale other than English."""
    return _STAMP.match(stamp) is not None and _ENGLISH.match(stamp) is None
