"""Open the store for the `smime` commands, find an organization and an owner, and show certificates."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.manage.cli.options import BAD_INPUT, UNKNOWN, fail
from gatepost.manage.cli.output import _, ours, printable, quantity
from gatepost.manage.use_cases.gateway import Gateway
from gatepost.manage.use_cases.name_lookup import choose_organization
from gatepost.manage.use_cases.sealed_store import store_and_vault
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.net.certificate import certificate_facts
from gatepost.pki.smime.certificate import addresses, bears, owner_of
from gatepost.pki.smime.store import NotAdded, SmimeStore, SmimeStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography import x509

    from gatepost.settings.model import Settings


_SOON = timedelta(days=30).total_seconds()


@contextmanager
def opened(settings: Settings, *, keys: bool = False) -> Iterator[SmimeStore]:
    """The store of a data directory; ends the command, with what to do, if something of it cannot be used.

    keys: whether the master key is wanted, which not everybody may read who may look.
    """
    try:
        with store_and_vault(Gateway(settings), keys=keys) as (store, vault):
            yield SmimeStore(store, vault)
    except NotAdded as error:
        fail(BAD_INPUT, printable(error))
    except SmimeStoreError as error:
        fail(UNKNOWN, printable(error))


def organization_of(settings: Settings, name: str) -> str:
    """The organization that is named, or the only one there is; ends the command if there is no single one."""
    resources = Gateway(settings).directory().resources
    if name:
        return choose_organization(resources, name).name
    names = [organization.name for organization in resources.organizations]
    if len(names) != 1:
        fail(
            BAD_INPUT,
            "--organization is needed: there are %(names)s",
            names=", ".join(names) or (_("none; add one with gatepost apply")),
        )
    return names[0]


def owner_given(text: str) -> str:
    """The address or domain that a person wrote; ends the command if it is neither."""
    try:
        return owner_of(text)
    except ValueError as error:
        fail(BAD_INPUT, "%(error)s; write an address, or the domain whose gateway decrypts", error=printable(error))


def reason_against(certificate: x509.Certificate, owner: str, unfit: str) -> str:
    """Why a certificate is not one of an owner: that it names others, and why it is unfit. "" if it is one."""
    if bears(certificate, owner):
        return unfit
    names = ", ".join(addresses(certificate)) or _("no address")
    more = _("; and %(why)s", why=ours(unfit)) if unfit else ""
    return _("does not name %(owner)s, but %(names)s", owner=owner, names=names) + more


def soon(certificate: x509.Certificate, unfit: str) -> str:
    """State of a certificate, in a few words."""
    if unfit:
        return unfit
    left = certificate.not_valid_after_utc.timestamp() - time.time()
    return _("expires in %(days)s", days=quantity(int(left // 86400), "day")) if left < _SOON else "usable"


def view(certificate: x509.Certificate, unfit: str) -> dict[str, Any]:
    """A certificate for machines; `usable` is now."""
    facts = certificate_facts(certificate.public_bytes(Encoding.DER))
    return {
        "sha256": facts.sha256,
        "subject": facts.subject,
        "issuer": facts.issuer,
        "serial": facts.serial,
        "addresses": list(addresses(certificate)),
        "dns_names": list(facts.dns_names),
        "key": facts.key,
        "not_before": moment(facts.not_before),
        "not_after": moment(facts.not_after),
        "usable": not unfit,
        "why": unfit,
    }
