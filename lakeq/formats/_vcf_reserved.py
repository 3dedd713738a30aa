"""What the specification itself says of INFO and FORMAT keys, by version.

Source: VCF 4.1 (section 1.4.1 and 1.4.2), 4.3 and 4.4 (tables 1 and 2, section 3): the Number and
Type of each reserved key. Keys whose definition the versions disagree on are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

Definition = tuple[str, str]  # Number, Type

_INFO: Mapping[str, Definition] = {
    "AA": ("1", "String"),
    "AC": ("A", "Integer"),
    "AF": ("A", "Float"),
    "AN": ("1", "Integer"),
    "BQ": ("1", "Float"),
    "CIGAR": ("A", "String"),
    "DB": ("0", "Flag"),
    "DP": ("1", "Integer"),
    "END": ("1", "Integer"),
    "H2": ("0", "Flag"),
    "H3": ("0", "Flag"),
    "MQ": ("1", "Float"),
    "MQ0": ("1", "Integer"),
    "NS": ("1", "Integer"),
    "SOMATIC": ("0", "Flag"),
    "VALIDATED": ("0", "Flag"),
    "1000G": ("0", "Flag"),
}
_INFO_43: Mapping[str, Definition] = {
    "AD": ("R", "Integer"),
    "ADF": ("R", "Integer"),
    "ADR": ("R", "Integer"),
}
_FORMAT: Mapping[str, Definition] = {
    "DP": ("1", "Integer"),
    "EC": ("A", "Integer"),
    "FT": ("1", "String"),
    "GL": ("G", "Float"),
    "GP": ("G", "Float"),
    "GQ": ("1", "Integer"),
    "GT": ("1", "String"),
    "HQ": ("2", "Integer"),
    "MQ": ("1", "Integer"),
    "PL": ("G", "Integer"),
    "PQ": ("1", "Integer"),
    "PS": ("1", "Integer"),
}
_FORMAT_OLD: Mapping[str, Definition] = {"GLE": ("G", "String")}
_FORMAT_43: Mapping[str, Definition] = {
    "AD": ("R", "Integer"),
    "ADF": ("R", "Integer"),
    "ADR": ("R", "Integer"),
}
_INFO_44: Mapping[str, Definition] = {
    "SVLEN": ("A", "Integer"),
    "SVCLAIM": ("A", "String"),
    "CN": ("A", "Float"),
    "CICN": (".", "Float"),
    "RN": ("A", "Integer"),
    "RUS": (".", "String"),
    "RUL": (".", "Integer"),
    "RB": (".", "Integer"),
    "RUC": (".", "Float"),
    "RUB": (".", "Integer"),
    "CIRB": (".", "Integer"),
    "CIRUC": (".", "Float"),
}
_FORMAT_44: Mapping[str, Definition] = {
    "CN": ("1", "Float"),
    "CICN": ("2", "Float"),
    "PSL": ("P", "String"),
    "PSO": ("P", "Integer"),
    "PSQ": ("P", "Integer"),
}
NOT_NEGATIVE = frozenset({"AC", "AF", "AN", "DP", "END", "MQ0", "NS"})  # counts, INFO


def info(version: str) -> dict[str, Definition]:
    """The reserved INFO keys of a version such as 4.3."""
    found = dict(_INFO)
    if version >= "4.3":
        found |= _INFO_43
    if version >= "4.4":
        found |= _INFO_44
    return found


def format_(version: str) -> dict[str, Definition]:
    """The reserved FORMAT keys of a version such as 4.3."""
    found = dict(_FORMAT)
    if version >= "4.3":
        found |= _FORMAT_43
    else:
        found |= _FORMAT_OLD
    if version >= "4.4":
        found |= _FORMAT_44
    return found
