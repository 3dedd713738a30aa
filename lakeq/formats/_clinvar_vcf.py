"""ClinVar as VCF: NCBI's layout before 2017, that since 2017, and BRCA Exchange's.

Before 2017 the INFO fields CLNSIG, CLNDBN, CLNACC and others hold one entry per allele, joined
with commas; within an entry bars join what several accessions say; CLNALLE says which allele each
entry is about: n the n-th alternate allele, 0 the reference allele, -1 none of the record's.
Since 2017 a record has one allele and words. Source: the headers of NCBI's files, which are at
https://ftp.ncbi.nlm.nih.gov/pub/clinvar/.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lakeq import contigs
from lakeq.errors import BadSource
from lakeq.formats import _clinvar_columns as columns
from lakeq.formats import _clinvar_words as vocabulary
from lakeq.formats._info_fields import InfoFields
from lakeq.formats._text_blocks import Block, split_tabs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import pyarrow as pa

    from lakeq.formats._clinvar_columns import Columns

FIXED = ("CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")

# Keys of INFO that fill a column, by layout.
USED = {
    "codes": (
        *("CLNALLE", "CLNSIG", "CLNDBN", "CLNDSDB", "CLNDSDBID", "CLNCUI", "CLNHGVS", "CLNACC"),
        *("CLNORIGIN", "CLNREVSTAT", "GENEINFO", "RS", "VC"),
    ),
    "words": (
        *("CLNSIG", "CLNSIGCONF", "CLNREVSTAT", "CLNDN", "CLNDISDB", "CLNVC", "CLNHGVS"),
        *("ALLELEID", "GENEINFO", "MC", "ORIGIN", "RS"),
    ),
    "brca": (
        *("ClinicalSignificance", "ReviewStatus", "ConditionValue", "ConditionDB_ID"),
        *("HGVS", "Origin", "SCV", "Symbol"),
    ),
}
_CODES = r"^(([0-7]|255|\.)([|,]|$))+$"
_REVIEW_CODES = {
    "no_assertion": "no assertion provided",
    "no_criteria": "no assertion criteria provided",
    "single": "criteria provided, single submitter",
    "mult": "criteria provided, multiple submitters, no conflicts",
    "conf": "criteria provided, conflicting interpretations",
    "exp": "reviewed by expert panel",
    "guideline": "practice guideline",
}


@dataclass(frozen=True, slots=True)
class Header:
    """What the lines before the records say."""

    assembly: str  # "" when they prove none
    info: tuple[str, ...]  # keys of INFO, in order
    names: tuple[str, ...]  # columns
    spaced: bool  # the line of column names is parted by spaces, against the specification
    size: int  # bytes
    lines: int

    @property
    def layout(self) -> str:
        """Which of the three layouts: `codes`, `words` or `brca`; "" for none of them."""
        if "CLNALLE" in self.info:
            return "codes"
        if "CLNSIG" in self.info:
            return "words"
        return "brca" if "ClinicalSignificance" in self.info else ""


def header(block: Block) -> Header:
    """The header of the file whose first block this is; raises `BadSource` where there is none."""
    found = re.search(rb"^#CHROM[^\n]*(\n|$)", block.data, re.MULTILINE)
    if found is None:
        raise BadSource("the VCF has no #CHROM line", f"{block.uri}, line 1", "is it cut short?")
    text = block.data[: found.end()].decode("utf-8", "replace")
    lines = text.splitlines()
    spaced = "\t" not in lines[-1]
    names = tuple(lines[-1].lstrip("#").split(None if spaced else "\t"))
    if names[:8] != FIXED:
        where = f"{block.uri}, line {len(lines)}"
        raise BadSource(
            f"the columns are {' '.join(names)[:200]!r}, not {' '.join(FIXED)!r}", where
        )
    return Header(_assembly(lines), _info_keys(lines), names, spaced, found.end(), len(lines))


def _assembly(lines: list[str]) -> str:
    lengths = {}
    for line in lines:
        match = re.match(r"##contig=<.*?\bID=([^,>]+)", line)
        length = re.search(r"[,<]length=([0-9]{1,12})", line)
        if match and length:
            lengths[match.group(1)] = int(length.group(1))
    reference = " ".join(line for line in lines if line.startswith("##reference="))
    return contigs.assembly_of(lengths, reference)


def _info_keys(lines: list[str]) -> tuple[str, ...]:
    found = (re.match(r"##INFO=<.*?\bID=([^,>]+)", line) for line in lines)
    return tuple(dict.fromkeys(match.group(1) for match in found if match))


def read_block(
    block: Block, head: Header, assembly: str, done: int, notes: dict[str, int]
) -> tuple[Columns, int]:
    """The alleles of a block of records, in file order, and the number of records.

    A record without ALT gives one row. `done` records came before this block.
    """
    import pyarrow as pa

    table, foreign = split_tabs(block, head.names, ("CHROM", "POS", "ID", "REF", "ALT", "INFO"))
    if foreign:
        note(notes, "lines that are not UTF-8, read as Latin-1", foreign)
    records = {name: columns.flat(table[name]) for name in table.column_names}
    alleles = _Alleles(records, block, notes)
    rows = alleles.site(assembly) | {"source_record": pa.array(alleles.record + done + 1)}
    info = InfoFields(records["INFO"])
    if head.layout == "codes":
        rows |= alleles.each_record(_shared(info)) | _codes(alleles, info)
    else:
        build = _words if head.layout == "words" else _brca
        rows |= alleles.each_record(build(info, records["ID"]))
    return rows, table.num_rows


def note(notes: dict[str, int], kind: str, count: int) -> None:
    """Add `count` to what `notes` has of this kind."""
    if count:
        notes[kind] = notes.get(kind, 0) + count


@dataclass(slots=True)
class _Alleles:
    """The alternate alleles of the records of a block, one row each."""

    records: Mapping[str, pa.Array]
    block: Block
    notes: dict[str, int]
    record: np.ndarray = field(init=False)  # of each row: its record
    number: np.ndarray = field(init=False)  # of each row: the place in ALT, from 1
    alt: pa.Array = field(init=False)

    def __post_init__(self) -> None:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        lists = pc.split_pattern(self.records["ALT"], ",")
        self.record = pc.list_parent_indices(lists).to_numpy()
        firsts = np.searchsorted(self.record, np.arange(len(lists)))
        self.number = np.arange(len(self.record)) - firsts[self.record] + 1
        self.alt = columns.known(pc.list_flatten(lists), ".")
        for name in ("REF", "ALT"):
            empty = pc.equal(self.records[name], "")
            if pc.any(empty).as_py():
                row = pc.index(empty, pa.scalar(value=True)).as_py()
                raise BadSource(f"{name} is empty", self.block.where(row))

    def site(self, assembly: str) -> Columns:
        import pyarrow.compute as pc

        pos = columns.positions(self.records["POS"], self.block, "POS")
        site = columns.contig_columns(self.records["CHROM"], assembly)
        ref = self.records["REF"]
        site |= {"pos": pos, "ref": ref, "end_pos": pc.add(pos, pc.subtract(_length(ref), 1))}
        return self.each_record(site) | {"alt": self.alt}

    def each_record(self, values: Columns) -> Columns:
        """Columns of the records as columns of the rows."""
        import pyarrow as pa

        if len(self.record) == len(self.records["POS"]):
            return values
        rows = pa.array(self.record)
        return {name: array.take(rows) for name, array in values.items()}


def _length(texts: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.cast(pc.binary_length(texts), pa.int64())


def _words(info: InfoFields, ids: pa.Array) -> Columns:
    """The layout since 2017: words, one allele per record, the Variation ID in ID."""
    import pyarrow as pa
    import pyarrow.compute as pc

    conflicts = info.get("CLNSIGCONF")
    found = columns.significance(info.get("CLNSIG"), vocabulary.words)
    told = columns.each(conflicts, vocabulary.conflict_is_pathogenic, pa.bool_())
    found["is_pathogenic"] = pc.coalesce(found["is_pathogenic"], told)
    return found | {
        "gene": columns.text_each(info.get("GENEINFO"), vocabulary.genes),
        "rs": columns.rs_numbers(info.get("RS")),
        "variation_id": columns.integers(ids),
        "allele_id": columns.integers(info.get("ALLELEID")),
        "review_status": columns.spaced(info.get("CLNREVSTAT")),
        "conditions": columns.spaced(info.get("CLNDN")),
        "condition_ids": columns.unescaped(info.get("CLNDISDB")),
        "conflicting_significance": columns.spaced(conflicts),
        "variant_type": columns.spaced(info.get("CLNVC")),
        "molecular_consequence": columns.text_each(info.get("MC"), vocabulary.consequences),
        "hgvs": columns.unescaped(info.get("CLNHGVS")),
        "origin": columns.text_each(info.get("ORIGIN"), vocabulary.origin),
    }


def _brca(info: InfoFields, ids: pa.Array) -> Columns:
    """BRCA Exchange's layout: names of its own, words with underscores, accessions SCV."""
    del ids  # always missing
    return columns.significance(info.get("ClinicalSignificance"), vocabulary.words) | {
        "gene": columns.unescaped(info.get("Symbol")),
        "review_status": columns.spaced(info.get("ReviewStatus")),
        "conditions": columns.spaced(info.get("ConditionValue")),
        "condition_ids": columns.text_each(
            info.get("ConditionDB_ID"), lambda ids: re.sub(r"(^|,)([A-Za-z]+)_", r"\1\2:", ids)
        ),
        "hgvs": columns.unescaped(info.get("HGVS")),
        "accessions": columns.unescaped(info.get("SCV")),
        "origin": columns.spaced(info.get("Origin")),
    }


