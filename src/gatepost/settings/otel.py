"""The settings of traces for OpenTelemetry: the table `[otel]`.

A part of `settings.model`, read with it; used by `node.observation` and `node.span_export`.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from gatepost.policy.connectors.fields import Form, Length, Range, Text, Whole
from gatepost.settings.references import secret_reference
from gatepost.settings.section import Checked, Section, setting

_EXAMPLE = "http://127.0.0.1:4318/v1/traces"


def _endpoint(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.path not in {"", "/"}
        _ = parts.port
    except ValueError:
        good = False
    if value and not (good and value.isascii() and value.isprintable() and " " not in value):
        raise ValueError(f"{value!r} is not an address for traces; write it with its path, such as {_EXAMPLE}")
    if value and ("@" in parts.netloc or parts.query or parts.fragment):
        raise ValueError("an address with a password or a query would be in logs; write secret = file:/PATH instead")
    return value


def _header(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", value):
        raise ValueError(f"{value!r} is not a name of an HTTP header field; write letters, digits and hyphens")
    return value


class Otel(Section):
    """Traces for OpenTelemetry (docs/monitoring.md). Needs the extra `gatepost[otel]`."""

    endpoint: Annotated[str, Checked(_endpoint), Form("http or https address; empty: off")] = setting(
        default="",
        description='Address for spans (OTLP over HTTP), with the path, such as "http://127.0.0.1:4318/v1/traces". '
        "tls.trust_anchors has the roots for an https server. Empty: no traces.",
    )
    service_name: Annotated[Text, Length(1, 100)] = setting(
        default="gatepost", description="The service.name of all spans; use the same on all nodes of a site."
    )
    sample: Annotated[Whole, Range(0, 1000)] = setting(
        default=1000,
        description="How many of 1000 messages get a trace. It covers the whole message, on all nodes with the same "
        "value.",
    )
    header: Annotated[Text, Checked(_header)] = setting(
        default="Authorization", description="The HTTP header field that carries the secret."
    )
    secret: Annotated[str, Checked(secret_reference), Form('"file:/PATH", "env:NAME" or "credential:NAME"')] = setting(
        default="",
        description='The whole value of that header field, such as "Bearer ..."; read again for each post. Only '
        "with an https address, or on loopback. Empty: none.",
    )

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way could read what is posted: over TLS, or on this machine."""
        parts = urlsplit(self.endpoint)
        host = parts.hostname or ""
        try:
            return parts.scheme == "https" or host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False
