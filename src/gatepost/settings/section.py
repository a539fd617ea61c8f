"""The base of every section of the settings: its annotations say what each key takes; it is read without pydantic.

The field types are those of resources (`policy.connectors.fields`), and what is wrong is said in the same words
(`policy.connectors.errors`). Resources are read by pydantic, which takes longer to import than most commands run; every
command reads settings, few read resources.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, dataclass_transform, get_args, get_origin, get_type_hints

import msgspec

from gatepost.policy.connectors.errors import Draft, FieldError, dotted, explain, misplaced_key
from gatepost.policy.connectors.fields import Length, Parsed, Range

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    type Location = tuple[int | str, ...]


_NEEDED: Final = object()
_WRONG: Final = object()
_TYPES: Final = {bool: "bool_type", int: "int_type", str: "string_type"}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Setting:
    """One key of a section. name: of the attribute; key: what a document writes."""

    def __init__(self, default: object, description: str, alias: str | None) -> None:
        self.default = default
        self.description = description
        self.alias = alias
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def key(self) -> str:
        """The key that a document writes."""
        return self.alias or self.name

    @property
    def is_required(self) -> bool:
        """Whether a document must write it."""
        return self.default is _NEEDED


def setting(*, default: Any = _NEEDED, description: str, alias: str | None = None) -> Any:
    """Declare a key of a section. alias: what a document writes, if it is not the attribute's name."""
    return Setting(default, description, alias)


class Checked(msgspec.Struct, frozen=True):
    """A check behind the type and the checks before it; check raises ValueError with a sentence for the author."""

    check: Callable[[Any], object]


class SectionError(ValueError):
    """A section cannot be read; `errors` holds everything that is wrong with it."""

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, self.errors)))


class _Types(dict[str, Any]):
    """The types of a section's keys. Annotations are texts until somebody asks: most keys are never written."""

    def __init__(self, section: type[Section]) -> None:
        super().__init__()
        self._section = section

    def __missing__(self, key: str) -> Any:
        name = self._section.settings[key].name
        alone = SimpleNamespace(__annotations__={name: self._section.__annotations__[name]})
        self[key] = get_type_hints(alone, vars(sys.modules[self._section.__module__]), include_extras=True)[name]
        return self[key]


@dataclass_transform(eq_default=True, frozen_default=True, kw_only_default=True, field_specifiers=(setting,))
class Section:
    """A table of the settings: immutable, and refusing keys that it does not know.

    An instance holds what was written; defaults are attributes of the class.
    """

    settings: ClassVar[Mapping[str, Setting]]
    types: ClassVar[Mapping[str, Any]]

    def __init_subclass__(cls) -> None:
        cls.settings = {
            declared.key: declared for declared in tuple(vars(cls).values()) if isinstance(declared, Setting)
        }
        cls.types = _Types(cls)
        for declared in cls.settings.values():
            if declared.is_required:
                delattr(cls, declared.name)
            else:
                setattr(cls, declared.name, declared.default)

    def __init__(self, **written: Any) -> None:
        """Read values as a document has them, by key or by name. Raises SectionError."""
        keys = {declared.name: key for key, declared in type(self).settings.items()}
        findings: list[ErrorDetails] = []
        self.__dict__.update(
            _values(type(self), {keys.get(name, name): written[name] for name in written}, (), findings)
        )
        if findings:
            raise SectionError(_errors(type(self), findings))

    @property
    def written(self) -> frozenset[str]:
        """The names of what was written, which has no default."""
        return frozenset(self.__dict__)

    def replaced(self, **changes: Any) -> Self:
        """The same section with other values, by name. They are values already, and not checked."""
        return _made(type(self), self.__dict__ | changes)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        return _all(self) == _all(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(_all(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in _all(self).items())})"


def read[S: Section](
    kind: type[S], table: Mapping[str, Any], errors: list[FieldError], instead: Mapping[str, Any]
) -> Draft[S]:
    """Read a table by its keys; append what is wrong with it to `errors`, and leave it out.

    instead: the values for obligatory keys that are wrong.
    """
    findings: list[ErrorDetails] = []
    values = _values(kind, table, (), findings)
    errors.extend(_errors(kind, findings))
    bad = frozenset(str(finding["loc"][0]) for finding in findings)
    return Draft("", _made(kind, {name: value for name, value in instead.items() if name not in values} | values), bad)


def hints(kind: type[Section]) -> Mapping[str, Any]:
    """The types of the keys, which are there for whoever gets one by its key."""
    return kind.types


