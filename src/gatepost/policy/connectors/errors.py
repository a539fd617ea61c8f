"""Error messages about a document for its author: where, what, why, and what to do.

`policy.connectors.reader` and `settings.section` turn findings into these; rules across fields add their own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic_core import ErrorDetails

    from gatepost.policy.connectors.names import Claim


MOST_ERRORS: Final = 100
"""Errors of one document that are listed: a long list may have tens of thousands, and they would take megabytes."""
_OF_A_LIST: Final = 19  # with how many there are besides, as many as a page shows of a field
_SUMMARIES: Final = MOST_ERRORS // _OF_A_LIST + 1  # sentences that say how many there are besides, at most
_PLACE: Final = re.compile(r"\[\d+\]$")

ORGANIZATION_NAME: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
SUBADDRESS_SEPARATOR: Final = r"^[-+=_#~]?$"

_TYPES = {  # by the kind of finding, or by the pattern
    "bool_type": "{value} must be true or false, without quotes",
    "int_type": "{value} must be a whole number, without quotes",
    "string_type": "{value} must be a text in quotes",
    "string_unicode": "{value} must be a text in UTF-8",
    "tuple_type": "{value} must be a list in brackets, even for one value",
    "model_type": "{value} must be a table of keys and values",
    "model_attributes_type": "{value} must be a table of keys and values",
    "enum": "{value} is not possible here; choose one of {expected}",
    "string_pattern_mismatch": "{value} has the wrong form; it must match {pattern}",
    ORGANIZATION_NAME: "{value} has the wrong form; write 1 to 63 lower-case letters, digits and inner hyphens",
    SUBADDRESS_SEPARATOR: "{value} has the wrong form; write one of + - = _ # ~, or nothing",
    "string_too_short": "{value} must have at least {size}",
    "string_too_long": "{value} must have at most {size}",
    "too_short": "{value} needs at least {size}",
    "too_long": "{value} may have at most {size}",
}


# A value that a sentence repeats, of which the beginning says which it is: nobody reads a pasted file in a message.
_QUOTED = re.compile(r"""(?<!\S)(['"])((?:(?!\1).){80})(?:(?!\1).){20,}\1(?!\w)""", re.DOTALL)


class FieldError(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    path: the field, such as "organization.contoso.outbound_connector[0] 'bank-out'.tls_domain". message: what, why, and
    what to do.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class Draft[M](msgspec.Struct, frozen=True):
    """A table that was read. bad: the keys with an error of their own, for which `value` holds the default."""

    path: str
    value: M
    bad: frozenset[str] = frozenset()

    def error(self, key: str, message: str) -> FieldError:
        """Build the error for one key of the table."""
        return FieldError(f"{self.path}.{key}" if self.path else key, message)


class ResourceErrors(Exception):  # noqa: N818 - it is several errors, and says so
    """A document of resources is refused; `errors` holds everything that is wrong with it, never only the first.

    claims: its accepted domains as far as they could be read, so that overlaps are told beside other errors.
    """

    def __init__(self, errors: Sequence[FieldError], claims: Sequence[Claim] = ()) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = tuple(errors)
        self.claims = tuple(claims)


def first_errors(errors: Iterable[FieldError]) -> tuple[FieldError, ...]:
    """Errors as they are listed. Of more than about a hundred some of each list, and how many there are besides."""
    every = tuple(errors)
    if len(every) <= MOST_ERRORS + _SUMMARIES:  # also what was cut before, such as by the gateway of a remote command
        return every
    listed: list[FieldError] = []
    counts: dict[str, int] = {}
    left: dict[str, int] = {}
    for error in every:
        field = _PLACE.sub("", error.path)
        counted = counts if len(listed) < MOST_ERRORS and counts.get(field, 0) < _OF_A_LIST else left
        counted[field] = counted.get(field, 0) + 1
        if counted is counts:
            listed.append(error)
    long = [field for field in left if counts.get(field) == _OF_A_LIST]
    listed += [FieldError(field, f"has more errors, which are not listed here: {left.pop(field):,}") for field in long]
    if left:
        rest = f"errors of this and other fields, which are not listed here: {sum(left.values()):,}"
        listed.append(FieldError(next(iter(left)), rest))
    return tuple(listed)


def dotted(path: str, location: Iterable[int | str]) -> str:
    """A path with pydantic's location behind it: ("smart_hosts", 1) is ".smart_hosts[1]"."""
    for step in location:
        path = f"{path}[{step}]" if isinstance(step, int) else f"{path}.{step}" if path else step
    return path


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Explain that a key is unknown, with the nearest known key."""
    import difflib  # noqa: PLC0415 - for mistakes alone

    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(names) or 'none'}"
    return f"unknown key, it would have no effect; {hint}"


def misplaced_key(places: Iterable[str]) -> str:
    """Explain that a key stands in the wrong table. places: the headings under which it may stand."""
    return f"unknown key, it would have no effect; write it under {', '.join(places)}"


def explain(error: ErrorDetails, known: Iterable[str] = ()) -> str:
    """One finding in our words: pydantic's, or in its form. known: the keys that may stand beside an unknown one."""
    kind = error["type"]
    value = error.get("input")
    context = error.get("ctx", {})
    if kind == "extra_forbidden":
        return unknown_key(str(error["loc"][-1]), known)
    if kind == "value_error":
        return _QUOTED.sub(r"\1\2...\1", str(context["error"]))
    if kind == "missing":
        return "is required: it has no default"
    if isinstance(value, str) and kind in {"too_short", "too_long"}:
        kind = f"string_{kind}"
    if kind not in _TYPES:
        return f"{_short(value)} {error['msg']}"
    if context.get("pattern") in _TYPES:
        kind = context["pattern"]
    if expected := context.get("expected"):  # "'a', 'b' or 'c'", of pydantic's own
        context = {**context, "expected": expected.replace(" or ", ", ")}
    return _TYPES[kind].format(value=_short(value), **{"size": _size(kind, context), **context})


def _size(kind: str, context: Mapping[str, Any]) -> str:
    """The length that is the least or the most; "" of what has none."""
    bound = context.get("min_length" if kind.endswith("short") else "max_length")
    if bound is None:
        return ""
    return quantity(bound, "character") if kind.startswith("string") else quantity(bound, "entry", "entries")


def _short(given: object) -> str:
    text = repr(given)
    return text if len(text) <= 80 else text[:77] + "..."
