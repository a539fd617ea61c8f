"""Content hooks: the fields of one. A part of `policy.connectors.records`; no scanner is asked here.

Which are asked about which mail is in `policy.connectors.hook_index`.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from gatepost.policy.connectors import fields
from gatepost.policy.connectors.names import host_port, socket_path
from gatepost.policy.connectors.record_base import Record
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
    """A scanner (rspamd or ClamAV) that checks the content of a message before the gateway accepts it.

    All hooks for a message run at the same time, after its content has arrived and before the gateway answers.
    """

    name: fields.Label = Field(description="A name that is unique among the content hooks of the organization.")
    enabled: fields.Switch = Field(default=True, description="The gateway does not use a disabled hook.")
    mode: Mode = Field(
        default=Mode.ENFORCE,
        description="rehearse: the gateway records the scanner's verdict, but does not act on it.",
    )
    type: HookType = Field(description="rspamd: over HTTP (/checkv2). clamav: clamd, with INSTREAM.")
    address: Annotated[
        str,
        AfterValidator(_address),
        fields.Form('"http://HOST:PORT", "https://…", "HOST:PORT" or "unix:/path"'),
        fields.Owned(
            lambda value: fields.Access.MACHINE if value.startswith("unix:") else fields.Access.NETWORK,
            "a host and its port",
        ),
    ] = Field(
        description='The scanner\'s address. rspamd: the URL of a normal worker, "http://127.0.0.1:11333". clamav: '
        'clamd\'s TCPSocket, "127.0.0.1:3310", or its LocalSocket, "unix:/run/clamav/clamd.ctl". Only the '
        "gateway's owner can name a socket."
    )
    direction: HookDirection = Field(
        default=HookDirection.BOTH,
        description="inbound: mail from others to the organization. outbound: mail that the organization's own "
        "servers and users send, to any recipient.",
    )
    timeout: Annotated[fields.Duration, fields.Range(1, 300, format_duration)] = Field(
        default=30.0,
        description="Time limit for the verdict, including the wait for a free connection. The sending client waits "
        "meanwhile; many give up after five or ten minutes.",
    )
    on_failure: HookFailure = Field(
        default=HookFailure.DEFER,
        description="What to do when there is no usable verdict in time. defer: ask the sender to try again (451). "
        "accept: accept the message unscanned, and record that in the trace.",
    )
    max_size: Annotated[fields.Size, fields.Range(1024, 1 << 32, format_size)] = Field(
        default=100 << 20,
        description="Do not pass larger messages to the scanner. Do not set it higher than the scanner's own limit.",
    )
    over_max_size: OverMaxSize = Field(
        default=OverMaxSize.REFUSE,
        description="What to do with larger messages. refuse: refuse them (552). accept: accept them unscanned, and "
        "record that in the trace.",
    )
    obey: tuple[ScanAction, ...] = Field(
        default=(ScanAction.REJECT, ScanAction.SOFT_REJECT, ScanAction.REWRITE_SUBJECT, ScanAction.ADD_HEADER),
        description="rspamd: actions to carry out; others are only recorded. reject: 554. soft-reject, greylist: 451. "
        "rewrite-subject, add-header: change the message.",
    )
    quarantine: tuple[ScanAction, ...] = Field(
        default=(),
        description="Actions for which the gateway accepts the message and holds it in the organization's quarantine "
        '(docs/quarantine.md), whatever obey says. For example ["reject", "add-header"]. clamav: "reject" stands for '
        "whatever it finds.",
    )
    change_header: fields.Switch = Field(
        default=True,
        description="rspamd: add and remove header fields as the scanner requests (milter headers, DKIM signatures).",
    )
    settings_id: fields.Text = Field(default="", description="rspamd: ID of the settings to apply.")
    trust_anchors: fields.TrustAnchorsText = Field(
        default="",
        description='Roots for the certificate of an https address: "system", certificates in PEM, or a file or '
        "directory. Only the gateway's owner can name a file or directory. Empty: the system's roots.",
    )
    connections: Annotated[fields.Whole, fields.Range(1, 256)] = Field(
        default=8, description="How many messages each worker may scan there at the same time; others wait."
    )
    comment: fields.Text = Field(default="", description="A note without effect.")


def scanner_host(address: str) -> str:
    """The host of a hook's address, or the path of its socket: what `names.is_this_machine` takes."""
    if address.startswith("unix:"):
        return address.removeprefix("unix:")
    if "://" in address:
        return urlsplit(address).hostname or ""
    return host_port(address, _CLAMAV_PORT)[0]
