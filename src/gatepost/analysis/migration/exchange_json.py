r"""Read output of ConvertTo-Json: encodings, shapes and spellings of Windows PowerShell 5 and PowerShell 7.

Used by `analysis.migration.exchange` and `analysis.migration.exchange_rules`. Bytes of a file become `ExchangeObject`s,
whose values are read one by one with the methods here. What cannot be understood raises `Unreadable`; nothing is
guessed. Output of Export-Clixml is read by `analysis.migration.exchange_clixml`.

The same object is printed differently by either PowerShell and over either kind of session: enumerations as numbers,
texts or {"value": 2, "Value": "Partner"}, lists as lists, {"value": [...], "Count": 1} or, beyond -Depth, one text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gatepost.analysis.migration.exchange_clixml import clixml_objects, is_clixml
from gatepost.analysis.migration.report import ImportRefused

# What an object is -> the cmdlet that prints it.
KIND_NAMES = {
    "inbound": "Get-InboundConnector",
    "outbound": "Get-OutboundConnector",
    "domain": "Get-AcceptedDomain",
    "rule": "Get-TransportRule",
    "journal": "Get-JournalRule",
    "transport": "Get-TransportConfig",
    "organization": "Get-OrganizationConfig",
    "send": "Get-SendConnector",
    "receive": "Get-ReceiveConnector",
    "remote": "Get-RemoteDomain",
}

# Properties in lower case that tell objects apart, each set found in one kind only; looked at in this order.
_SIGNS: tuple[tuple[str, frozenset[str]], ...] = (
    ("send", frozenset({"addressspaces"})),
    ("receive", frozenset({"bindings"})),
    ("inbound", frozenset({"senderdomains"})),
    ("inbound", frozenset({"tlssendercertificatename"})),
    ("inbound", frozenset({"senderipaddresses"})),
    ("inbound", frozenset({"restrictdomainstocertificate"})),
    ("outbound", frozenset({"recipientdomains"})),
    ("outbound", frozenset({"routeallmessagesviaonpremises"})),
    ("outbound", frozenset({"smarthosts", "usemxrecord"})),
    ("outbound", frozenset({"tlssettings"})),
    ("domain", frozenset({"domainname", "domaintype"})),
    ("journal", frozenset({"journalemailaddress"})),
    ("rule", frozenset({"routemessageoutboundrequiretls"})),
    ("rule", frozenset({"routemessageoutboundconnector"})),
    ("rule", frozenset({"state", "priority", "mode"})),
    ("transport", frozenset({"messageexpiration"})),
    ("transport", frozenset({"tlssenddomainsecurelist"})),
    ("organization", frozenset({"rejectdirectsend"})),
    ("remote", frozenset({"domainname", "allowedooftype"})),
)

_DEPTH = "it was cut off by ConvertTo-Json; run the command again with -Depth 5"
_STRINGS = (
    "numbers of enumerations are not guessed here; run the command again with -EnumsAsStrings (PowerShell 7), or in "
    "Windows PowerShell 5 through the filter EnumsAsText of docs/import.md"
)
_CUT_OFF = re.compile(r"(System\.|Microsoft\.Exchange\.)[\w.`\[\]+, =]+|@\{.*\}", re.DOTALL)
_BLANK = re.compile("[ \t\r\n\ufeff]*")
_FIRST = 4096  # characters that show what a file is
_TABLE = re.compile(r'#TYPE |"[^"\n]*"\s*[,;\t]|[\w ]+[,;\t]|[A-Za-z]\w* +: |[A-Za-z]\w* +[A-Za-z][\w ]*\r?\n-')
_MOST_DEPTH = 100  # ConvertTo-Json takes no greater -Depth
_TOO_DEEP = "lists and tables are nested too deeply; ConvertTo-Json -Depth 5 is enough"
_TIME_SPAN = re.compile(r"(?:(\d{1,5})\.)?(\d{1,2}):(\d{2}):(\d{2})(?:\.\d{1,7})?", re.ASCII)
_WRAPPERS = ("Value", "value")
_NAMES = ("Address", "Domain", "Expression", "Name")


class Unreadable(ValueError):  # noqa: N818 - it says what the value is
    """A value cannot be read. The text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class ExchangeObject:
    """One object. kind: a key of KIND_NAMES, or "" if it is none of them. where: file and place, for messages.

    properties: by their names in lower case, as Select-Object prints names the way they were typed. spelled: the names
    as they were printed.
    """

    kind: str
    where: str
    properties: Mapping[str, Any]
    spelled: Mapping[str, str] = MappingProxyType({})

    def has(self, name: str) -> bool:
        """Whether the property was printed at all, be it null."""
        return name.lower() in self.properties

    def text(self, name: str) -> str:
        """A text; "" for null. Raises Unreadable."""
        value = _unwrapped(self.properties.get(name.lower()))
        if isinstance(value, Mapping):
            value = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), value)
        if value is None:
            return ""
        if self.is_number(name):
            raise Unreadable(f"{name} is the number {shown(value)}: {_STRINGS}")
        if not isinstance(value, str):
            raise Unreadable(f"{name} is {shown(value)}, and a text is needed")
        if _CUT_OFF.fullmatch(value):
            raise Unreadable(f"{name} is {shown(value)}: {_DEPTH}")
        return value.strip()

    def texts(self, name: str, *, split: bool = True) -> list[str]:
        """A list of texts; [] for null. split: one text holds several, between spaces or commas. Raises Unreadable."""
        value = _unwrapped(self.properties.get(name.lower()))
        if not isinstance(value, list):
            text = self.text(name)
            return re.split(r"[\s,]+", text) if text and split else [text] if text else []
        entries = (ExchangeObject(self.kind, self.where, {name.lower(): entry}).text(name) for entry in value)
        return [entry for entry in entries if entry]

    def switch(self, name: str, default: bool) -> bool:  # noqa: FBT001 - the default of a property, not a flag
        """True or false, also as a text; `default` for null or nothing. Raises Unreadable."""
        value = _unwrapped(self.properties.get(name.lower()))
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.strip().lower() in {"true", "false"}:
            return value.strip().lower() == "true"
        raise Unreadable(f"{name} is {shown(value)}, and true or false is needed")

    def choice(self, name: str, texts: Mapping[str, str], numbers: Mapping[int, str] | None = None) -> str:
        """Map a value by `texts`, whatever its case; "" for null. numbers: the texts of known numbers.

        Raises Unreadable.
        """
        value = _unwrapped(self.properties.get(name.lower()))
        if numbers and self.is_number(name) and value in numbers:
            return texts[numbers[value]]
        text = self.text(name)
        if not text:
            return ""
        known = {word.lower(): meaning for word, meaning in texts.items()}
        if text.lower() not in known:
            raise Unreadable(f"{name} is {shown(text)}, and only {', '.join(texts)} are known here")
        return known[text.lower()]

    def is_number(self, name: str) -> bool:
        """Whether an enumeration was printed as its number alone."""
        value = _unwrapped(self.properties.get(name.lower()))
        return isinstance(value, int) and not isinstance(value, bool)

    def number(self, name: str) -> int:
        """A whole number; 0 for null. Raises Unreadable."""
        value = _unwrapped(self.properties.get(name.lower()))
        if value is None:
            return 0
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise Unreadable(f"{name} is {shown(value)}, and a whole number is needed")

    def seconds(self, name: str) -> float:
        """A TimeSpan in seconds, printed as "1.00:00:00" or as a table of its properties. Raises Unreadable."""
        value = _unwrapped(self.properties.get(name.lower()))
        if isinstance(value, Mapping) and isinstance(ticks := value.get("Ticks"), int):
            return ticks / 10_000_000 if 0 <= ticks < 10**18 else -1.0
        match = _TIME_SPAN.fullmatch(self.text(name))
        if match is None:
            raise Unreadable(f"{name} is {shown(value)}, and a time span such as 1.00:00:00 is needed")
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60.0 + rest

    @property
    def name(self) -> str:
        """The name of the object for messages, as far as it can be read."""
        for key in ("Name", "Identity", "DomainName"):
            try:
                if text := self.text(key):
                    return text
            except Unreadable:
                continue
        return self.where


