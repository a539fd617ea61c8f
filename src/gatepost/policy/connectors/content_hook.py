"""Content hooks: the fields of one. A part of `policy.connectors.records`; no scanner is asked here.

Which are asked about which mail is in `policy.connectors.hook_index`.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from gatepost.policy.connectors.fields import (
    Access,
    Duration,
    Form,
    Label,
    Owned,
    Range,
    Record,
    Size,
    Switch,
    Text,
    TrustAnchorsText,
    Whole,
)
from gatepost.policy.connectors.names import host_port, socket_path
from gatepost.policy.connectors.units import format_duration, format_size
from gatepost.policy.connectors.values import HookDirection, HookFailure, HookType, Mode, OverMaxSize
from gatepost.protocols.scanners.finding import ScanAction

_CLAMAV_PORT = 3310


def _address(value: str) -> str:
    """A scanner's address in its one form."""
    if value.startswith(("http://", "https://")):
        return _url(value)
    if value.startswith("unix:"):
        return f"unix:{socket_path(value.removeprefix('unix:'))}"
    host, port = host_port(value, _CLAMAV_PORT)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _url(value: str) -> str:
    wrong = f"{value!r} is not an address of rspamd: write 'http://HOST:PORT', with nothing after the port"
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        raise ValueError(wrong) from None
    if not url.hostname or "@" in url.netloc or url.path not in {"", "/", "/checkv2"} or url.query or url.fragment:
        raise ValueError(wrong)
    host, _ = host_port(f"[{url.hostname}]" if ":" in url.hostname else url.hostname, 1)
    shown = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{shown}:{port}" if port else f"{url.scheme}://{shown}"


class ContentHook(Record):
    """A scanner that is asked about the content of a message before it is taken: rspamd, or ClamAV.

    All hooks that hold for a message are asked at the same time, when it has arrived whole and before it is answered.
    """

    name: Label = Field(description="Unique among the content hooks of the organization.")
    enabled: Switch = Field(default=True, description="A disabled hook is not asked.")
    mode: Mode = Field(
        default=Mode.ENFORCE,
        description="rehearse: the scanner is asked and its answer recorded, but the message passes as it is.",
    )
    type: HookType = Field(description="rspamd: over HTTP (/checkv2). clamav: clamd, by INSTREAM.")
    address: Annotated[
        str,
        AfterValidator(_address),
        Form('"http://HOST:PORT", "https://…", "HOST:PORT" or "unix:/path"'),
        Owned(lambda value: Access.MACHINE if value.startswith("unix:") else Access.NETWORK, "a host and its port"),
    ] = Field(
        description='Where it listens. rspamd: the URL of a normal worker, "http://127.0.0.1:11333". clamav: clamd\'s '
        'TCPSocket, "127.0.0.1:3310", or its LocalSocket, "unix:/run/clamav/clamd.ctl", which the gateway\'s owner '
        "alone may name."
    )
    direction: HookDirection = Field(
        default=HookDirection.BOTH,
        description="inbound: mail from others to the organization. outbound: mail that its own servers and users "
        "bring, whoever it is for.",
    )
    timeout: Annotated[Duration, Range(1, 300, format_duration)] = Field(
        default=30.0,
        description="How long the answer may take in all, waiting for a free connection included. The client waits "
        "meanwhile; many give up after five or ten minutes.",
    )
    on_failure: HookFailure = Field(
        default=HookFailure.DEFER,
        description="When there is no usable answer in time. defer: the sender is told to try again (451). accept: the "
        "message passes unexamined, and the trace says so.",
    )
    max_size: Annotated[Size, Range(1024, 1 << 32, format_size)] = Field(
        default=100 << 20, description="Larger messages are not given to the scanner; not above what it takes itself."
    )
    over_max_size: OverMaxSize = Field(
        default=OverMaxSize.REFUSE,
        description="What becomes of those. refuse: 552. accept: they pass unexamined, and the trace says so.",
    )
    obey: tuple[ScanAction, ...] = Field(
        default=(ScanAction.REJECT, ScanAction.SOFT_REJECT, ScanAction.REWRITE_SUBJECT, ScanAction.ADD_HEADER),
        description="rspamd: its actions that are carried out; others are recorded only. reject: 554. soft-reject, "
        "greylist: 451. rewrite-subject, add-header: the message is changed so.",
    )
    change_header: Switch = Field(
        default=True,
        description="rspamd: fields that it wants added or removed (milter headers, DKIM signatures) are.",
    )
    settings_id: Text = Field(default="", description="rspamd: the settings to apply, by their id.")
    trust_anchors: TrustAnchorsText = Field(
        default="",
        description='Roots for the certificate of an https address: "system", certificates in PEM, or a file or a '
        "directory, which the gateway's owner alone may name. Empty: the system's.",
    )
    connections: Annotated[Whole, Range(1, 256)] = Field(
        default=8, description="How many messages each worker may have examined there at a time; others wait."
    )
    comment: Text = Field(default="", description="For people; no effect.")


def scanner_host(address: str) -> str:
    """The host of a hook's address, or the path of its socket: what `names.is_this_machine` takes."""
    if address.startswith("unix:"):
        return address.removeprefix("unix:")
    if "://" in address:
        return urlsplit(address).hostname or ""
    return host_port(address, _CLAMAV_PORT)[0]
