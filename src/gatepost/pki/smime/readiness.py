"""Check whether mail to a recipient can be encrypted now: to which certificates, or why not and what to do.

Asked by `mail.outbound.smime` for every message, and by `gatepost explain` before one comes.
"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

import msgspec

from gatepost.pki.smime.certificate import fit, owner_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from gatepost.pki.smime.store import SmimeStore


class Readiness(msgspec.Struct, frozen=True):
    """The certificates for a recipient.

    owner: the recipient or its domain, "" if there are no certificates. missing: why there is no usable one, and the
    command that adds one; "" if there is one.
    """

    address: str
    owner: str
    certificates: tuple[x509.Certificate, ...]
    missing: str = ""


def readiness(store: SmimeStore, organization: str, recipient: str, now: float) -> Readiness:
    """now: seconds since 1970. Raises SmimeStoreError."""
    try:
        address = owner_of(recipient)
    except ValueError as error:
        return Readiness(recipient, "", (), str(error))
    owner, kept = store.certificates_for(organization, address)
    good, bad = fit(kept, now)
    if good:
        return Readiness(address, owner, tuple(good))
    why = f"of those kept for {owner}: {', '.join(bad)}" if bad else f"there is no certificate for {address}"
    command = f"gatepost smime recipient add {quote(owner or address)} FILE --organization {organization}"
    return Readiness(address, owner, (), f"{why}; add one: {command}")


def readiness_of_all(store: SmimeStore, organizations: Sequence[str], recipient: str, now: float) -> Readiness:
    """The certificates that several organizations which demand encryption have for a recipient: all of them.

    It is missing if one of them has none: another's certificate is not its own. organizations: at least one. Otherwise
    as in `readiness`.
    """
    states = [readiness(store, organization, recipient, now) for organization in organizations]
    lacking = next((candidate for candidate in states if candidate.missing), None)
    if lacking is not None or len(states) == 1:
        return lacking or states[0]
    certificates = dict.fromkeys(certificate for state in states for certificate in state.certificates)
    return Readiness(states[0].address, states[0].owner, tuple(certificates))
