"""Requests for certificates (PKCS#10): a key that waits, sealed, and what is sent to the authority."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gatepost.manage.use_cases.inventory import check_client, inventory_of
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.pki.certificates.entry import Purpose
from gatepost.pki.certificates.request import KEY_TYPES, Request, Wish, made_request, request_id
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.names import domain_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway


def checked_wish(gateway: Gateway, wish: Wish) -> Wish:
    """The wish with its names as they are written (A-labels, each once). Raises Refusal (INPUT, MISSING)."""
    if wish.key not in KEY_TYPES:
        wrong = f"must be one of {', '.join(KEY_TYPES)}"
        raise Refusal(Kind.INPUT, f"kind of key {wish.key!r}: {wrong}", [FieldError("key", wrong)])
    check_client(gateway, wish.purpose, wish.organization, wish.label)
    names = _checked(wish.names, wish.purpose)
    return Wish(names, wish.key, wish.purpose, wish.organization, wish.label, must_staple=wish.must_staple)


def request_certificate(
    gateway: Gateway, who: Principal, wish: Wish, *, dry_run: bool = False
) -> tuple[Request, bytes]:
    """Make a key, which waits in the store sealed, and the request for its certificate (PEM).

    dry_run: all but the keeping. Raises Refusal: INPUT, too, where no master key is set, so that nothing can be sealed.
    """
    wanted = checked_wish(gateway, wish)
    with inventory_of(gateway) as inventory:
        if not inventory.seals:
            text = (
                "no store.master_key is set in the settings, so that no key can be kept here; set one, or have the "
                "request made on the gateway, with its key left in a file (gatepost certificate request)"
            )
            raise Refusal(Kind.INPUT, text)
        csr, key = made_request(wanted)
        if dry_run:
            return Request(request_id(csr), wanted, time.time()), csr
        return inventory.requests.add(wanted, csr, key, author=who.name, now=time.time()), csr


def _checked(names: Sequence[str], purpose: Purpose) -> tuple[str, ...]:
    if not names and purpose is Purpose.SERVER:
        wrong = "is needed: the host names that the certificate is to bear, such as that of the MX"
        raise Refusal(Kind.INPUT, f"a name {wrong}", [FieldError("names", wrong)], options=["name"])
    try:
        return tuple(dict.fromkeys(domain_pattern(name, every=False) for name in names))
    except ValueError as error:
        raise Refusal(Kind.INPUT, f"name: {error}", [FieldError("names", str(error))]) from error
