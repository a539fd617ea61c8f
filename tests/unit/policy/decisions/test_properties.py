"""What holds of every decision on inbound mail, whatever the configuration: exchange.md section 5 as properties."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.inbound import decide_mail, decide_recipient
from gatepost.protocols.smtp.grammar import parse_path
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, TlsFacts
from gatepost.values import replace

TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519", "", resumed=False, server_name="")
NAMES = ["mx.o.example", "mx.gw.test", "mx.any.test"]
ADDRESSES = ["192.0.2.7", "203.0.113.9"]
SENDERS = ["", "x@o.example", "x@friend.test", "x@sub.friend.test", "x@any.test"]
RECIPIENTS = ["a@o.example", "a@second.example", "y@internet.test"]

modes = st.sampled_from(["enforce", "rehearse"])


@st.composite
def partners(draw: st.DrawFn) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "sender_domains": [draw(st.sampled_from(["*", "friend.test", "*.friend.test", "o.example"]))],
        "mode": draw(modes),
        "priority": draw(st.sampled_from([1, 100])),
    }
    restriction = draw(st.sampled_from(["none", "certificate", "address", "named"]))
    if restriction in {"certificate", "named"}:
        fields |= {
            "tls_sender_certificate_name": draw(st.sampled_from(["*.gw.test", "mx.gw.test"])),
            "restrict_domains_to_certificate": restriction == "certificate",
        }
    elif restriction == "address":
        fields |= {"sender_ip_addresses": ["192.0.2.0/24"], "restrict_domains_to_ip_addresses": True}
        fields["require_tls"] = draw(st.booleans())
    else:
        fields["require_tls"] = draw(st.booleans())
    if draw(st.booleans()):
        fields["associated_accepted_domains"] = ["second.example"]
    return fields


@st.composite
def own_servers(draw: st.DrawFn) -> dict[str, Any]:
    fields: dict[str, Any] = {"connector_type": "on-premises", "mode": draw(modes)}
    if draw(st.booleans()):
        fields["tls_sender_certificate_name"] = draw(st.sampled_from(["*.o.example", "mx.o.example", "*.gw.test"]))
    else:
        fields["sender_ip_addresses"] = ["192.0.2.0/24"]
    return fields


connectors = st.lists(partners() | own_servers(), max_size=4)


def organization(inbound: list[dict[str, Any]], *domains: str, reject: bool = False) -> dict[str, Any]:
    named = [{"name": f"c{number}"} | one for number, one in enumerate(inbound)]
    return {
        "reject_direct_send": reject,
        "accepted_domain": [{"name": domain} for domain in domains],
        "inbound_connector": named,
    }


def directory(**organizations: dict[str, Any]) -> Directory:
    return Directory(parse({"organization": organizations}))


def chain(name: str, status: ChainStatus = ChainStatus.TRUSTED) -> ChainVerdict:
    leaf = CertificateFacts(f"CN={name}", "CN=CA", "1", "", (name,), (), "aa", "bb", "cc", 0, 1, "EC-P-256")
    return ChainVerdict(status, "", leaf)


sessions = st.builds(
    lambda ip, tls, verdict: SessionFacts("s", ip, "h", TLS if tls or verdict else None, verdict),
    st.sampled_from(ADDRESSES),
    st.booleans(),
    st.none() | st.builds(chain, st.sampled_from(NAMES), st.sampled_from([ChainStatus.TRUSTED, ChainStatus.EXPIRED])),
)
envelopes = st.tuples(st.sampled_from(SENDERS), st.sampled_from(RECIPIENTS))


def decided(index: Directory, session: SessionFacts, envelope: tuple[str, str]) -> tuple[Any, ...]:
    """What a client meets: the first refusal, or the answer to RCPT TO."""
    sender, recipient = (parse_path(f"<{one}>", smtputf8=False) for one in envelope)
    verdict = decide_mail(index, session, sender)
    if verdict.accepted:
        verdict = decide_recipient(index, session, sender, recipient, verdict.attribution)
    return verdict.accepted, verdict.reply, verdict.organization, verdict.direction, verdict.connector


OTHERS = st.lists(
    st.builds(
        lambda fields, restrict: {"sender_domains": ["*"], "restrict_domains_to_certificate": restrict} | fields,
        st.sampled_from(
            [
                {"tls_sender_certificate_name": "*.gw.test"},
                {"tls_sender_certificate_name": "*.other.test", "priority": 0},
            ]
        ),
        st.booleans(),
    ),
    max_size=3,
)


@given(connectors, st.booleans(), OTHERS, sessions, envelopes)
def test_partner_connectors_of_another_organization_never_change_a_decision(
    own: list[dict[str, Any]],
    reject: bool,
    others: list[dict[str, Any]],
    session: SessionFacts,
    envelope: tuple[str, str],
) -> None:
    mine = organization(own, "o.example", "second.example", reject=reject)
    before = directory(o=mine, p=organization([], "p.example"))
    after = directory(o=mine, p=organization(others, "p.example"))
    assert decided(before, session, envelope) == decided(after, session, envelope)


FOREIGN = [
    {"connector_type": "on-premises", "sender_ip_addresses": ["198.51.100.0/24"]},
    {"connector_type": "on-premises", "tls_sender_certificate_name": "*.p.example"},
    {"connector_type": "on-premises", "tls_sender_certificate_name": "mx.p.example", "priority": 0},
]


@given(connectors, st.lists(st.sampled_from(FOREIGN), max_size=3), sessions, envelopes)
def test_on_premises_connectors_that_do_not_know_the_session_never_change_a_decision(
    own: list[dict[str, Any]], others: list[dict[str, Any]], session: SessionFacts, envelope: tuple[str, str]
) -> None:
    mine = organization(own, "o.example", "second.example")
    before = directory(o=mine, p=organization([], "p.example"))
    after = directory(o=mine, p=organization(others, "p.example"))
    assert decided(before, session, envelope) == decided(after, session, envelope)


@given(connectors, partners(), sessions, envelopes)
def test_a_partner_connector_for_another_domains_mail_never_changes_a_decision(
    own: list[dict[str, Any]], added: dict[str, Any], session: SessionFacts, envelope: tuple[str, str]
) -> None:
    added |= {"sender_domains": ["elsewhere.test", "*.elsewhere.test"]}
    before = directory(o=organization(own, "o.example", "second.example"))
    after = directory(o=organization([*own, added], "o.example", "second.example"))
    assert decided(before, session, envelope) == decided(after, session, envelope)


@given(connectors, sessions, envelopes)
def test_what_is_in_rehearsal_among_partners_never_refuses_and_never_opens(
    own: list[dict[str, Any]], session: SessionFacts, envelope: tuple[str, str]
) -> None:
    in_force = [one for one in own if one["mode"] == "enforce" or "connector_type" in one]
    named = organization(own, "o.example", "second.example")
    kept = organization(in_force, "o.example", "second.example")
    accepted, reply, *_ = decided(directory(o=named), session, envelope)
    alone, without, *_ = decided(directory(o=kept), session, envelope)
    assert (accepted, reply) == (alone, without)


@given(connectors, st.sampled_from(ADDRESSES), envelopes)
def test_tls_never_turns_an_acceptance_into_a_refusal(
    own: list[dict[str, Any]], ip: str, envelope: tuple[str, str]
) -> None:
    index = directory(o=organization(own, "o.example", "second.example"))
    clear = SessionFacts("s", ip, "h")
    if decided(index, clear, envelope)[0]:
        assert decided(index, replace(clear, tls=TLS), envelope)[0]


@given(connectors, st.sampled_from(ADDRESSES), st.sampled_from(NAMES), envelopes)
def test_a_trusted_certificate_never_turns_an_acceptance_into_a_refusal(
    own: list[dict[str, Any]], ip: str, name: str, envelope: tuple[str, str]
) -> None:
    """It holds where no connector demands a version and none demands certificate and address together.

    A certificate may well choose another connector, which then makes its own demands of the session.
    """
    index = directory(o=organization(own, "o.example", "second.example"))
    before = SessionFacts("s", ip, "h", TLS)
    if decided(index, before, envelope)[0]:
        assert decided(index, replace(before, client_chain=chain(name)), envelope)[0]
        untrusted = replace(before, client_chain=chain(name, ChainStatus.EXPIRED))
        assert decided(index, untrusted, envelope)[0]
