"""Read output of PowerShell's Export-Clixml into the values that ConvertTo-Json would have printed.

Used by `analysis.migration.exchange_json`. Format: [MS-PSRP] 2.2.5. A property's value that is an object itself becomes
its text, as `ToString` made it: enumerations keep their names, and address spaces, hosts and ranges their usual form.
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree as ET

from gatepost.analysis.migration.report import ImportRefused

_SPACE = "{http://schemas.microsoft.com/powershell/2004/04}"
_LISTS = frozenset({"LST", "IE", "STK", "QUE"})
_NUMBERS = frozenset({"I16", "I32", "I64", "U16", "U32", "U64", "By", "SB"})
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_NUMBER = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_DECLARATION = re.compile(r"<\?xml[^>]*\?>")  # its encoding is that of the file, which is a text here
_DOCTYPE = re.compile(r"<!(DOCTYPE|ENTITY)", re.IGNORECASE)
_BLANK = "\ufeff \t\r\n"

type _References = dict[str, ET.Element]


def is_clixml(text: str) -> bool:
    """Whether a file seems to be XML at all."""
    return text.lstrip(_BLANK).startswith("<")


def clixml_objects(text: str, source: str) -> list[Any]:
    """Every object of a file, as a table of its properties. Raises ImportRefused if it is none."""
    if _DOCTYPE.search(text):
        raise ImportRefused(f"{source}: it declares a document type, as Export-Clixml never does; nothing was read")
    try:
        root = ET.fromstring(_DECLARATION.sub("", text.lstrip(_BLANK), count=1))  # noqa: S314 - no entities are in it
    except ET.ParseError as error:
        raise ImportRefused(
            f"{source}, line {error.position[0]}: not XML, nothing was read; the file must be what Export-Clixml "
            "wrote, and whole"
        ) from None
    if root.tag != f"{_SPACE}Objs":
        raise ImportRefused(f"{source}: not what Export-Clixml wrote, nothing was read; docs/import.md has the command")
    known = {element.get("RefId", ""): element for element in root.iter(f"{_SPACE}Obj")}
    types = {element.get("RefId", ""): element for element in root.iter(f"{_SPACE}TN")}
    return [_object(item, known, types) for element in root for item in _entries(element)]


def _entries(element: ET.Element) -> list[ET.Element]:
    """The objects of a list at the top, or the one that it is."""
    items = _list(element)
    return [element] if items is None else items


def _object(element: ET.Element, known: _References, types: _References) -> Any:
    """An object at the top, with its properties."""
    properties = [entry for name in ("Props", "MS") for entry in element.findall(f"{_SPACE}{name}/*")]
    if not properties:
        return _value(element, known)
    names = element.find(f"{_SPACE}TN")
    if names is None and (reference := element.find(f"{_SPACE}TNRef")) is not None:
        names = types.get(reference.get("RefId", ""))
    name = names.findtext(f"{_SPACE}T") if names is not None else None
    return {"PSTypeName": name or "", **{_plain(entry.get("N", "")): _value(entry, known) for entry in properties}}


def _value(element: ET.Element, known: _References) -> Any:
    """The value of a property, with what it refers to; in that no more references are followed."""
    text = element.text or ""
    match element.tag.removeprefix(_SPACE):
        case "Nil":
            return None
        case "B":
            return text.strip().lower() == "true"
        case tag if tag in _NUMBERS and _NUMBER.fullmatch(text.strip()):
            return int(text)
        case "Ref" if (target := known.get(element.get("RefId", ""))) is not None:
            return _value(target, {})
        case "Obj" if (items := _list(element)) is not None:
            return [_text_of(item, known) for item in items]
        case _:
            return _text_of(element, known)


def _text_of(element: ET.Element, known: _References) -> Any:
    """An object by its text, anything else as it is written."""
    target = known.get(element.get("RefId", ""), element) if element.tag == f"{_SPACE}Ref" else element
    return None if target.tag == f"{_SPACE}Nil" else _plain(target.findtext(f"{_SPACE}ToString") or target.text or "")


def _list(element: ET.Element) -> list[ET.Element] | None:
    """The entries of a list; None if it is none."""
    return next((list(child) for child in element if child.tag.removeprefix(_SPACE) in _LISTS), None)


def _plain(text: str) -> str:
    """A text without the escapes of characters that XML cannot hold."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text).strip()