def shown(value: object) -> str:
    """A value in a message: shortened, and harmless for a terminal."""
    text = json.dumps(value, ensure_ascii=False)
    text = text if len(text) <= 80 else text[:77] + "..."
    return "".join(character if character.isprintable() else "?" for character in text)


def is_empty(value: object) -> bool:
    """Whether a property says nothing: null, "", false, an empty list, or a list of such."""
    value = _unwrapped(value)
    if isinstance(value, list):
        return all(is_empty(item) for item in value)
    return value is None or value is False or (isinstance(value, str) and value.strip().lower() in {"", "false"})


def read_objects(data: bytes, source: str) -> list[ExchangeObject]:
    """The objects of a file, in its order. source: the file's name, for messages.

    The file may hold one object, a list, a table by the names of cmdlets, or several such one behind the other, as
    `>>` leaves them, or be of Export-Clixml. Raises ImportRefused if it is neither, with the line.
    """
    text = _decoded(data, source)
    documents = clixml_objects(text, source) if is_clixml(text) else _documents(text, source)
    objects = [entry for document in documents for entry in _objects(document, "")]
    return [_object(kind, f"{source}, object {place}", table) for place, (kind, table) in enumerate(objects, 1)]


def _object(kind: str, where: str, table: Mapping[str, Any]) -> ExchangeObject:
    spelled = {key.lower(): key for key in table}
    if len(spelled) != len(table):
        raise ImportRefused(
            f"{where}: a property stands there twice, in upper and in lower case, nothing was read; leave one out"
        )
    return ExchangeObject(kind, where, {key.lower(): value for key, value in table.items()}, spelled)


