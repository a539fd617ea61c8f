"""The resource `dkim_key`: whose mail the key signs, and its state in the rotation.

A part of `policy.connectors.records`, in a module of its own. Rules across keys, and which of them sign what, are in
`policy.connectors.signing_keys`; the private keys are in `pki.certificates.dkim_keys`.
"""

from __future__ import annotations

import binascii
from typing import Annotated

from pydantic import AfterValidator, Field

from gatepost.policy.connectors.fields import Access, FilePath, Form, Owned, Text
from gatepost.policy.connectors.record_base import Record
from gatepost.policy.connectors.values import DkimAlgorithm, DkimService, DkimState
from gatepost.protocols.dkim.record import BETWEEN, KEY_TYPES, KeyRecord, key_name, split_key_name


def _key_name(value: str) -> str:
    return key_name(*split_key_name(value))


def _public_key(value: str) -> str:
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        raise ValueError("this is not base64: write the text after p= in the record, without blanks") from None
    return value


class DkimKey(Record):
    """A key that signs mail of the organization's own domains as it leaves (DKIM, RFC 6376).

    All current keys of a domain sign, one of each algorithm. Where there is a key_file the private key is there;
    otherwise it is sealed in the gateway's store, by `gatepost dkim add`, and never part of a resource.
    """

    name: Annotated[str, AfterValidator(_key_name), Form("SELECTOR._domainkey.DOMAIN")] = Field(
        description="Name of the key's DNS record. The domain must be an accepted domain of the organization or a "
        "subdomain of one. The gateway signs mail whose From field names this domain or a subdomain."
    )
    algorithm: DkimAlgorithm = Field(default=DkimAlgorithm.RSA_SHA256, description="Signature algorithm.")
    state: DkimState = Field(
        default=DkimState.NEXT,
        description="next: published, but not yet used. current: used to sign. retired: no longer used; keep its "
        "record for about a week, until all mail signed with it has arrived.",
    )
    service_type: DkimService = Field(
        default=DkimService.ALL,
        description="*: sign all mail. tlsrpt: sign only TLS reports (RFC 8460 section 3); the record says so.",
    )
    public_key: Annotated[str, AfterValidator(_public_key), Field(max_length=4096), Form("base64")] = Field(
        default="",
        description="The value of p= in the record. The gateway does not use a private key that does not match it.",
    )
    key_file: Annotated[
        FilePath, Owned(lambda value: Access.MACHINE if value else None, "have the key sealed: gatepost dkim add")
    ] = Field(
        default="",
        description="File with the private key, PEM, mode 0600. Only the gateway's owner can name it. Empty: the "
        "private key is encrypted in the store.",
    )
    comment: Text = Field(default="", description="A note without effect.")

    @property
    def selector(self) -> str:
        """The selector, which tells the keys of a domain apart (RFC 6376 section 3.1)."""
        return self.name.partition(BETWEEN)[0]

    @property
    def domain(self) -> str:
        """The domain whose mail the key signs."""
        return self.name.partition(BETWEEN)[2]

    @property
    def record(self) -> KeyRecord:
        """The DNS record to publish; its public key is "" if the resource does not have it."""
        return KeyRecord(self.public_key, KEY_TYPES[self.algorithm], (str(self.service_type),))