def _shared(info: InfoFields) -> Columns:
    """What the layout before 2017 says of a record and not of an allele."""
    return {
        "gene": columns.text_each(info.get("GENEINFO"), vocabulary.genes),
        "variant_type": info.get("VC"),
    }


def _codes(alleles: _Alleles, info: InfoFields) -> Columns:
    """What the layout before 2017 says of each allele."""
    import pyarrow.compute as pc

    entries = _Entries(alleles, info)
    rs = pc.coalesce(columns.rs_numbers(info.get("RS")), columns.rs_numbers(alleles.records["ID"]))
    found = columns.significance(entries.of_alleles("CLNSIG"), vocabulary.codes)
    identifiers = entries.pairs("CLNDSDB", "CLNDSDBID", vocabulary.condition_ids)
    other = entries.elsewhere("CLNSIG")
    return (
        alleles.each_record({"rs": rs})
        | found
        | {
            "review_status": columns.text_each(entries.of_alleles("CLNREVSTAT"), _review),
            "conditions": columns.spaced(entries.of_alleles("CLNDBN")),
            "condition_ids": pc.coalesce(identifiers, _plain(entries.of_alleles("CLNCUI"))),
            "hgvs": columns.unescaped(_plain(entries.of_alleles("CLNHGVS"))),
            "accessions": _plain(entries.of_alleles("CLNACC")),
            "origin": columns.text_each(entries.of_alleles("CLNORIGIN"), vocabulary.origin),
            "unplaced_significance": columns.text_each(other, _code_words),
            "unplaced_hgvs": columns.unescaped(_plain(entries.elsewhere("CLNHGVS"))),
        }
    )


