"""A certificate comes into the inventory of another gateway, over a connection whose other end is known.

With its key, if that does not wait there since a request: REST takes what the upload of the admin centre takes. Files
of that gateway cannot be named from afar, since whoever has a token could then read its files by the errors.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final

from gatepost.manage.remote.certificates import entry_of
from gatepost.manage.use_cases.certificate_intake import Taken
from gatepost.manage.use_cases.refusal import Kind, Refusal

if TYPE_CHECKING:
    from gatepost.manage.remote.connection import Connection
    from gatepost.manage.use_cases.certificate_intake import NewCertificate


_MOST: Final = 140_000  # octets of chain and key, which the interface takes as base64


def add_certificate(connection: Connection, new: NewCertificate, *, dry_run: bool = False) -> Taken:
    """As `manage.use_cases.certificate_intake.add_certificate`, but for files that are to stay where they are."""
    if new.files:
        raise Refusal(Kind.INPUT, "--leave-key names files of the gateway's machine: add it there")
    for content, source in ((new.content, new.source), (new.key, new.key_source)):
        if len(content) > _MOST:
            raise Refusal(Kind.INPUT, f"{source}: has more than {_MOST} bytes: no certificate is so large")
    body = {
        "chain": b64encode(new.content).decode(),
        "key": b64encode(new.key).decode(),
        "encoding": "base64",
        "password": (new.password or b"").decode(errors="replace"),
        "client": new.client,
        "organization": new.organization,
        "label": new.label,
        "current": new.current,
        "note": new.note,
    }
    try:
        found = connection.call("POST", "/certificates", query={"dry_run": dry_run}, body=body).value
    except Refusal as refusal:
        text = _by_file(refusal.text, new)
        raise Refusal(refusal.kind, text, refusal.errors, options=refusal.options) from refusal
    entry, *deprecated = map(entry_of, found["certificates"])
    return Taken(entry, tuple(deprecated), tuple(found["notes"]), tuple(found["warnings"]))


def _by_file(text: str, new: NewCertificate) -> str:
    """What is said of the two things, by the names of the files that they came from."""
    for name, source in (("chain", new.source), ("key", new.key_source)):
        if source and text.startswith(f"{name}: "):
            return source + text.removeprefix(name)
    return text
