"""The resource `dkim_key`: whose mail the key signs, and its state in the rotation.

A part of `policy.connectors.records`, in a module of its own. Rules across keys, and which of them sign what, are in
`policy.connectors.signing_keys`; the private keys are in `pki.certificates.dkim_keys`.
"""

from __future__ import annotations

import binascii
from typing import Annotated

from pydantic import AfterValidator, Field

from gatepost.policy.connectors.fields import Access, FilePath, Form, Owned, Record, Text
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
        description="Where the key is published. The domain is an accepted domain of the organization, or below one; "
        "mail is signed whose From field names it or a domain below it."
    )
    algorithm: DkimAlgorithm = Field(default=DkimAlgorithm.RSA_SHA256, description="With what it signs.")
    state: DkimState = Field(
        default=DkimState.NEXT,
        description="next: published, and not used yet. current: signs. retired: signs no more; its record stays until "
        "the mail it signed has arrived everywhere, a week or so.",
    )
    service_type: DkimService = Field(
        default=DkimService.ALL,
        description="*: signs all mail. tlsrpt: signs TLS reports only (RFC 8460 section 3), and its record says so.",
    )
    public_key: Annotated[str, AfterValidator(_public_key), Field(max_length=4096), Form("base64")] = Field(
        default="", description="As the record has it behind p=. A private key that is not its counterpart is not used."
    )
    key_file: Annotated[
        FilePath, Owned(lambda value: Access.MACHINE if value else None, "have the key sealed: gatepost dkim add")
    ] = Field(
        default="",
        description="File with the private key, PEM, mode 0600, which the gateway's owner alone may name. Empty: it is "
        "sealed in the store.",
    )
    comment: Text = Field(default="", description="For people; no effect.")

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
