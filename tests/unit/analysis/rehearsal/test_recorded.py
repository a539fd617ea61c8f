from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.analysis.rehearsal.recorded import hop_facts, session_facts
from gatepost.decoding import from_json
from gatepost.events.trace import tls_record
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.requirement import MxLevel
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, TlsFacts
from gatepost.values import replace

LEAF = CertificateFacts(
    "CN=Mail of B,O=B", "CN=CA", "0a", "Mail of B", ("mail.b.example",), ("192.0.2.7",), "aa", "bb", "", 1.0, 2.0, "RSA"
)
CLEAR = TraceEvent(0.0, "RECEIVE", "1a", "contoso", "incoming", "s1", "", "ann@contoso.example", peer_address="::1")


def through_json(record: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = from_json(msgspec.json.encode(record))
    return found


chains = st.builds(
    ChainVerdict,
    st.sampled_from(ChainStatus),
    st.text(),
    st.sampled_from([LEAF, replace(LEAF, ip_addresses=(), subject="CN=x", common_name="x"), None]),
)


@given(
    st.one_of(st.none(), st.builds(TlsFacts, *[st.text()] * 4, st.booleans(), st.text())),
    st.one_of(st.none(), chains),
    st.dictionaries(st.text(), chains),
)
def test_the_facts_of_a_session_come_back_out_of_its_record(
    tls: TlsFacts | None, own: ChainVerdict | None, others: dict[str, ChainVerdict]
) -> None:
    leaf = own.leaf if own else None
    others = {name: replace(one, leaf=leaf) for name, one in others.items()}
    record = through_json(tls_record(tls, own, others))
    found = session_facts(msgspec.structs.replace(CLEAR, tls=record, peer_host="hello"))
    if tls is None:
        assert found == SessionFacts("s1", "::1", "hello")
    else:
        assert found == SessionFacts("s1", "::1", "hello", tls, own, others)


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("CN=last,CN=first,O=x", "last"),
        ("O=x+CN=y", "y"),
        (r"O=a\,CN=b", ""),
        (r"CN=a\, b\\,O=x", r"a, b\ ".strip()),
        ("O=x,OU=CNN", ""),
        ("", ""),
        ("CN=", ""),
    ],
)
def test_the_common_name_is_read_out_of_the_subject(subject: str, name: str) -> None:
    record = {"version": "TLSv1.3", "chain": "trusted", "certificate": {"subject": subject}}
    chain = session_facts(msgspec.structs.replace(CLEAR, tls=record)).client_chain
    assert chain is not None
    assert chain.leaf is not None
    assert chain.leaf.common_name == name


def test_a_status_of_a_newer_version_is_not_trusted() -> None:
    chain = session_facts(msgspec.structs.replace(CLEAR, tls={"version": "x", "chain": "quantum-broken"})).client_chain
    assert chain == ChainVerdict(ChainStatus.INVALID, "", None)


HOP = msgspec.structs.replace(CLEAR, event="SEND", peer_host="mx.b.example", peer_address="192.0.2.1:25")
TLS = {"version": "TLSv1.3", "suite": "s", "group": "g", "signature": "", "resumed": False, "server_name": ""}
FACTS = HopFacts(
    "mx.b.example", "192.0.2.1:25", starttls_offered=True, tls=TlsFacts("TLSv1.3", "s", "g", "", False, "")
)


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"tls": TLS}, FACTS),
        ({"tls": TLS, "achieved": "dnssec/encrypted"}, replace(FACTS, mx=MxLevel.DNSSEC)),
        ({"tls": TLS, "achieved": "mta-sts/encrypted"}, replace(FACTS, mx=MxLevel.MTA_STS)),
        ({"detail": {"starttls_offered": False}}, replace(FACTS, tls=None, starttls_offered=False)),
        (
            {"event": "DEFER", "detail": {"starttls_offered": True, "handshake_error": "alert"}},
            replace(FACTS, tls=None, handshake_error="alert"),
        ),
        ({"event": "DEFER", "detail": {"tries": []}}, None),
        ({"event": "DELIVER", "detail": {"mailbox": "ann"}}, None),
        ({"event": "RECEIVE", "tls": TLS}, None),
        ({"event": "HOLD", "tls": TLS}, None),
    ],
)
def test_a_hop_is_known_as_far_as_it_was_seen(fields: dict[str, Any], facts: HopFacts | None) -> None:
    assert hop_facts(msgspec.structs.replace(HOP, **fields)) == facts
