"""Parameters in the text of a query: `:name` as DuckDB's `$name`, and values in their place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from lakeq.errors import UnknownName, UsageError


def check_parameters(named: Sequence[str], given: Mapping[str, object]) -> None:
    """Raise unless each parameter that the query names has a value, and no other has."""
    if any(name.isdigit() for name in named):
        hint = "name them: $name, with -p name=value or params={'name': value}"
        raise UsageError("parameters must have names", "the query", hint)
    for name in given:
        if name not in named:
            raise UnknownName.among("parameter", name, named, "the query")
    missing = [name for name in named if name not in given]
    if missing:
        hint = f"-p {missing[0]}=VALUE, or params={{{missing[0]!r}: value}}"
        raise UsageError(f"no value for the parameter {missing[0]}", "the query", hint)


# What cannot hold a parameter: strings, quoted names, dollar quotes, comments, casts.
_OPAQUE = (
    r"[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$"
    r"|--[^\n]*|/\*.*?\*/|::"
)
_TOKEN = re.compile(
    rf"(?P<opaque>{_OPAQUE})|(?P<word>\w+)|:(?P<name>[A-Za-z_]\w*)|(?P<other>\S)", re.DOTALL
)
_OPENS = {"(": ")", "[": "]", "{": "}"}


def with_dollars(sql: str, names: Mapping[str, object]) -> str:
    """`sql` with `:name` written as DuckDB's `$name`, for the given names only.

    Left alone: text in strings, quoted names and comments, casts (`x::int`), slices (`x[1:n]`)
    and keys of structs (`{'a':n}`); there a parameter is written `$name`.
    """
    pieces: list[str] = []
    inside: list[str] = []
    last, end = "", 0
    for token in _TOKEN.finditer(sql):
        pieces.append(sql[end : token.start()])
        text, end = token[0], token.end()
        name = token["name"]
        if name in names and _starts_value(sql, token.start(), last, inside):
            text = f"${name}"
        elif token["other"]:
            _nest(inside, text, last)
        pieces.append(text)
        last = text
    return "".join([*pieces, sql[end:]])


def with_values(sql: str, literals: Mapping[str, str]) -> str:
    """`sql` with the text of `literals` for `$name`, outside of strings, names and comments."""
    pieces: list[str] = []
    end = 0
    dollar = -1
    for token in _TOKEN.finditer(sql):
        if token["word"] in literals and token.start() == dollar + 1 and dollar >= 0:
            pieces[-1] = pieces[-1][:-1]
            pieces += [sql[end : token.start()], f"({literals[token['word']]})"]
        else:
            pieces.append(sql[end : token.end()])
        end = token.end()
        dollar = token.start() if token["other"] == "$" else -1
    return "".join([*pieces, sql[end:]])


def mentioned(sql: str, given: Mapping[str, object]) -> dict[str, object]:
    """Those of the parameters that the text names."""
    text = with_dollars(sql, given)
    return {k: v for k, v in given.items() if with_values(text, {k: "NULL"}) != text}


def statements(sql: str) -> list[str]:
    """The statements of a script, without the semicolons between them; empty ones are left out.

    A semicolon in a string, a quoted name or a comment parts nothing.
    """
    found: list[str] = []
    start, says_something = 0, False
    for token in _TOKEN.finditer(f"{sql};"):
        if token["other"] == ";":
            if says_something:
                found.append(sql[start : token.start()].strip())
            start, says_something = token.end(), False
        elif not token[0].startswith(("--", "/*")):
            says_something = True
    return found


def _starts_value(sql: str, start: int, last: str, inside: Sequence[str]) -> bool:
    """Whether a colon at `start` can begin a parameter and does not belong to what is before it."""
    attached = start > 0 and (sql[start - 1].isalnum() or sql[start - 1] in "_'\"$)]}:")
    in_slice = bool(inside) and inside[-1] == "slice"
    after_key = bool(inside) and inside[-1] == "}" and _is_operand(last)
    return not (attached or in_slice or after_key)


def _nest(inside: list[str], text: str, last: str) -> None:
    if text in _OPENS:
        subscript = text == "[" and _is_operand(last)
        inside.append("slice" if subscript else _OPENS[text])
    elif text in _OPENS.values() and inside:
        inside.pop()


def _is_operand(token: str) -> bool:
    """Whether a value ends with `token`: a name, a number, a string or a closing bracket."""
    return token[-1:].isalnum() or token[-1:] in tuple("_'\")]}")