def _decoded(data: bytes, source: str) -> str:
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ImportRefused(
            f"{source}: byte {error.start + 1} is not {'UTF-8' if encoding.startswith('utf-8') else 'UTF-16'}, nothing "
            "was read; write the file with: ... | Out-File -Encoding utf8 FILE.json"
        ) from None


def _documents(text: str, source: str) -> list[Any]:
    """Every JSON value of a text."""
    decoder = json.JSONDecoder(object_pairs_hook=_table, parse_int=_whole, parse_constant=_constant)
    result: list[Any] = []
    place = _skip(text, 0)
    try:
        while place < len(text):
            document, end = decoder.raw_decode(text, place)
            _limit_depth(document)
            result.append(document)
            place = _skip(text, end)
    except json.JSONDecodeError as error:
        raise ImportRefused(_not_json(text, source, error)) from None
    except RecursionError:
        raise ImportRefused(f"{source}: {_TOO_DEEP}, nothing was read") from None
    except Unreadable as error:
        raise ImportRefused(f"{source}: {error}, nothing was read") from None
    if not result:
        raise ImportRefused(f"{source}: the file is empty; write it with: ... | ConvertTo-Json -Depth 5")
    return result


def _not_json(text: str, source: str, error: json.JSONDecodeError) -> str:
    """Why a file cannot be read: it is a table, or no whole JSON."""
    if _TABLE.match(text[:_FIRST].lstrip("\ufeff \r\n")):
        return (
            f"{source}: not JSON but a table or list for reading (Export-Csv, Format-List, Format-Table), which has "
            "lost lists of several values; nothing was read. Write it with: ... | ConvertTo-Json -Depth 5 | Out-File "
            "-Encoding utf8 FILE.json, or ... | Export-Clixml FILE.xml"
        )
    return (
        f"{source}, line {error.lineno}, column {error.colno}: not JSON ({error.msg}), nothing was read; the file "
        "must be what ConvertTo-Json printed, and whole"
    )


def _limit_depth(document: Any) -> None:
    """Raises Unreadable if lists and tables are nested deeper than ConvertTo-Json can."""
    level = [document]
    for _ in range(_MOST_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, list | dict)
            for inner in (value if isinstance(value, list) else value.values())
        ]
    if level:
        raise Unreadable(_TOO_DEEP)


def _skip(text: str, place: int) -> int:
    """The place of the next character that is neither blank nor a byte order mark, which `>>` leaves in the middle."""
    return _BLANK.match(text, place).end()  # type: ignore[union-attr]  # it matches nothing as well


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        again = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Unreadable(f"{shown(again)} stands twice in one object; leave one of the two out")
    return table


def _whole(digits: str) -> int:
    if len(digits) > 20:
        raise Unreadable(f"a number of {len(digits)} digits, which no property has")
    return int(digits)


def _constant(text: str) -> Any:
    raise Unreadable(f"{text} is not a JSON value")


def _objects(document: Any, kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(kind, properties) of every object in a document. kind: what the key around it says, "" if none does."""
    document = _unwrapped(document)
    if isinstance(document, list):
        for entry in document:
            yield from _objects(entry, kind)
    elif isinstance(document, Mapping):
        named = any(key.lower() in _KINDS for key in document)
        if not kind and named and not _kind(document):
            for key, value in document.items():
                yield from _objects(value, _KINDS.get(key.lower(), ""))
        else:
            yield kind or _kind(document), document
    elif document is not None:
        yield "", {"value": document}  # a number or a text, of which no cmdlet's output is made


def _kind(table: Mapping[str, Any]) -> str:
    names = {key.lower(): key for key in table}
    type_name = str(table.get(names.get("pstypename", ""), "")).rpartition(".")[2].lower()
    if type_name in _KINDS:
        return _KINDS[type_name]
    return next((kind for kind, signs in _SIGNS if signs <= names.keys()), "")


# Keys around objects, and the last part of type names: "Get-InboundConnector", "InboundConnector", "InboundConnectors".
_KINDS = {
    f"{start}{cmdlet.removeprefix('Get-').lower()}{end}": kind
    for kind, cmdlet in KIND_NAMES.items()
    for start in ("", "get-")
    for end in ("", "s")
}


def _unwrapped(value: Any) -> Any:
    """A value without what PowerShell's sessions wrap around it; see the module's first lines."""
    if isinstance(value, Mapping):
        keys = {key for key in value if key not in {"PSComputerName", "RunspaceId", "PSShowComputerName"}}
        for wrapper in _WRAPPERS:
            if wrapper in keys and keys <= {*_WRAPPERS, "Count", "DateTime", "Length"}:
                return value[wrapper]
    return value
