"""Field types: each parses one kind of value to its one form and describes itself for docs and forms.

Used by `policy.connectors.model` and `settings.model`. Nothing passes by being bent into shape: "yes" is not true, "5"
is not 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping  # noqa: TC003 - pydantic reads annotations
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    StrictBool,
    StrictInt,
)
from pydantic_core.core_schema import no_info_after_validator_function

from gatepost.policy.connectors.names import SmartHost, address_pattern, domain_name, domain_pattern, host_port, network
from gatepost.policy.connectors.trust_anchors import is_pem, trust_anchors
from gatepost.policy.connectors.units import format_duration, format_size, parse_duration, parse_size
from gatepost.policy.connectors.values import TlsVersion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.fields import FieldInfo
    from pydantic_core import CoreSchema


@dataclass(frozen=True, slots=True)
class Form:
    """The description of the values that a field accepts, for documentation and forms.

    schema: the same as JSON Schema, where pydantic's would be about the parsed value. It has no part in the hash, which
    CPython 3.12.0 to 3.12.3 take of each annotation that stands in a union. long: it may have many lines.
    """

    text: str
    schema: Mapping[str, Any] | None = field(default=None, hash=False)
    long: bool = False

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema of what is written."""
        return handler(core) if self.schema is None else dict(self.schema)


@dataclass(frozen=True, slots=True)
class Range:
    """The least and the greatest value of a number; show prints one as the person would write it."""

    least: float
    most: float
    show: Callable[[Any], str] = str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check behind the field's own parsing."""
        return no_info_after_validator_function(self._check, handler(source))

    def _check[N: float](self, value: N) -> N:
        if self.least <= value <= self.most:
            return value
        raise ValueError(f"{self.show(value)} is out of range: {self}")

    def __str__(self) -> str:
        return f"{self.show(self.least)} to {self.show(self.most)}"


class Access(Enum):
    """The kind of gateway property that a field's value uses.

    MACHINE: a file or socket, which tenants may not name. NETWORK: a host that it connects to; where a tenant named it,
    [network] tenants_may_reach says which addresses that may be.
    """

    MACHINE = auto()
    NETWORK = auto()


@dataclass(frozen=True, slots=True)
class Owned:
    """Marks a field of which some values need the gateway owner's grant (`policy.connectors.grants`).

    access: the gateway property that a value uses, None if none. instead: the value that a tenant can write.
    """

    access: Callable[[str], Access | None]
    instead: str = ""


class Record(BaseModel):
    """A table of a document: immutable, and refusing keys that it does not know."""

    # defer_build: the validator of a class is made on its first use, since most commands use few of them.
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, defer_build=True
    )
    _ungranted: frozenset[tuple[str, str]] = PrivateAttr(default=frozenset())

    @property
    def ungranted(self) -> frozenset[tuple[str, str]]:
        """Fields and values that need the owner's grant and have none; see `policy.connectors.grants`."""
        return self._ungranted

    def with_ungranted(self, ungranted: frozenset[tuple[str, str]], update: Mapping[str, Any]) -> Self:
        """The same table with its ungranted values noted, and some fields replaced."""
        made = self.model_copy(update=update)
        made._ungranted = ungranted  # noqa: SLF001 - of this very class
        return made


def _text(parse: Callable[[str], object]) -> BeforeValidator:
    """Parse a text; leave other types to pydantic, which refuses them."""
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError(f"{value!r} holds a control character, which would break a log line or a reply")
    return value


def _version(value: str) -> str:
    return f"TLSv{value}" if value in {"1.0", "1.1", "1.2", "1.3"} else value


def listen_address(value: str) -> str:
    """The address in the form "host:port" or "[v6]:port". Raises ValueError."""
    host, port = host_port(value, None, lowest=0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _network(value: str) -> str:
    parsed = network(value)
    return str(parsed.network_address) if parsed.num_addresses == 1 else str(parsed)


def _header_name(value: str) -> str:
    if not value.isascii() or any(not "!" <= char <= "~" or char == ":" for char in value):
        raise ValueError(f"{value!r} is not a name of a header field: write it without the colon, as 'X-Confidential'")
    return value


Switch = Annotated[StrictBool, Form("true or false")]
Whole = Annotated[StrictInt, Form("whole number")]
Text = Annotated[str, _text(_printable), Field(max_length=1000), Form("text")]
Label = Annotated[str, _text(_printable), Field(min_length=1, max_length=64), Form("text of 1 to 64 characters")]
ClientLabel = Annotated[str, _text(_printable), Field(max_length=64), Form("label of a client certificate")]
FilePath = Annotated[
    str,
    _text(_printable),
    Field(max_length=4096),
    Form("path"),
    Owned(lambda value: Access.MACHINE if value else None),
]
TrustAnchorsText = Annotated[
    str,
    _text(trust_anchors),
    Form('"system", certificates in PEM, or a path', long=True),
    Owned(
        lambda value: None if value in {"", "system"} or is_pem(value) else Access.MACHINE,
        'write the certificates here in PEM, or "system"',
    ),
]
Domain = Annotated[str, _text(domain_name), Form("domain")]
Pattern = Annotated[str, _text(domain_pattern), Form('domain, "*.domain" or "*"')]
AddressPattern = Annotated[str, _text(address_pattern), Form('address, domain, "*.domain" or "*"')]
HeaderName = Annotated[str, _text(_header_name), Field(max_length=200), Form("name of a header field")]
NamePattern = Annotated[str, _text(partial(domain_pattern, every=False)), Form('domain or "*.domain"')]
NetworkText = Annotated[str, _text(_network), Form("IP address or network")]
ListenAddress = Annotated[str, _text(listen_address), Form('"host:port" or "[v6]:port"')]
SmartHostField = Annotated[
    SmartHost,
    _text(SmartHost.parse),
    PlainSerializer(str),
    Form('"host", "host:port", IP address or "[v6]:port"', {"type": "string"}),
    Owned(lambda _: Access.NETWORK),
]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    Form('duration: "30s", "15m", "24h"', {"type": ["string", "number"], "examples": ["30s", "15m", "24h", 900]}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size),
    Form('size: "256KB", "50MB", bytes', {"type": ["string", "integer"], "examples": ["256KB", "50MB", 1048576]}),
]
Version = Annotated[TlsVersion, _text(_version)]


def keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a table by the key that a document writes."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def owned_marker(info: FieldInfo) -> Owned | None:
    """Return the marker of a field whose values need a grant (of a list: each of its values), None if none does."""
    return _marker_in((info.annotation, *info.metadata))


def _marker_in(parts: Sequence[object]) -> Owned | None:
    """The last one: who uses a type may say more of it than the type itself."""
    for part in reversed(parts):
        marker = part if isinstance(part, Owned) else _marker_in(get_args(part))
        if marker is not None:
            return marker
    return None


def record_in(annotation: object) -> type[BaseModel] | None:
    """The table that a field holds, or holds a list of; None if it holds plain values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(record_in, get_args(annotation))), None)


def known_keys(model: type[BaseModel], location: Sequence[int | str]) -> tuple[str, ...]:
    """The keys that may stand in the table at a location inside a document of `model`."""
    for step in location:
        if isinstance(step, str):
            field = keys(model).get(step)
            inner = record_in(field.annotation) if field else None
            if inner is None:
                return ()
            model = inner
    return tuple(keys(model))
