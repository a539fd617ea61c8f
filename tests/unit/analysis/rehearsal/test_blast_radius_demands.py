from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.analysis.rehearsal.blast_radius import inbound_change, outbound_change
from gatepost.policy.connectors.records import InboundConnector
from gatepost.policy.connectors.values import Cleartext, ProfileName, RevocationCheck
from gatepost.policy.decisions.requirement import Authenticated, Encrypted, Identity, Opportunistic, Requirement, Source
from gatepost.protocols.tls.limits import limited

QUANTUM, CURVES = limited(post_quantum=True), limited(groups=["P-256"])
OPPORTUNISTIC = Opportunistic(())
ENCRYPTED = Encrypted(())
CHAIN = Authenticated((), (Identity(()),))
NAMED = Authenticated((), (Identity(("mx.b.example",)),))

# the second against the first
OUTBOUND: list[tuple[Requirement | None, Requirement | None, str]] = [
    (OPPORTUNISTIC, ENCRYPTED, "stronger"),
    (ENCRYPTED, CHAIN, "stronger"),
    (CHAIN, NAMED, "stronger"),
    (ENCRYPTED, NAMED, "stronger"),
    (NAMED, Authenticated((), (Identity(("mx.b.example",)), Identity(("x",)))), "other"),
    (NAMED, Authenticated((), (Identity(("other.example",)),)), "other"),
    (NAMED, Authenticated((), (Identity(("mx.b.example",), "/x.pem"),)), "other"),
    (NAMED, Authenticated((), (Identity(("mx.b.example",)),), revocation=RevocationCheck.HARD_FAIL), "stronger"),
    (NAMED, Authenticated((), (Identity(("mx.b.example",)),), revocation=RevocationCheck.NONE), "weaker"),
    (OPPORTUNISTIC, Opportunistic((), Cleartext.AFTER_FAILED_HANDSHAKE), "weaker"),
    (ENCRYPTED, Encrypted((), min_version="TLSv1.3"), "stronger"),
    (ENCRYPTED, Encrypted((), "modern"), "stronger"),
    (ENCRYPTED, Encrypted((), limits=QUANTUM), "stronger"),
    (ENCRYPTED, Encrypted((), limits=CURVES), "stronger"),
    (Encrypted((), limits=limited(groups=["P-256", "P-384"])), Encrypted((), limits=CURVES), "stronger"),
    (Encrypted((), limits=QUANTUM), Encrypted((), limits=CURVES), "other"),
    (NAMED, Authenticated((), NAMED.proofs, limits=limited(suites=["TLS_AES_256_GCM_SHA384"])), "stronger"),
    (Encrypted((), limits=QUANTUM), Authenticated((), NAMED.proofs), "other"),
    (ENCRYPTED, Encrypted((), "legacy", "TLSv1.3"), "other"),
    (ENCRYPTED, Encrypted((Source("rule", "r"),)), ""),
    (None, None, ""),
    (None, ENCRYPTED, "other"),
    (OPPORTUNISTIC, None, "other"),
]
OPPOSITE = {"stronger": "weaker", "weaker": "stronger", "other": "other", "": ""}


@pytest.mark.parametrize(("before", "after", "change"), OUTBOUND)
def test_demands_on_the_next_hop(before: Requirement | None, after: Requirement | None, change: str) -> None:
    assert outbound_change(before, after) == change
    assert outbound_change(after, before) == OPPOSITE[change]


profiles, versions = st.sampled_from([str(one) for one in ProfileName]), st.sampled_from(["", "TLSv1.2", "TLSv1.3"])
requirements = st.one_of(
    st.builds(Opportunistic, st.just(()), st.sampled_from(list(Cleartext)), profiles),
    st.builds(Encrypted, st.just(()), profiles, versions),
    st.builds(Authenticated, st.just(()), st.sampled_from([(Identity(()),), (Identity(("a",)),)]), profiles, versions,
              st.sampled_from(list(RevocationCheck))),
)  # fmt: skip


@given(requirements, requirements)
def test_what_is_stronger_one_way_is_weaker_the_other(one: Requirement, other: Requirement) -> None:
    assert outbound_change(other, one) == OPPOSITE[outbound_change(one, other)]
    assert outbound_change(one, one) == ""


def partner(**fields: Any) -> InboundConnector:
    return InboundConnector.model_validate({"name": "b", "sender_domains": ["*"], **fields})


BOUND = {"restrict_domains_to_certificate": True, "tls_sender_certificate_name": "mail.b.example"}
PLACED = {"restrict_domains_to_ip_addresses": True, "sender_ip_addresses": ["192.0.2.1"]}
OWN = {"connector_type": "on-premises", "sender_domains": []}
INBOUND: list[tuple[InboundConnector | None, InboundConnector | None, str]] = [
    (None, None, ""),
    (None, partner(), "stronger"),
    (None, partner(mode="rehearse"), ""),
    (None, partner(require_tls=False), ""),
    (partner(), partner(**BOUND), "stronger"),
    (partner(require_tls=False, **BOUND), partner(**BOUND), ""),
    (partner(), partner(**PLACED), "stronger"),
    (partner(**BOUND), partner(**PLACED), "other"),
    (partner(**BOUND), partner(**BOUND | {"tls_sender_certificate_name": "x.example"}), "other"),
    (partner(**BOUND), partner(**BOUND, trust_anchors="/x.pem"), "other"),
    (partner(**PLACED), partner(**PLACED | {"sender_ip_addresses": ["192.0.2.0/24"]}), "other"),
    (partner(**PLACED), partner(sender_ip_addresses=["192.0.2.1"]), "weaker"),
    (partner(), partner(min_tls_version="TLSv1.3"), "stronger"),
    (partner(), partner(profile="modern"), "stronger"),
    (partner(), partner(min_key_exchange="post-quantum"), "stronger"),
    (partner(groups=["P-256"]), partner(groups=["P-384"]), "other"),
    (partner(groups=["P-256"]), partner(groups=["P-384", "P-256"]), "weaker"),
    (partner(**BOUND), partner(**BOUND, revocation_check="hard-fail"), "stronger"),
    (partner(), partner(revocation_check="hard-fail"), ""),
    (partner(), partner(comment="x"), ""),
    (partner(**OWN), partner(**OWN, **BOUND), ""),
]


@pytest.mark.parametrize(("before", "after", "change"), INBOUND)
def test_demands_on_senders(before: InboundConnector | None, after: InboundConnector | None, change: str) -> None:
    assert inbound_change(before, after) == change
    assert inbound_change(after, before) == OPPOSITE[change]