def section_in(annotation: object) -> type[Section] | None:
    """The section that a setting holds, or holds a list of; None if it holds plain values."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(section_in, get_args(annotation))), None)


def _all(section: Section) -> dict[str, Any]:
    return {declared.name: getattr(section, declared.name) for declared in section.settings.values()}


def _made[S: Section](kind: type[S], values: Mapping[str, Any]) -> S:
    made = object.__new__(kind)
    made.__dict__.update(values)
    return made


def _values(
    kind: type[Section], table: Mapping[str, Any], at: Location, findings: list[ErrorDetails]
) -> dict[str, Any]:
    """The values that are right, by name."""
    values = {}
    for key, declared in kind.settings.items():
        if key in table:
            value = _value(hints(kind)[key], table[key], (*at, key), findings)
            if value is not _WRONG:
                values[declared.name] = value
        elif declared.is_required:
            findings.append(_finding("missing", (*at, key), table))
    findings.extend(_finding("extra_forbidden", (*at, key), table[key]) for key in table if key not in kind.settings)
    return values


def _value(annotation: Any, raw: object, at: Location, findings: list[ErrorDetails]) -> Any:
    """One value as its type has it; _WRONG if it is none, which `findings` then says."""
    marks = getattr(annotation, "__metadata__", ())
    plain = annotation.__origin__ if marks else annotation
    try:
        parsed = raw
        for mark in marks:
            if isinstance(mark, Parsed):
                parsed = mark(parsed)
        value = _plain(plain, parsed, at, findings)
        for mark in marks if value is not _WRONG else ():
            if isinstance(mark, Length) and (problem := _length(mark, value)):
                findings.append(_finding(problem, at, raw, min_length=mark.least, max_length=mark.most))
                return _WRONG
            if isinstance(mark, Range | Checked):
                value = mark.check(value)
    except ValueError as error:
        findings.append(_finding("value_error", at, raw, error=error))
        return _WRONG
    return value


def _plain(kind: Any, raw: object, at: Location, findings: list[ErrorDetails]) -> Any:
    """A value of a type without marks. Nothing is converted."""
    if get_origin(kind) is tuple:
        return _list(get_args(kind)[0], raw, at, findings)
    if issubclass(kind, Section):
        return _section(kind, raw, at, findings)
    if problem := _mismatch(kind, raw):
        findings.append(_finding(problem, at, raw, expected=_choices(kind) if problem == "enum" else ""))
        return _WRONG
    return kind(raw)


def _mismatch(kind: type, raw: object) -> str:
    """What is wrong with the type of a value, in pydantic's words; "" if nothing is."""
    if issubclass(kind, StrEnum):
        return "" if raw in tuple(kind) else "enum"
    if kind is str and isinstance(raw, str):
        return "string_unicode" if _SURROGATE.search(raw) else ""
    return "" if type(raw) is kind else _TYPES[kind]


def _choices(kind: type[StrEnum]) -> str:
    *most, last = (repr(member.value) for member in kind)
    return f"{', '.join(most)} or {last}"


def _list(kind: Any, raw: object, at: Location, findings: list[ErrorDetails]) -> Any:
    if not isinstance(raw, list | tuple):
        findings.append(_finding("tuple_type", at, raw))
        return _WRONG
    values = tuple(_value(kind, entry, (*at, place), findings) for place, entry in enumerate(raw))
    return _WRONG if any(value is _WRONG for value in values) else values


def _section(kind: type[Section], raw: object, at: Location, findings: list[ErrorDetails]) -> Any:
    if isinstance(raw, kind):
        return raw
    if not isinstance(raw, Mapping):
        findings.append(_finding("model_type", at, raw))
        return _WRONG
    before = len(findings)
    values = _values(kind, raw, at, findings)
    return _made(kind, values) if len(findings) == before else _WRONG


def _length(length: Length, value: str | tuple[object, ...]) -> str:
    """What is wrong with the length of a value; "" if nothing is."""
    if len(value) < length.least:
        return "too_short"
    return "too_long" if length.most is not None and len(value) > length.most else ""


def _finding(kind: str, at: Location, raw: object, **context: Any) -> ErrorDetails:
    """What is wrong with a value, as pydantic would say it."""
    return {"type": kind, "loc": at, "msg": "", "input": raw, "ctx": context}


def _errors(kind: type[Section], findings: Iterable[ErrorDetails]) -> list[FieldError]:
    return [FieldError(dotted("", finding["loc"]), _explained(kind, finding)) for finding in findings]


def _explained(kind: type[Section], finding: ErrorDetails) -> str:
    *at, key = finding["loc"]
    if finding["type"] == "extra_forbidden" and (places := _tables_with(kind, key)):
        return misplaced_key(places)
    return explain(finding, _known(kind, at))


def _tables_with(kind: type[Section], key: object) -> list[str]:
    """Headings of the tables of a document that have a key, as a file writes them."""
    places: list[str] = []
    for name in kind.settings:
        annotation = hints(kind)[name]
        section = section_in(annotation)
        if section and key in section.settings:
            places.append(f"[{name}]" if isinstance(annotation, type) else f"[[{name}]]")
    return places


def _known(kind: type[Section], at: Iterable[int | str]) -> tuple[str, ...]:
    """The keys that may stand in the table at a location inside a document."""
    for step in at:
        if isinstance(step, str):
            inner = section_in(hints(kind)[step])
            if inner is None:
                return ()
            kind = inner
    return tuple(kind.settings)


def changed_keys(old: Section, new: Section) -> list[str]:
    """The keys with another value, as a settings file writes them: "server.drain", "listener". Values are not told.

    old, new: two readings of the settings; on SIGHUP `serve` logs what a restart would put in force.
    """
    return list(_changed(old, new))


def _changed(old: Section, new: Section, path: str = "") -> Iterator[str]:
    for key, declared in type(old).settings.items():
        before, after = getattr(old, declared.name), getattr(new, declared.name)
        if isinstance(before, Section) and isinstance(after, Section):
            yield from _changed(before, after, f"{path}{key}.")
        elif before != after:
            yield f"{path}{key}"
