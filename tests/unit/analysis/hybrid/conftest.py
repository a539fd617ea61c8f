"""A hybrid pair that is complete, of which a test takes something away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatepost.analysis.hybrid.given import Given
from gatepost.policy.connectors.model import parse
from gatepost.protocols.tls.facts import CertificateFacts
from gatepost.values import replace

Leaf = Callable[..., CertificateFacts]

INBOUND: dict[str, Any] = {
    "name": "from hq",
    "connector_type": "on-premises",
    "tls_sender_certificate_name": "*.contoso.example",
    "require_tls": True,
    "cloud_services_mail_enabled": True,
}
OUTBOUND: dict[str, Any] = {
    "name": "to hq",
    "connector_type": "on-premises",
    "all_accepted_domains": True,
    "smart_hosts": ["ex1.contoso.example"],
    "tls_settings": "domain-validation",
    "tls_domain": "ex1.contoso.example",
    "client_certificate": {"label": "hybrid"},
    "cloud_services_mail_enabled": True,
}
DOMAINS = [{"name": "contoso.example", "type": "internal-relay"}]


@pytest.fixture
def given(leaf: Leaf) -> Callable[..., Given]:
    """given(inbound={"mode": "rehearse"}, outbound=None, hostname="…"): changes to connectors, and fields of Given.

    A connector that is None is not there; domains, mailboxes and others: further resources.
    """

    def build(
        inbound: dict[str, Any] | None = {},  # noqa: B006 - only read
        outbound: dict[str, Any] | None = {},  # noqa: B006 - only read
        accepted: list[dict[str, Any]] = DOMAINS,
        mailboxes: list[dict[str, Any]] = [],  # noqa: B006 - only read
        others: dict[str, list[dict[str, Any]]] | None = None,
        **fields: Any,
    ) -> Given:
        others = others or {}
        own = {
            "accepted_domain": accepted,
            "mailbox": mailboxes,
            "inbound_connector": others.get("inbound", []) + ([] if inbound is None else [INBOUND | inbound]),
            "outbound_connector": others.get("outbound", []) + ([] if outbound is None else [OUTBOUND | outbound]),
        }
        gateway = leaf("mx1.contoso.example")
        complete = Given(
            parse({"organization": {"contoso": own}}).organizations[0],
            "mx1.contoso.example",
            "ex1.contoso.example",
            ["contoso.example"],
            server=[gateway],
            clients={"hybrid": gateway},
            now=1.0,
        )
        return replace(complete, **fields)

    return build