def _plain(texts: pa.Array) -> pa.Array:
    return columns.text_each(texts, vocabulary.distinct)


def _code_words(text: str) -> str:
    return vocabulary.codes(text).text


def _review(text: str) -> str:
    known = (_REVIEW_CODES.get(code, vocabulary.spaced(code)) for code in text.split("|"))
    return vocabulary.distinct("|".join(known))


class _Entries:
    """The entries of CLNALLE of all records of a block, and what each field says in them."""

    def __init__(self, alleles: _Alleles, info: InfoFields) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        self.alleles, self.info = alleles, info
        self._check_codes()
        lists = pc.split_pattern(pc.fill_null(info.get("CLNALLE"), "-1"), ",")
        self.counts = pc.list_value_length(lists).to_numpy()
        self.record = pc.list_parent_indices(lists).to_numpy()
        texts = pc.list_flatten(lists)
        good = pc.match_substring_regex(texts, "^(-1|[0-9]{1,6})$")
        if not pc.all(good).as_py():
            place = pc.index(good, pa.scalar(value=False)).as_py()
            self._refuse(f"CLNALLE {texts[place].as_py()!r} is not an allele", place)
        self.allele = pc.cast(texts, pa.int64()).to_numpy()
        self._check_alleles()
        self._group()

    def _refuse(self, what: str, entry: int) -> None:
        raise BadSource(what, self.alleles.block.where(int(self.record[entry])))

    def _check_codes(self) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = self.info.get("CLNSIG")
        good = pc.fill_null(pc.match_substring_regex(texts, _CODES), True)
        if not pc.all(good).as_py():
            row = pc.index(good, pa.scalar(value=False)).as_py()
            what = f"CLNSIG {texts[row].as_py()!r} has a code that does not exist"
            hint = f"codes are {', '.join(vocabulary.CODES)}"
            raise BadSource(what, self.alleles.block.where(row), hint)

    def _check_alleles(self) -> None:
        import numpy as np

        last = np.zeros(len(self.counts), np.int64)
        last[self.alleles.record] = self.alleles.number  # ascending: the last one stays
        beyond = np.flatnonzero(self.allele > last[self.record])
        if len(beyond):
            number = self.allele[beyond[0]]
            self._refuse(f"CLNALLE {number}, but ALT has fewer alleles", int(beyond[0]))

    def _group(self) -> None:
        """Order entries by (record, allele), and find each row's group."""
        import numpy as np

        width = int(max(self.allele.max(initial=0), self.alleles.number.max(initial=0))) + 1
        keys = self.record * width + self.allele
        rows = self.alleles.record * width + self.alleles.number
        placed = np.flatnonzero(self.allele > 0)
        self.by_allele = _Groups(placed, keys[placed], rows)
        elsewhere = np.flatnonzero(self.allele <= 0)
        self.by_record = _Groups(elsewhere, self.record[elsewhere], self.alleles.record)
        told = self.info.get("CLNALLE").is_valid().to_numpy(zero_copy_only=False)
        unplaced = int(told[self.record[elsewhere]].sum())
        note(self.alleles.notes, "assertions on the reference allele or on none", unplaced)

    def of_alleles(self, key: str) -> pa.Array:
        """For each row, what `key` says of its allele; several entries joined with bars."""
        return self.by_allele.joined(self._values(key))

    def elsewhere(self, key: str) -> pa.Array:
        """For each row, what `key` says of the reference or no allele of its record."""
        return self.by_record.joined(self._values(key))

    def pairs(self, first: str, second: str, function: Callable[[str, str], str]) -> pa.Array:
        """`function` of what two keys say of each row's allele."""
        import pyarrow.compute as pc

        both = pc.binary_join_element_wise(self.of_alleles(first), self.of_alleles(second), "\0")
        return columns.text_each(both, lambda text: function(*text.split("\0")))

    def _values(self, key: str) -> pa.Array:
        """What `key` says in each entry; NULL where the record lacks it."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = self.info.get(key)
        lists = pc.split_pattern(pc.fill_null(texts, "."), ",")
        uneven = np.flatnonzero(pc.list_value_length(lists).to_numpy() != self.counts)
        if len(uneven):
            fixed = texts.to_pylist()
            self._even_out(key, fixed, uneven)
            lists = pc.split_pattern(pa.array(fixed, pa.string()), ",")
        return columns.known(pc.list_flatten(lists), ".")

    def _even_out(self, key: str, texts: list[str | None], uneven: np.ndarray) -> None:
        """Give every entry of an uneven record all that its field says.

        A significance that cannot be told apart is bad input.
        """
        for record in uneven:
            text, count = texts[record], int(self.counts[record])
            if text is not None:
                if key == "CLNSIG":
                    what = f"CLNSIG {text!r} has not one entry for each of the {count} of CLNALLE"
                    raise BadSource(what, self.alleles.block.where(int(record)))
                note(self.alleles.notes, f"{key} without one entry for each of CLNALLE", 1)
            texts[record] = ",".join([(text or ".").replace(",", "|")] * count)
        for record, text in enumerate(texts):
            if text is None:
                texts[record] = "."


class _Groups:
    """Entries with equal keys, and for each row the group of its key."""

    def __init__(self, entries: np.ndarray, keys: np.ndarray, rows: np.ndarray) -> None:
        import numpy as np
        import pyarrow as pa

        order = np.argsort(keys, kind="stable")
        self.entries = pa.array(entries[order])
        groups, firsts = np.unique(keys[order], return_index=True)
        self.offsets = pa.array(np.append(firsts, len(keys)), pa.int32())
        if len(groups):
            place = np.minimum(np.searchsorted(groups, rows), len(groups) - 1)
            self.of_row = pa.array(place, mask=groups[place] != rows)
        else:
            self.of_row = pa.nulls(len(rows), pa.int64())

    def joined(self, values: pa.Array) -> pa.Array:
        """For each row the values of its group's entries, joined with bars; NULL without any."""
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = pc.fill_null(values.take(self.entries), ".")
        lists = pa.ListArray.from_arrays(self.offsets, texts)
        return columns.known(pc.binary_join(lists, "|").take(self.of_row), ".")
