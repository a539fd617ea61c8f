"""The facts of an outbound connection, beside what all unit tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatepost.policy.decisions.facts import HopFacts
from gatepost.protocols.tls.facts import ChainVerdict, TlsFacts


@pytest.fixture
def hop(tls: TlsFacts, chain: Callable[..., ChainVerdict]) -> Callable[..., HopFacts]:
    """A connection under TLS with a certificate trusted for mail.b.example; `tls=None` and such override."""

    def build(**fields: Any) -> HopFacts:
        happy = {"starttls_offered": True, "tls": tls, "chain": chain("mail.b.example")}
        return HopFacts("mail.b.example", "192.0.2.1:25", **{**happy, **fields})

    return build
