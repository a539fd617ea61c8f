"""Field types: each parses one kind of value to its one form and describes itself for docs and forms.

Used by resources, which pydantic reads (`policy.connectors.record_base`), and by settings, which are read without it
(`settings.section`): so pydantic is imported where it asks a type how it is read, and only there. Nothing passes by
being bent into shape: "yes" is not true, "5" is not 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from gatepost.policy.connectors import names
from gatepost.policy.connectors.trust_anchors import is_pem, trust_anchors
from gatepost.policy.connectors.units import format_duration, format_size, parse_duration, parse_size
from gatepost.policy.connectors.values import TlsVersion

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema


class Form(msgspec.Struct, frozen=True):
    """The description of the values that a field accepts, for documentation and forms.

    schema: the same as JSON Schema, where pydantic's would be about the parsed value. It has no part in the hash, which
    CPython 3.12.0 to 3.12.3 take of each annotation that stands in a union. long: it may have many lines.
    """

    text: str
    schema: Mapping[str, Any] | None = None
    long: bool = False

    def __hash__(self) -> int:
        """Without the schema, which is a dictionary."""
        return hash((self.text, self.long))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema of what is written."""
        return handler(core) if self.schema is None else dict(self.schema)


class Range(msgspec.Struct, frozen=True):
    """The least and the greatest value of a number; show prints one as the person would write it."""

    least: float
    most: float
    show: Callable[[Any], str] = str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check behind the field's own parsing."""
        from pydantic_core.core_schema import no_info_after_validator_function  # noqa: PLC0415

        return no_info_after_validator_function(self.check, handler(source))

    def check[N: float](self, value: N) -> N:
        """The value. Raises ValueError if it is out of range."""
        if self.least <= value <= self.most:
            return value
        raise ValueError(f"{self.show(value)} is out of range: {self.show(self.least)} to {self.show(self.most)}")

    def __str__(self) -> str:
        return f"{self.show(self.least)} to {self.show(self.most)}"


class Parsed(msgspec.Struct, frozen=True):
    """The parser of a field before its type is checked; parse raises ValueError with a sentence for the author.

    every: also what is not text is parsed; otherwise the type refuses it.
    """

    parse: Callable[[Any], object]
    every: bool = False

    def __call__(self, value: object) -> object:
        """The value in its one form. Raises ValueError."""
        return self.parse(value) if self.every or isinstance(value, str) else value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The same for pydantic."""
        from pydantic import BeforeValidator  # noqa: PLC0415

        return BeforeValidator(self.__call__).__get_pydantic_core_schema__(source, handler)


class Written(msgspec.Struct, frozen=True):
    """The way to write a parsed value again: as a person would write it."""

    write: Callable[[Any], str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The same for pydantic."""
        from pydantic import PlainSerializer  # noqa: PLC0415

        return PlainSerializer(self.write).__get_pydantic_core_schema__(source, handler)


class Length(msgspec.Struct, frozen=True):
    """The least and the greatest number of characters of a text, or of entries of a list; most: None for no limit."""

    least: int = 0
    most: int | None = None

    __is_annotated_types_grouped_metadata__ = True  # by which pydantic knows that it can be taken apart

    def __iter__(self) -> Iterator[object]:
        """The same for pydantic."""
        from annotated_types import MaxLen, MinLen  # noqa: PLC0415

        if self.least:
            yield MinLen(self.least)
        if self.most is not None:
            yield MaxLen(self.most)


class Exact(msgspec.Struct, frozen=True):
    """Marks a type that only takes its own values: 1 is not true."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The same for pydantic."""
        return {**handler(source), "strict": True}


class Access(Enum):
    """The kind of gateway property that a field's value uses.

    MACHINE: a file or socket, which tenants may not name. NETWORK: a host that it connects to; where a tenant named it,
    [network] tenants_may_reach says which addresses that may be.
    """

    MACHINE = auto()
    NETWORK = auto()


class Owned(msgspec.Struct, frozen=True):
    """Marks a field of which some values need the gateway owner's grant (`policy.connectors.grants`).

    access: the gateway property that a value uses, None if none. instead: the value that a tenant can write.
    """

    access: Callable[[str], Access | None]
    instead: str = ""


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError(f"{value!r} holds a control character, which would break a log line or a reply")
    return value


