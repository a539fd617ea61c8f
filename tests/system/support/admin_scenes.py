"""Gateways with an admin centre, for tests that look at its pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from support.admin import AdminCentre, running
from support.scenes import ALICE, OWN_SERVERS, connector, contoso, send

from gatepost.testing.pki import Pki
from gatepost.testing.sink import Sink


@contextmanager
def centre_with_waiting_mail(pki: Pki) -> Iterator[AdminCentre]:
    """A message waits, with a reason of ours: the partner's certificate has another name."""
    with ExitStack() as stack:
        partner = stack.enter_context(Sink(certificate=pki.leaf("mx.other.example")))
        strict = {"tls_settings": "domain-validation", "tls_domain": "mx.bank.example"}
        bank = connector("bank.example", partner.address, **strict) | {"name": "bank"}

        resources = contoso(inbound=[OWN_SERVERS], outbound=[bank])
        made = stack.enter_context(running(resources, certificates=[pki.leaf("mx1.contoso.example")]))
        send(made.gateway.port, "teller@bank.example", sender=ALICE)
        yield made
