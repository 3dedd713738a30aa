"""Arrow helpers of the ClinVar layouts: a function over distinct texts becomes a column.

A layout yields `Columns`: canonical column name -> Arrow array, all of one length; columns that
it cannot fill are left out. Texts repeat (there are some 100 significances and 20,000 genes among
4 million alleles), so Python sees each distinct text of a block once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lakeq import contigs
from lakeq.errors import BadSource
from lakeq.formats import _clinvar_words as vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from lakeq.formats._text_blocks import Block

Columns = dict[str, "pa.Array"]

_RS = re.compile(r"(?:rs)?([0-9]{1,18})(?:$|[|,;])")


def flat(column: pa.ChunkedArray) -> pa.Array:
    """One array of the chunks of a column."""
    import pyarrow as pa

    array = column.combine_chunks()
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array


def each(texts: pa.Array, function: Callable[[str], Any], type_: pa.DataType) -> pa.Array:
    """`function` of every text, called once for each distinct one; NULL stays NULL."""
    import pyarrow as pa

    coded = texts.dictionary_encode()
    results = [None if text is None else function(text) for text in coded.dictionary.to_pylist()]
    return pa.array(results, type_).take(coded.indices)


def text_each(texts: pa.Array, function: Callable[[str], str]) -> pa.Array:
    """As `each`, for text; an empty result is NULL."""
    import pyarrow as pa

    return each(texts, lambda text: function(text) or None, pa.string())


def known(texts: pa.Array, *unknown: str) -> pa.Array:
    """`texts` with NULL for empty ones and those in `unknown`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    missing = pc.is_in(texts, pa.array(["", *unknown]))
    return pc.if_else(missing, pa.scalar(None, pa.string()), texts)


def integers(texts: pa.Array) -> pa.Array:
    """The numbers that texts of only digits write; NULL for others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    digits = pc.fill_null(pc.match_substring_regex(texts, "^[0-9]{1,18}$"), False)
    return pc.cast(pc.if_else(digits, texts, pa.scalar(None, pa.string())), pa.int64())


def rs_numbers(texts: pa.Array) -> pa.Array:
    """The first rs number of texts such as `123`, `rs123` or `rs123;rs456`; NULL where none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = integers(texts)
    left = pc.and_(pc.is_valid(texts), pc.is_null(numbers))
    if not pc.any(left).as_py():
        return numbers
    found = [_RS.match(text) for text in texts.filter(left).to_pylist()]
    some = pa.array([int(match.group(1)) if match else None for match in found], pa.int64())
    return pc.replace_with_mask(numbers, left, some)


def spaced(texts: pa.Array) -> pa.Array:
    """Texts unescaped and with spaces for underscores; repeated parts between bars once."""
    return text_each(texts, lambda text: vocabulary.distinct(vocabulary.spaced(text)))


def unescaped(texts: pa.Array) -> pa.Array:
    """Texts with their escapes as characters; only those that have some are touched."""
    import pyarrow as pa
    import pyarrow.compute as pc

    escaped = pc.fill_null(pc.match_substring_regex(texts, r"\\x|%"), False)
    if not pc.any(escaped).as_py():
        return texts
    some = [vocabulary.unescape(text) for text in texts.filter(escaped).to_pylist()]
    return pc.replace_with_mask(texts, escaped, pa.array(some, pa.string()))


def significance(texts: pa.Array, function: Callable[[str], vocabulary.Significance]) -> Columns:
    """The three columns that say how grave an allele is; no text is no assertion."""
    import pyarrow as pa
    import pyarrow.compute as pc

    coded = pc.fill_null(texts, "").dictionary_encode()
    found = [function(text) for text in coded.dictionary.to_pylist()]
    made = {
        "clinical_significance": pa.array([s.text or None for s in found], pa.string()),
        "is_pathogenic": pa.array([s.is_pathogenic for s in found], pa.bool_()),
        "significance_rank": pa.array([s.rank for s in found], pa.int32()),
    }
    return {name: values.take(coded.indices) for name, values in made.items()}


def positions(texts: pa.Array, block: Block, field: str) -> pa.Array:
    """Positions as int64; NULL stays. Raises `BadSource` with the line of one that is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    good = pc.fill_null(pc.match_substring_regex(texts, "^[0-9]{1,10}$"), True)
    if not pc.all(good).as_py():
        row = pc.index(good, pa.scalar(value=False)).as_py()
        raise BadSource(f"{field} {texts[row].as_py()!r} is not a position", block.where(row))
    return pc.cast(texts, pa.int64())


def contig_columns(names: pa.Array, assembly: str) -> Columns:
    """Canonical contig names, and the file's spelling where it differs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = known(names)
    canonical = each(names, lambda name: contigs.canonical(name, assembly), pa.string())
    same = pc.fill_null(pc.equal(names, canonical), True)
    source = pc.if_else(same, pa.scalar(None, pa.string()), names)
    return {"contig": canonical, "source_contig": source}
