"""ClinVar's vocabulary: significance, review status, origin and escapes, one text at a time.

These functions see each distinct text once, never each row. Sources: the headers of NCBI's VCF
files; https://www.ncbi.nlm.nih.gov/clinvar/docs/clinsig/ and .../docs/ftp_primer/ for the words.
"""

from __future__ import annotations

import re
from typing import NamedTuple

CODES = {
    "0": "Uncertain significance",
    "1": "not provided",
    "2": "Benign",
    "3": "Likely benign",
    "4": "Likely pathogenic",
    "5": "Pathogenic",
    "6": "drug response",
    "7": "histocompatibility",
    "255": "other",
}
ORIGIN_BITS = {
    1: "germline",
    2: "somatic",
    4: "inherited",
    8: "paternal",
    16: "maternal",
    32: "de novo",
    64: "biparental",
    128: "uniparental",
    256: "not tested",
    512: "tested inconclusive",
    1 << 30: "other",
}
RANK_CONFLICT = 3
RANK_OTHER = 9

_RANKS = {
    "pathogenic": 0,
    "pathogenic/likely pathogenic": 1,
    "likely pathogenic": 2,
    "established risk allele": 4,
    "likely risk allele": 4,
    "uncertain risk allele": 4,
    "risk factor": 4,
    "association": 5,
    "affects": 5,
    "confers sensitivity": 5,
    "drug response": 5,
    "histocompatibility": 5,
    "protective": 5,
    "uncertain significance": 6,
    "likely benign": 7,
    "benign/likely benign": 7,
    "benign": 8,
}
_PATHOGENIC = ("pathogenic", "likely pathogenic")
_ESCAPE = re.compile(r"\\x([0-9A-Fa-f]{2})|%([0-9A-Fa-f]{2})")
_LOW_PENETRANCE = ", low penetrance"
_BETWEEN_WORDS = re.compile(rf"[|;]|,(?!{_LOW_PENETRANCE[1:]})")
_REVIEWED = re.compile(r"\s*\(Last (reviewed|evaluated):[^)]*\)")


class Significance(NamedTuple):
    """What an allele's assertions come to; `is_pathogenic` None where a conflict does not say."""

    text: str
    rank: int
    is_pathogenic: bool | None


def unescape(text: str) -> str:
    r"""`text` with `\x2c` (dbSNP's) and `%2C` (VCF v4.3, section 1.0.2) as characters.

    Neighbouring escapes above 7F that form UTF-8 are one character; control characters stay
    escaped.
    """
    parts = re.split(r"((?:\\x[0-9A-Fa-f]{2}|%[0-9A-Fa-f]{2})+)", text)
    return "".join(_characters(part) if n % 2 else part for n, part in enumerate(parts))


def _characters(escapes: str) -> str:
    data = bytes(int(a or b, 16) for a, b in _ESCAPE.findall(escapes))
    if any(byte < 0x20 or byte == 0x7F for byte in data):
        return escapes
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def spaced(text: str) -> str:
    """`text` unescaped and with spaces for the underscores that a VCF writes instead."""
    return unescape(text.replace("_", " ")).strip()


def codes(text: str) -> Significance:
    """The significance of an allele before 2017: integer codes of `CODES` joined with bars."""
    return of_words([CODES[code] for code in text.split("|") if code not in (".", "")])


def words(text: str) -> Significance:
    """The significance in words, with spaces or underscores, joined with `|`, `;` or `,`."""
    text = _REVIEWED.sub("", spaced(text))
    return of_words([word.strip() for word in _BETWEEN_WORDS.split(text)])


def of_words(given: list[str]) -> Significance:
    """The distinct words in the order of their rank, then as written in the alphabet."""
    distinct = sorted({word for word in given if word not in ("", "-", ".")}, key=_order)
    if not distinct:
        return Significance("", RANK_OTHER, is_pathogenic=False)
    ranks = [_rank(word) for word in distinct]
    pathogenic: bool | None = any(_is_pathogenic(word) for word in distinct)
    if not pathogenic and RANK_CONFLICT in ranks:
        pathogenic = None
    return Significance("|".join(distinct), ranks[0], pathogenic)


def _order(word: str) -> tuple[int, str]:
    return _rank(word), word


def _rank(word: str) -> int:
    plain = word.lower()
    if plain.startswith("conflicting"):
        return RANK_CONFLICT
    if plain in _RANKS:
        return _RANKS[plain]
    # Words that NCBI joins with slashes, some with low penetrance: the gravest part counts.
    parts = [part.removesuffix(_LOW_PENETRANCE) for part in plain.split("/")]
    return min(_RANKS.get(part, RANK_OTHER) for part in parts)


def _is_pathogenic(word: str) -> bool:
    parts = word.lower().split("/")
    return any(part.removesuffix(_LOW_PENETRANCE) in _PATHOGENIC for part in parts)


def conflict_is_pathogenic(text: str) -> bool:
    """Whether CLNSIGCONF, words with numbers of submissions, has a pathogenic one."""
    plain = spaced(text).lower()
    return any(
        _is_pathogenic(re.sub(r"\([0-9]+\)$", "", word.strip()))
        for word in re.split(r"[|;]", plain)
    )


def origin(text: str) -> str:
    """Words for sums of origin bits, which may be joined with bars; "" where unknown."""
    names: list[str] = []
    for number in text.split("|"):
        if number.isdigit():
            names += [name for bit, name in ORIGIN_BITS.items() if int(number) & bit]
    return distinct("|".join(names))


def distinct(text: str) -> str:
    """The parts between bars, each once, in order, without `.` and empty ones."""
    return "|".join(dict.fromkeys(p for p in text.split("|") if p not in ("", ".")))


def genes(text: str) -> str:
    """Symbols of GENEINFO: `AGRN:375790|X:1` -> `AGRN|X`."""
    return distinct("|".join(part.split(":")[0] for part in text.split("|")))


def consequences(text: str) -> str:
    """Terms of MC: `SO:0001583|missense_variant,SO:...|...` -> terms joined with bars."""
    return distinct("|".join(part.rpartition("|")[2] for part in text.split(",")))


def condition_ids(databases: str, ids: str) -> str:
    """Pairs of CLNDSDB and CLNDSDBID: `MedGen:OMIM` and `C1:2` -> `MedGen:C1,OMIM:2`.

    Where the two do not run alike the identifiers stand alone.
    """
    conditions = []
    names, numbers = databases.split("|"), ids.split("|")
    for name, number in zip(names, numbers, strict=False):
        keys, values = name.split(":"), number.split(":")
        same = len(keys) == len(values)
        pairs = [f"{k}:{v}" for k, v in zip(keys, values, strict=False)] if same else [number]
        conditions.append(",".join(pair for pair in pairs if pair not in (".", ".:.")))
    return distinct("|".join(conditions))
