from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gatepost.connectors.facts import SessionFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.tls.facts import ChainVerdict


def test_a_chain_is_found_by_the_anchors_it_was_judged_against(chain: Callable[..., ChainVerdict]) -> None:
    own, other = chain("a.example"), chain("a.example", status="untrusted-root")
    facts = SessionFacts("s1", "192.0.2.1", client_chain=own, chains={"/etc/partner.pem": other})
    assert facts.chain("") is own
    assert facts.chain("/etc/partner.pem") is other
    assert facts.chain("/etc/else.pem") is None


def test_facts_cannot_be_changed_and_are_hashable() -> None:
    facts = SessionFacts("s1", "192.0.2.1")
    with pytest.raises(AttributeError):
        facts.peer_ip = "192.0.2.2"  # type: ignore[misc]
    assert hash(facts) == hash(SessionFacts("s1", "192.0.2.1"))
