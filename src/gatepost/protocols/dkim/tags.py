"""Tag lists (RFC 6376 section 3.2), the syntax of DKIM's signatures and records, of ARC's fields, of DMARC's records.

Used by the readers of these. Pure text.
"""

from __future__ import annotations

import re
from typing import Final

from gatepost.protocols.dns.text_record import shown

_TAG: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_BLANK: Final = " \t\r\n"


def read_tags(text: str, where: str) -> dict[str, str]:
    """The values by their tags, at least one, without blanks around them. where: "the TXT record", for the error.

    Raises ValueError with a sentence.
    """
    result: dict[str, str] = {}
    for part in text.strip(_BLANK).removesuffix(";").split(";"):
        name, equals, value = part.partition("=")
        name = name.strip(_BLANK)
        if not equals or not _TAG.fullmatch(name):
            raise ValueError(f'"{shown(part.encode())}" in {where} is not of the form tag=value')
        if name in result:
            raise ValueError(f"the tag {name}= is twice in {where}")
        result[name] = value.strip(_BLANK)
    return result