def _version(value: str) -> str:
    return f"TLSv{value}" if value in {"1.0", "1.1", "1.2", "1.3"} else value


def listen_address(value: str) -> str:
    """The address in the form "host:port" or "[v6]:port". Raises ValueError."""
    host, port = names.host_port(value, None, lowest=0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _network(value: str) -> str:
    parsed = names.network(value)
    return str(parsed.network_address) if parsed.num_addresses == 1 else str(parsed)


def _source_address(version: int, value: str) -> str:
    if not value:
        return value
    try:
        address = ip_address(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address") from None
    if address.version != version or address.is_unspecified or address.is_multicast:
        raise ValueError(f"{value!r} is not an IPv{version} address of one machine")
    return str(address)


def _header_name(value: str) -> str:
    if not value.isascii() or any(not "!" <= char <= "~" or char == ":" for char in value):
        raise ValueError(f"{value!r} is not a name of a header field: write it without the colon, as 'X-Confidential'")
    return value


Switch = Annotated[bool, Exact(), Form("true or false")]
Whole = Annotated[int, Exact(), Form("whole number")]
Text = Annotated[str, Parsed(_printable), Length(most=1000), Form("text")]
Label = Annotated[str, Parsed(_printable), Length(1, 64), Form("text of 1 to 64 characters")]
ClientLabel = Annotated[str, Parsed(_printable), Length(most=64), Form("label of a client certificate")]
FilePath = Annotated[
    str,
    Parsed(_printable),
    Length(most=4096),
    Form("path"),
    Owned(lambda value: Access.MACHINE if value else None),
]
TrustAnchorsText = Annotated[
    str,
    Parsed(trust_anchors),
    Form('"system", certificates in PEM, or a path', long=True),
    Owned(
        lambda value: None if value in {"", "system"} or is_pem(value) else Access.MACHINE,
        'write the certificates here in PEM, or "system"',
    ),
]
Domain = Annotated[str, Parsed(names.domain_name), Form("domain")]
Pattern = Annotated[str, Parsed(names.domain_pattern), Form('domain, "*.domain" or "*"')]
AddressPattern = Annotated[str, Parsed(names.address_pattern), Form('address, domain, "*.domain" or "*"')]
MailAddress = Annotated[str, Parsed(names.mail_address), Form("mail address")]
HeaderName = Annotated[str, Parsed(_header_name), Length(most=200), Form("name of a header field")]
NamePattern = Annotated[str, Parsed(partial(names.domain_pattern, every=False)), Form('domain or "*.domain"')]
NetworkText = Annotated[str, Parsed(_network), Form("IP address or network")]
_OWN_ADDRESS = Owned(lambda value: Access.MACHINE if value else None, "leave it out: the system chooses one")
Ipv4Text = Annotated[str, Parsed(partial(_source_address, 4)), Form("IPv4 address"), _OWN_ADDRESS]
Ipv6Text = Annotated[str, Parsed(partial(_source_address, 6)), Form("IPv6 address"), _OWN_ADDRESS]
ListenAddress = Annotated[str, Parsed(listen_address), Form('"host:port" or "[v6]:port"')]
SmartHostField = Annotated[
    names.SmartHost,
    Parsed(names.SmartHost.parse),
    Written(str),
    Form('"host", "host:port", IP address or "[v6]:port"', {"type": "string"}),
    Owned(lambda _: Access.NETWORK),
]
Duration = Annotated[
    float,
    Parsed(parse_duration, every=True),
    Written(format_duration),
    Form('duration: "30s", "15m", "24h"', {"type": ["string", "number"], "examples": ["30s", "15m", "24h", 900]}),
]
Size = Annotated[
    int,
    Parsed(parse_size, every=True),
    Written(format_size),
    Form('size: "256KB", "50MB", bytes', {"type": ["string", "integer"], "examples": ["256KB", "50MB", 1048576]}),
]
Version = Annotated[TlsVersion, Parsed(_version)]
