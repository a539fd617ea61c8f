"""The table `client_certificate` of an outbound connector.

A part of `policy.connectors.records`, in a module of its own.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gatepost.policy.connectors.fields import Access, ClientLabel, FilePath, Owned
from gatepost.policy.connectors.record_base import Record

IdentityFile = Annotated[
    FilePath,
    Owned(
        lambda value: Access.MACHINE if value else None, "write the label of a client certificate of the organization"
    ),
]


class ClientCertificate(Record):
    """The certificate that the gateway presents to a next hop that asks for one: a label, or two files."""

    label: ClientLabel = Field(
        default="",
        description="Label of a client certificate of this organization, as `gatepost certificate list` shows it. The "
        "gateway presents the current certificate with this label; if there is none, mail waits.",
    )
    chain: IdentityFile = Field(
        default="",
        description="File with the certificate and its intermediates, PEM, leaf first. Cannot be combined with label. "
        "Only the gateway's owner can name it.",
    )
    key: IdentityFile = Field(
        default="",
        description="File with the private key, PEM, mode 0600. Cannot be combined with label. Only the gateway's "
        "owner can name it.",
    )
