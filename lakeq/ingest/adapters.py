"""Messages that are no events of S3: the objects they tell of, by the catalog's templates.

    {s3_location}/{landsat_product_id}_MTL.json
    s3://sentinel-s2-l1c/{tiles.path}/metadata.xml
    {assets.MTL.href}

`{a.b}` is a field of the message, of JSON; of a list each item is taken in turn. A slash that ends
a field is not doubled. A URI may lead to any bucket: who may be read is for the allow-list to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

MAX_OBJECTS = 1000  # that one message may tell of; a datatake of Sentinel-2 has about 300 tiles
_FIELD = re.compile(r"\{([A-Za-z0-9_.:-]+)\}(/?)")


class Adapter:
    """The templates of one topic."""

    def __init__(self, templates: Sequence[str]) -> None:
        self._templates = [(text, _names(text)) for text in templates]

    def __call__(self, message: Mapping[str, Any]) -> list[str]:
        """The s3:// URIs of the objects, each once; raises `ValueError` that says what is missing.

        Fields of one list go together: of `tiles` each gives one object, not one with each other.
        """
        found: dict[str, None] = {}
        for text, names in self._templates:
            for values in _choices(message, names):
                found[_filled(text, values)] = None
                if len(found) > MAX_OBJECTS:
                    raise ValueError(f"tells of more than {MAX_OBJECTS:,} objects")
        return list(found)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found[1] for found in _FIELD.finditer(text)))


def _choices(message: Mapping[str, Any], names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Values for `names`, once for each item of the lists on their ways."""
    lists = {name: head for name in names if (head := _list_on_the_way(message, name))}
    heads = list(dict.fromkeys(lists.values()))
    spans = [range(len(_at(message, head, {}))) for head in heads]
    for numbers in product(*spans):
        at = dict(zip(heads, numbers, strict=True))
        yield {name: _value(_at(message, name, at), name) for name in names}


def _list_on_the_way(message: Mapping[str, Any], name: str) -> str:
    """The part of `a.b.c` at which there is a list, "" where there is none."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        head = ".".join(parts[:end])
        if isinstance(_at(message, head, {}), list):
            return head
    return ""


def _at(message: Mapping[str, Any], name: str, numbers: Mapping[str, int]) -> Any:
    value: Any = message
    parts = name.split(".")
    for end, part in enumerate(parts, 1):
        if not isinstance(value, dict) or part not in value:
            raise ValueError(f"has no field {'.'.join(parts[:end])!r}")
        value = value[part]
        head = ".".join(parts[:end])
        if isinstance(value, list) and head in numbers:
            value = value[numbers[head]]
    return value


def _value(value: object, name: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError(f"field {name!r} is neither text nor a whole number")
    return str(value)


def _filled(text: str, values: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        told = values[found[1]]
        return f"{told.rstrip('/')}/" if found[2] else told

    filled = _FIELD.sub(value, text)
    if not filled.startswith("s3://"):
        raise ValueError(f"tells of {filled[:60]!r}, which is not s3://")
    return filled
