from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import Introduction, SessionFacts, Teller
from gatepost.policy.connectors.values import AuthenticationResults
from gatepost.policy.decisions import refusals
from gatepost.policy.decisions.decision import InboundVerdict
from gatepost.policy.decisions.forwarding import Returned
from gatepost.policy.decisions.inbound import decide_filtered, decide_mail, decide_recipient
from gatepost.protocols.smtp.grammar import Path
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.tls.facts import ChainVerdict
from gatepost.values import replace

Build = Callable[[str], Directory]
Chain = Callable[..., ChainVerdict]
Session = Callable[..., SessionFacts]
MakePath = Callable[[str], Path]


def accepted(name: str, kind: str = "authoritative", organization: str = "o") -> str:
    return f'[[organization.{organization}.accepted_domain]]\nname = "{name}"\ntype = "{kind}"\n'


def inbound(name: str, fields: str, organization: str = "o") -> str:
    return f'[[organization.{organization}.inbound_connector]]\nname = "{name}"\n{fields}\n'


def mailbox(address: str) -> str:
    return f'[[organization.o.mailbox]]\naddress = "{address}"\n'


DOMAIN = accepted("o.example")
HQ = inbound("hq", 'connector_type = "on-premises"\ntls_sender_certificate_name = "*.o.example"')
NET_FIELDS = 'connector_type = "on-premises"\nsender_ip_addresses = ["192.0.2.0/24"]'
NET = inbound("net", NET_FIELDS)
TLS_ONLY = inbound("partner", 'sender_domains = ["p.example"]')
LOCKED = inbound(
    "locked",
    'sender_domains = ["*"]\nrestrict_domains_to_certificate = true\ntls_sender_certificate_name = "*.gw.example"',
)
FRIEND = inbound("friend", 'sender_domains = ["friend.example"]\nrequire_tls = false')
BY_ADDRESS = inbound(
    "by-address",
    'sender_domains = ["p.example"]\nrequire_tls = false\nrestrict_domains_to_ip_addresses = true\n'
    'sender_ip_addresses = ["198.51.100.0/24"]',
)
REJECT = "[organization.o]\nreject_direct_send = true\n"


@pytest.fixture
def decide(directory: Build, path: MakePath) -> Callable[..., InboundVerdict]:
    """The verdict on one recipient, a@o.example unless another is named."""

    def run(text: str, facts: SessionFacts, sender: str, recipient: str = "a@o.example") -> InboundVerdict:
        return decide_recipient(directory(text), facts, path(sender), path(recipient))

    return run


@pytest.fixture
def client(session: Session, chain: Chain) -> Callable[[str], SessionFacts]:
    """A client by its address, in clear, or by the name in its trusted certificate."""
    return lambda who: session(who) if who[0].isdigit() else session(chain=chain(who))


def summary(verdict: InboundVerdict) -> tuple[str, str, str, str]:
    code = f"{verdict.reply.code} {verdict.reply.enhanced}"
    return code, verdict.direction, verdict.organization, verdict.connector


OK, DENIED, FIRST_TLS, LOCKED_OUT = "250 2.1.5", "550 5.7.64", "530 5.7.0", "550 5.7.51"


# The names are those of the compatibility list: exchange.md section 17.


@pytest.mark.parametrize(
    ("text", "who", "envelope", "expected"),
    [
        pytest.param(
            DOMAIN + HQ, "mail.o.example", ("x@any.test", "y@internet.test"), (OK, "originating", "o", "hq"), id="A1"
        ),
        pytest.param(
            DOMAIN + HQ.replace("*.o", "mail.o"),
            "mail.o.example",
            ("x@any.test", "y@internet.test"),
            (DENIED, "none", "", ""),
            id="A2",
        ),
        pytest.param(
            DOMAIN + HQ.replace("*.o", "mail.o"),
            "mail.o.example",
            ("x@o.example", "y@internet.test"),
            (OK, "originating", "o", "hq"),
            id="A3",
        ),
        pytest.param(
            DOMAIN + NET, "192.0.2.7", ("x@o.example", "y@internet.test"), (OK, "originating", "o", "net"), id="IP"
        ),
        pytest.param(DOMAIN + NET, "192.0.2.7", ("", "y@internet.test"), (DENIED, "none", "", ""), id="A7 first"),
        pytest.param(DOMAIN + NET, "192.0.2.7", ("", "y@other.test"), (DENIED, "none", "", ""), id="A7 second"),
        pytest.param(DOMAIN, "203.0.113.9", ("x@any.test", "a@o.example"), (OK, "incoming", "o", ""), id="A8"),
        pytest.param(DOMAIN, "203.0.113.9", ("x@any.test", "y@internet.test"), (DENIED, "none", "", ""), id="A9"),
        pytest.param(DOMAIN, "203.0.113.9", ("", "a@o.example"), (OK, "incoming", "o", ""), id="null reverse-path"),
        pytest.param(DOMAIN, "203.0.113.9", ("x@any.test", "a@[192.0.2.1]"), (DENIED, "none", "", ""), id="literal"),
        pytest.param(
            DOMAIN, "203.0.113.9", ("x@any.test", "postmaster"), (DENIED, "none", "", ""), id="bare postmaster"
        ),
        pytest.param(
            DOMAIN + TLS_ONLY,
            "203.0.113.9",
            ("x@p.example", "a@o.example"),
            (FIRST_TLS, "incoming", "o", "partner"),
            id="P1",
        ),
        pytest.param(
            DOMAIN + TLS_ONLY,
            "mx.any.test",
            ("x@p.example", "a@o.example"),
            (OK, "incoming", "o", "partner"),
            id="P1 met",
        ),
        pytest.param(
            DOMAIN + LOCKED,
            "mx.any.test",
            ("x@any.test", "a@o.example"),
            (LOCKED_OUT, "incoming", "o", "locked"),
            id="P2",
        ),
        pytest.param(
            DOMAIN + LOCKED,
            "mx.gw.example",
            ("x@any.test", "a@o.example"),
            (OK, "incoming", "o", "locked"),
            id="P2 met",
        ),
        pytest.param(
            DOMAIN + LOCKED + FRIEND,
            "203.0.113.9",
            ("x@friend.example", "a@o.example"),
            (OK, "incoming", "o", "friend"),
            id="P3, where ours is better",
        ),
        pytest.param(
            DOMAIN + BY_ADDRESS,
            "203.0.113.9",
            ("x@p.example", "a@o.example"),
            (LOCKED_OUT, "incoming", "o", "by-address"),
            id="P4",
        ),
        pytest.param(
            DOMAIN + BY_ADDRESS,
            "198.51.100.9",
            ("x@p.example", "a@o.example"),
            (OK, "incoming", "o", "by-address"),
            id="P4 met",
        ),
        pytest.param(
            REJECT + DOMAIN, "203.0.113.9", ("x@o.example", "a@o.example"), ("550 5.7.68", "incoming", "o", ""), id="P7"
        ),
        pytest.param(
            REJECT + DOMAIN, "203.0.113.9", ("x@any.test", "a@o.example"), (OK, "incoming", "o", ""), id="P7 stranger"
        ),
        pytest.param(
            REJECT + DOMAIN + NET,
            "192.0.2.7",
            ("x@o.example", "a@o.example"),
            (OK, "originating", "o", "net"),
            id="P7 own server",
        ),
        pytest.param(
            REJECT + DOMAIN + BY_ADDRESS.replace("p.example", "o.example"),
            "198.51.100.9",
            ("x@o.example", "a@o.example"),
            (OK, "incoming", "o", "by-address"),
            id="P7 partner by address",
        ),
        pytest.param(
            REJECT + DOMAIN + LOCKED,
            "mx.gw.example",
            ("x@o.example", "a@o.example"),
            (OK, "incoming", "o", "locked"),
            id="P7 partner by certificate",
        ),
        pytest.param(
            REJECT + DOMAIN + TLS_ONLY.replace("p.example", "o.example"),
            "mx.any.test",
            ("x@o.example", "a@o.example"),
            ("550 5.7.68", "incoming", "o", "partner"),
            id="P7 partner by domain",
        ),
    ],
)
def test_verdicts(
    decide: Callable[..., InboundVerdict],
    client: Callable[[str], SessionFacts],
    text: str,
    who: str,
    envelope: tuple[str, str],
    expected: tuple[str, str, str, str],
) -> None:
    verdict = decide(text, client(who), *envelope)
    assert summary(verdict) == expected
    assert verdict.accepted is (expected[0] == OK)
    assert verdict.reasons
    assert verdict.would_refuse is None


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        ("ann@o.example", OK),
        ("ANN@O.example", OK),
        ("bob@o.example", "550 5.1.1"),
        ("postmaster@o.example", "550 5.1.1"),
        ("bob@relay.example", OK),
        ("ann@relay.example", OK),
        ("anybody@empty.example", OK),
        ("bob@sub.wild.example", OK),
    ],
)
def test_only_authoritative_domains_with_mailboxes_know_all_recipients(
    decide: Callable[..., InboundVerdict], session: Session, recipient: str, expected: str
) -> None:
    text = (
        DOMAIN
        + accepted("relay.example", "internal-relay")
        + accepted("empty.example")
        + accepted("*.wild.example", "internal-relay")
        + mailbox("ann@o.example")
        + mailbox("ann@relay.example")
    )
    verdict = decide(text, session(), "x@any.test", recipient)
    assert summary(verdict)[0] == expected
    if not verdict.accepted:
        assert verdict.reasons[-1] == f"o.example is authoritative here, and {recipient} is not one of its mailboxes"


def test_own_servers_are_told_of_unknown_recipients_too(
    decide: Callable[..., InboundVerdict], session: Session, chain: Chain
) -> None:
    verdict = decide(
        DOMAIN + HQ + mailbox("ann@o.example"), session(chain=chain("mx.o.example")), "ann@o.example", "bob@o.example"
    )
    assert summary(verdict) == ("550 5.1.1", "originating", "o", "hq")


def test_a_tenants_server_meets_the_rules_of_another_tenant(
    decide: Callable[..., InboundVerdict], session: Session, chain: Chain
) -> None:
    other = accepted("b.example", organization="b") + TLS_ONLY.replace("organization.o", "organization.b").replace(
        "require_tls", "x"
    ).replace(
        '["p.example"]',
        '["p.example"]\nrestrict_domains_to_ip_addresses = true\nsender_ip_addresses = ["198.51.100.1"]',
    )
    own = session(chain=chain("mx.o.example"))
    refused = decide(DOMAIN + HQ + other, own, "x@p.example", "a@b.example")
    assert summary(refused) == (LOCKED_OUT, "originating", "o", "hq")
    passed = decide(DOMAIN + HQ + other, own, "x@o.example", "a@b.example")
    assert summary(passed) == (OK, "originating", "o", "hq")


QUANTUM, CURVES = 'min_key_exchange = "post-quantum"', 'groups = ["P-256", "P-384"]'
SUITES = 'cipher_suites = ["TLS_AES_256_GCM_SHA384"]'


@pytest.mark.parametrize(
    ("fields", "agreed", "refused"),
    [
        (QUANTUM, {"group": "X25519MLKEM768"}, ""),
        (QUANTUM, {"group": "X25519"}, "Post-quantum key exchange (X25519MLKEM768) is required for this sender"),
        (QUANTUM, {"group": "", "version": "TLSv1.2"}, "Post-quantum key exchange"),
        (CURVES, {"group": "P-384"}, ""),
        (CURVES, {"group": "P-384", "resumed": True}, ""),
        (CURVES, {"group": "", "resumed": True}, "Key exchange by P-256 or P-384 is required for this sender"),
        (SUITES, {"suite": "TLS_AES_256_GCM_SHA384"}, ""),
        (SUITES, {"suite": "TLS_AES_128_GCM_SHA256"}, "Cipher suite TLS_AES_256_GCM_SHA384 is required"),
        (f'{QUANTUM}\nmin_tls_version = "TLSv1.3"', {"version": "TLSv1.2", "group": "X25519"}, "TLSv1.3 or newer is"),
    ],
)
@pytest.mark.parametrize("mode", ["enforce", "rehearse"])
def test_a_connector_may_demand_a_key_exchange_and_suites(  # noqa: PLR0917 - a table
    decide: Callable[..., InboundVerdict],
    session: Session,
    chain: Chain,
    fields: str,
    agreed: dict[str, Any],
    refused: str,
    mode: str,
) -> None:
    facts = session(chain=chain("mx.any.test"))
    assert facts.tls is not None
    facts = replace(facts, tls=replace(facts.tls, **{"version": "TLSv1.3", **agreed}))
    verdict = decide(DOMAIN + TLS_ONLY + f'{fields}\nmode = "{mode}"', facts, "x@p.example")
    assert verdict.accepted is (not refused or mode == "rehearse")
    reply = verdict.would_refuse if mode == "rehearse" else None if verdict.accepted else verdict.reply
    assert bool(reply) is bool(refused)
    if reply:
        assert reply.text.startswith(f"550 5.7.10 {refused}")
        assert "and the session has" in " ".join(verdict.reasons)


@pytest.mark.parametrize(
    ("fields", "version", "expected"),
    [
        ('min_tls_version = "TLSv1.3"', "TLSv1.2", "550 5.7.10"),
        ('min_tls_version = "TLSv1.3"', "TLSv1.3", OK),
        ('profile = "modern"', "TLSv1.2", "550 5.7.10"),
        ('profile = "default"', "TLSv1.1", "550 5.7.10"),
        ('profile = "legacy"', "TLSv1.0", OK),
        ('profile = "legacy"\nmin_tls_version = "TLSv1.1"', "TLSv1.0", "550 5.7.10"),
        ("", "TLSv1.0", OK),
    ],
)
def test_a_connector_may_demand_a_version(
    decide: Callable[..., InboundVerdict], session: Session, chain: Chain, fields: str, version: str, expected: str
) -> None:
    facts = session(chain=chain("mx.any.test"))
    assert facts.tls is not None
    facts = replace(facts, tls=replace(facts.tls, version=version))
    verdict = decide(DOMAIN + TLS_ONLY + fields, facts, "x@p.example")
    assert summary(verdict)[0] == expected
    if not verdict.accepted:
        assert verdict.reasons[-1].endswith(f"or newer, and the session has {version}")
        assert "or newer is required for this sender" in verdict.reply.text


@pytest.mark.parametrize(
    ("names", "status", "shown"),
    [
        (None, "trusted", "and the session is not encrypted"),
        (["mx.any.test"], "trusted", f"and the client presented CN=mx.any.test (trusted), thumbprint {'BB' * 20}"),
        (["mx.gw.example"], "expired", "and the client presented CN=mx.gw.example (expired), thumbprint"),
    ],
)
def test_a_lock_down_says_what_was_expected_and_presented(
    decide: Callable[..., InboundVerdict],
    session: Session,
    chain: Chain,
    names: list[str] | None,
    status: str,
    shown: str,
) -> None:
    facts = session(chain=None if names is None else chain(*names, status=status))
    verdict = decide(DOMAIN + LOCKED.replace("restrict", "require_tls = true\nrestrict", 1), facts, "x@any.test")
    if names is None:
        assert summary(verdict)[0] == FIRST_TLS
        verdict = decide(DOMAIN + LOCKED + 'mode = "rehearse"', facts, "x@any.test")
    assert "restricts its sender domains to a trusted client certificate for *.gw.example" in verdict.reasons[-1]
    assert shown in verdict.reasons[-1]


def test_a_client_without_certificate_is_told_apart(
    decide: Callable[..., InboundVerdict], session: Session, chain: Chain
) -> None:
    facts = replace(session(chain=chain("x.test")), client_chain=None)
    assert decide(DOMAIN + LOCKED, facts, "x@any.test").reasons[-1].endswith("and the client presented none")


def test_both_restrictions_must_be_met(decide: Callable[..., InboundVerdict], session: Session, chain: Chain) -> None:
    both = LOCKED + 'restrict_domains_to_ip_addresses = true\nsender_ip_addresses = ["198.51.100.1"]\n'
    certificate = chain("mx.gw.example")
    assert decide(DOMAIN + both, session("198.51.100.1", certificate), "x@any.test").accepted
    verdict = decide(DOMAIN + both, session("203.0.113.9", certificate), "x@any.test")
    assert verdict.reasons[-1].endswith("one of its addresses, and 203.0.113.9 is none")
    verdict = decide(DOMAIN + both, session("203.0.113.9", chain("mx.any.test")), "x@any.test")
    assert "; and to one of its addresses" in verdict.reasons[-1]


def test_in_rehearsal_refusals_are_reported_and_not_applied(
    decide: Callable[..., InboundVerdict], session: Session
) -> None:
    verdict = decide(DOMAIN + LOCKED + 'mode = "rehearse"', session(), "x@any.test")
    assert summary(verdict) == (OK, "incoming", "o", "locked")
    assert verdict.would_refuse is not None
    assert verdict.would_refuse.enhanced == "5.7.0"
    first, second = (reason for reason in verdict.reasons if reason.startswith("would_refuse: "))
    assert first.startswith(
        "would_refuse: 530 5.7.0 Must issue a STARTTLS command first: connector 'locked' requires TLS"
    )
    assert second.startswith("would_refuse: 550 5.7.51")
    assert first.endswith("not applied, as the connector is in rehearsal")


REHEARSE = 'mode = "rehearse"\n'


@pytest.mark.parametrize(
    ("connector", "requirement", "rehearsed"),
    [
        (LOCKED, "authenticated(*.gw.example)", ""),
        (LOCKED + REHEARSE, "opportunistic", "authenticated(*.gw.example)"),
        (inbound("tls", 'sender_domains = ["*"]\n') + REHEARSE, "opportunistic", "encrypted"),
        (inbound("lax", 'sender_domains = ["*"]\nrequire_tls = false\n') + REHEARSE, "opportunistic", ""),
        ("", "opportunistic", ""),
    ],
)
def test_a_connector_in_rehearsal_demands_nothing_yet(
    decide: Callable[..., InboundVerdict], session: Session, connector: str, requirement: str, rehearsed: str
) -> None:
    verdict = decide(DOMAIN + connector, session(), "x@any.test")
    assert (verdict.requirement, verdict.rehearsed) == (requirement, rehearsed)


def test_in_rehearsal_a_version_is_not_insisted_on(
    decide: Callable[..., InboundVerdict], session: Session, chain: Chain
) -> None:
    facts = session(chain=chain("mx.any.test"))
    assert facts.tls is not None
    facts = replace(facts, tls=replace(facts.tls, version="TLSv1.2"))
    verdict = decide(DOMAIN + TLS_ONLY + 'mode = "rehearse"\nmin_tls_version = "TLSv1.3"', facts, "x@p.example")
    assert verdict.accepted
    assert verdict.would_refuse is not None
    assert verdict.would_refuse.enhanced == "5.7.10"


@pytest.mark.parametrize(
    ("text", "requirement"),
    [
        ("", "opportunistic"),
        (TLS_ONLY, "encrypted"),
        (TLS_ONLY + QUANTUM, "encrypted with post-quantum key exchange"),
        (TLS_ONLY + CURVES, "encrypted with groups P-256,P-384"),
        (TLS_ONLY + "require_tls = false", "opportunistic"),
        (LOCKED, "authenticated(*.gw.example)"),
    ],
)
def test_the_requirement_is_that_of_the_connector(
    decide: Callable[..., InboundVerdict], session: Session, text: str, requirement: str
) -> None:
    assert decide(DOMAIN + text, session(), "x@p.example").requirement == requirement


# MAIL


@pytest.mark.parametrize(
    ("text", "mail", "expected"),
    [
        (DOMAIN, ("203.0.113.9", "x@any.test"), ("250 2.1.0", "none", "", "")),
        (DOMAIN + HQ, ("mx.o.example", "x@any.test"), ("250 2.1.0", "originating", "o", "hq")),
        (DOMAIN + NET, ("192.0.2.7", "x@o.example"), ("250 2.1.0", "originating", "o", "net")),
        (DOMAIN + NET + "require_tls = true", ("192.0.2.7", "x@o.example"), (FIRST_TLS, "originating", "o", "net")),
        (DOMAIN + TLS_ONLY, ("203.0.113.9", "x@p.example"), (FIRST_TLS, "incoming", "o", "partner")),
    ],
)
def test_mail_is_refused_only_where_an_own_servers_connector_demands_more(
    directory: Build,
    client: Callable[[str], SessionFacts],
    path: MakePath,
    text: str,
    mail: tuple[str, str],
    expected: tuple[str, str, str, str],
) -> None:
    facts, sender = client(mail[0]), mail[1]
    index = directory(text)
    verdict = decide_mail(index, facts, path(sender))
    assert summary(verdict) == expected
    recipient = decide_recipient(index, facts, path(sender), path("y@internet.test"), verdict.attribution)
    assert recipient.attribution is verdict.attribution
    assert recipient == decide_recipient(index, facts, path(sender), path("y@internet.test"))
    assert recipient.accepted is (expected[0] == "250 2.1.0" and expected[1] == "originating")


def test_a_refused_stranger_learns_nothing_but_the_refusal(
    decide: Callable[..., InboundVerdict], session: Session
) -> None:
    verdict = decide(DOMAIN, session(), "x@any.test", "y@internet.test")
    assert verdict.reply.lines == ("TenantAttribution; Relay Access Denied",)
    assert (
        verdict.reasons[-1] == "recipient domain internet.test is not accepted here, and unknown clients may not relay"
    )
    bare = decide(DOMAIN, session(), "x@any.test", "postmaster")
    assert bare.reasons[-1] == "recipient postmaster has no domain, so it belongs to no organization"


# What the peer is told, where it can mend it


def refusal(verdict: InboundVerdict) -> str:
    return verdict.reply.text


NOT_OWN = HQ.replace("*.o", "mail.o")
TRUSTED = ": your certificate is not trusted, "


@pytest.mark.parametrize(
    ("text", "who", "envelope", "told"),
    [
        (DOMAIN + HQ, "203.0.113.9", ("x@any.test", "y@internet.test"), "TenantAttribution; Relay Access Denied"),
        (DOMAIN + HQ, "mx.any.test", ("x@any.test", "y@internet.test"), "TenantAttribution; Relay Access Denied"),
        (
            DOMAIN + NOT_OWN,
            "mail.o.example",
            ("x@any.test", "y@internet.test"),
            "Relay Access Denied ATTR36: neither the name in your certificate nor the sender's domain is accepted here",
        ),
        (
            DOMAIN + NET,
            "192.0.2.7",
            ("x@any.test", "y@internet.test"),
            "Relay Access Denied ATTR36: your address is known, but the sender's domain is not accepted here",
        ),
        (
            DOMAIN + NET,
            "192.0.2.7",
            ("", "y@internet.test"),
            "Relay Access Denied ATTR36: your address is known, but the null reverse-path needs a certificate",
        ),
        *(
            (
                DOMAIN + accepted("pilot.example") + part + 'associated_accepted_domains = ["pilot.example"]\n',
                who,
                (sender, "y@internet.test"),
                "Relay Access Denied ATTR36: your server is known, but may not relay for this sender",
            )
            for part, who, sender in (
                (NET, "192.0.2.7", "x@o.example"),
                (HQ, "mx.o.example", "x@o.example"),
                (HQ, "mx.o.example", "x@any.test"),
                (HQ, "mx.o.example", ""),
            )
        ),
    ],
)
def test_a_refused_relay_is_told_what_is_missing(
    decide: Callable[..., InboundVerdict],
    client: Callable[[str], SessionFacts],
    text: str,
    who: str,
    envelope: tuple[str, str],
    told: str,
) -> None:
    assert refusal(decide(text, client(who), *envelope)) == f"550 5.7.64 {told}"


@pytest.mark.parametrize("status", ["chain-incomplete", "expired", "self-signed", "untrusted-root", "revoked"])
def test_a_certificate_that_is_not_trusted_is_told_as_that(
    decide: Callable[..., InboundVerdict], session: Session, chain: Chain, status: str
) -> None:
    own = session(chain=chain("mx.o.example", status=status, detail="secret detail"))
    assert refusal(decide(DOMAIN + HQ, own, "x@any.test", "y@internet.test")) == (
        f"550 5.7.64 TenantAttribution; Relay Access Denied{TRUSTED}{status}"
    )
    partner = session(chain=chain("mx.gw.example", status=status, detail="secret detail"))
    told = refusal(decide(DOMAIN + LOCKED, partner, "x@any.test"))
    assert told.startswith("550 5.7.51 TenantInboundAttribution; A partner connector binds this sender's domain to")
    assert told.endswith(f"{TRUSTED}{status}")


def test_a_name_in_the_cn_alone_is_told_as_that(
    decide: Callable[..., InboundVerdict], session: Session, chain: Chain
) -> None:
    end = "has its name in the CN, not in subjectAltName"
    own = session(chain=chain(common_name="mx.o.example"))
    assert refusal(decide(DOMAIN + HQ, own, "x@any.test", "y@internet.test")) == (
        f"550 5.7.64 TenantAttribution; Relay Access Denied: your certificate {end}"
    )
    partner = session(chain=chain(common_name="mx.gw.example"))
    assert refusal(decide(DOMAIN + LOCKED, partner, "x@any.test")).endswith(f" a certificate, and yours {end}")


def test_what_a_client_presented_is_shown_as_the_connectors_own_anchors_judge_it(
    decide: Callable[..., InboundVerdict], session: Session, chain: Chain
) -> None:
    judged = chain(status="trusted", common_name="mx.gw.example")
    facts = session(chain=chain(status="untrusted-root", common_name="mx.gw.example"), chains={"system": judged})
    verdict = decide(DOMAIN + LOCKED + 'trust_anchors = "system"\n', facts, "x@any.test")
    assert "(trusted), thumbprint" in verdict.reasons[-1]


BOTH = LOCKED + 'restrict_domains_to_ip_addresses = true\nsender_ip_addresses = ["198.51.100.1"]\n'


@pytest.mark.parametrize(
    ("text", "who", "end"),
    [
        (LOCKED, "nobody", "a certificate, and you presented none"),
        (LOCKED, "mx.any.test", "a certificate, and yours bears another name"),
        (BY_ADDRESS, "203.0.113.9", "addresses, and yours is none of them"),
        (BOTH, "mx.any.test", "a certificate or address you do not have"),
    ],
)
def test_a_lock_down_tells_what_it_binds_to(
    decide: Callable[..., InboundVerdict], client: Callable[[str], SessionFacts], text: str, who: str, end: str
) -> None:
    facts = replace(client("mx.any.test"), client_chain=None) if who == "nobody" else client(who)
    told = refusal(decide(DOMAIN + text, facts, "x@p.example"))
    assert told == f"550 5.7.51 TenantInboundAttribution; A partner connector binds this sender's domain to {end}"


def test_no_name_of_ours_is_on_the_wire(decide: Callable[..., InboundVerdict], session: Session, chain: Chain) -> None:
    named = DOMAIN.replace("organization.o.", "organization.secretorg.")
    connectors = [
        one.replace("organization.o.", "organization.secretorg.")
        for one in (HQ.replace('"hq"', '"secretname"'), LOCKED.replace('"locked"', '"secretname"'), BY_ADDRESS)
    ]
    reject = "[organization.secretorg]\nreject_direct_send = true\n"
    for facts in (session(), session(chain=chain("mx.o.example", status="expired")), session(chain=chain("a.test"))):
        for connector in connectors:
            for ends in (("x@p.example", "a@o.example"), ("x@o.example", "a@o.example"), ("", "y@internet.test")):
                told = refusal(decide(reject + named + connector, facts, *ends))
                assert "secret" not in told


def test_classes_of_code_and_status_agree(decide: Callable[..., InboundVerdict], session: Session) -> None:
    for text in (DOMAIN, DOMAIN + LOCKED, DOMAIN + TLS_ONLY, DOMAIN + BY_ADDRESS, REJECT + DOMAIN):
        for sender, recipient in (("x@p.example", "a@o.example"), ("x@o.example", "a@o.example"), ("", "y@any.test")):
            reply = decide(text, session(), sender, recipient).reply
            assert str(reply.code)[0] == reply.enhanced[0]


# Who is known by the recipient alone: a message is of one organization


SHARED = (
    DOMAIN + NET + accepted("second.example") + accepted("p.example", organization="p")
    + accepted("q.example", organization="q") + inbound("theirs", NET_FIELDS, "q")
)  # fmt: skip


@pytest.mark.parametrize(
    ("ip", "recipients", "codes"),
    [
        ("192.0.2.7", ["a@o.example", "b@second.example"], [OK, OK]),
        ("192.0.2.7", ["a@o.example", "a@p.example"], [OK, "452 4.5.3"]),
        ("192.0.2.7", ["a@p.example", "a@o.example"], [OK, "452 4.5.3"]),
        ("192.0.2.7", ["a@o.example", "a@q.example", "b@o.example"], [OK, "452 4.5.3", OK]),
        ("192.0.2.7", ["y@internet.test", "a@o.example"], [DENIED, OK]),
        ("203.0.113.9", ["a@o.example", "a@p.example"], [OK, OK]),
    ],
)
def test_recipients_that_make_a_message_anothers_come_apart(
    directory: Build, session: Session, path: MakePath, ip: str, recipients: list[str], codes: list[str]
) -> None:
    index, first, said = directory(SHARED), None, []
    for recipient in recipients:
        verdict = decide_recipient(index, session(ip), path(""), path(recipient), first=first)
        first = first or (verdict if verdict.accepted else None)
        said.append(summary(verdict)[0])
    assert said == codes


HOOK = '[[organization.{}.content_hook]]\nname = "{}"\ntype = "clamav"\naddress = "127.0.0.1"\n'
HOOKED = SHARED + HOOK.format("o", "of o") + 'direction = "outbound"\n' + HOOK.format("p", "of p")


@pytest.mark.parametrize(
    ("ip", "recipients", "asked"),
    [
        ("203.0.113.9", {"a@o.example": OK, "b@second.example": OK}, []),
        ("203.0.113.9", {"a@o.example": OK, "a@p.example": "452 4.5.3", "c@o.example": OK}, []),
        ("203.0.113.9", {"a@p.example": OK, "a@o.example": "452 4.5.3", "b@p.example": OK}, ["of p"]),
        ("192.0.2.7", {"a@o.example": OK, "b@second.example": OK}, ["of o"]),
    ],
)
def test_recipients_about_whom_other_hooks_are_asked_come_apart(
    directory: Build, session: Session, path: MakePath, ip: str, recipients: dict[str, str], asked: list[str]
) -> None:
    index, first = directory(HOOKED), None
    for recipient, expected in recipients.items():
        verdict = decide_recipient(index, session(ip), path(""), path(recipient), first=first)
        first = first or verdict
        assert summary(verdict)[0] == expected
        assert ("other content hooks" in verdict.reasons[-1]) == (expected != OK)
    assert first is not None
    assert [one.hook.name for one in first.hooks] == asked


FORWARDS = '[[organization.o.mailbox]]\naddress = "{}@o.example"\nforwarding_smtp_address = "{}"\n'


def test_what_a_mailbox_forwards_to_another_organization_is_scanned_there(
    directory: Build, session: Session, path: MakePath
) -> None:
    boxes = (
        FORWARDS.format("b", "c@o.example") + FORWARDS.format("c", "a@p.example") + FORWARDS.format("d", "d@away.test")
    )
    index, first = directory(HOOKED + boxes), None
    for recipient, expected in {"b@o.example": OK, "c@o.example": OK, "d@o.example": "452 4.5.3"}.items():
        verdict = decide_recipient(index, session("203.0.113.9"), path(""), path(recipient), first=first)
        first = first or verdict
        assert summary(verdict)[0] == expected
    assert first is not None
    assert [one.label for one in first.hooks] == ["content hook 'of p' of p"]


def test_mail_that_leaves_is_asked_about_by_the_hooks_of_whom_it_is_from(
    directory: Build, session: Session, path: MakePath
) -> None:
    index = directory(HOOKED)
    own = session("192.0.2.7")

    def recipient(address: str, first: InboundVerdict | None = None) -> InboundVerdict:
        return decide_recipient(index, own, path("x@o.example"), path(address), first=first)

    away = recipient("y@internet.test")
    assert [one.hook.name for one in away.hooks] == ["of o"]
    assert summary(recipient("z@elsewhere.test", away))[0] == OK
    neighbour = recipient("a@p.example")
    assert [one.hook.name for one in neighbour.hooks] == ["of o", "of p"]
    assert summary(recipient("y@internet.test", neighbour))[0] == "452 4.5.3"


def test_a_demand_in_rehearsal_is_told_beside_the_one_in_force(
    directory: Build, session: Session, path: MakePath
) -> None:
    trial = NET.replace('"net"', '"trial"') + 'require_tls = true\npriority = 1\nmode = "rehearse"\n'
    index = directory(DOMAIN + NET + "require_tls = false\n" + trial)
    for verdict in (
        decide_mail(index, session("192.0.2.7"), path("x@o.example")),
        decide_recipient(index, session("192.0.2.7"), path("x@o.example"), path("y@internet.test")),
    ):
        assert (verdict.accepted, verdict.connector, verdict.would_refuse_connector) == (True, "net", "trial")
        assert verdict.would_refuse is not None
        assert verdict.would_refuse.enhanced == "5.7.0"
    forced = directory(DOMAIN + NET + "require_tls = true\n" + trial.replace("tls = true", "tls = false"))
    refused = decide_mail(forced, session("192.0.2.7"), path("x@o.example"))
    assert summary(refused) == ("530 5.7.0", "originating", "o", "net")


def test_who_is_known_by_half_is_not_put_off_before_the_recipient_is_known(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    text = DOMAIN + HQ + 'trust_anchors = "/gone.pem"\n' + NET
    facts = session("192.0.2.7", chain("mx.o.example"))
    assert decide_mail(directory(text), facts, path("x@any.test")).accepted
    codes = [
        summary(decide_recipient(directory(text), facts, path("x@any.test"), path(to)))[0]
        for to in ("a@o.example", "y@internet.test")
    ]
    assert codes == [OK, "451 4.3.5"]


# What cannot be known now is deferred, and only where it matters


HARD = 'revocation_check = "hard-fail"\n'


@pytest.mark.parametrize(
    ("text", "name", "code"),
    [
        (DOMAIN + HQ + HARD, "mx.o.example", "451 4.7.5"),
        (DOMAIN + HQ, "mx.o.example", OK),
        (DOMAIN + HQ + HARD, "mx.any.test", OK),
        (DOMAIN + LOCKED + HARD, "mx.gw.example", "451 4.7.5"),
        (DOMAIN + LOCKED, "mx.gw.example", OK),
        (DOMAIN + LOCKED + HARD, "mx.any.test", LOCKED_OUT),
        (DOMAIN + LOCKED + HARD + 'mode = "rehearse"', "mx.gw.example", OK),
        (DOMAIN + BOTH + HARD, "mx.gw.example", LOCKED_OUT),
    ],
)
def test_revocation_that_cannot_be_learnt_defers_under_hard_fail(
    decide: Callable[..., InboundVerdict], session: Session, chain: Chain, text: str, name: str, code: str
) -> None:
    facts = session(chain=chain(name, status="revocation-unknown", detail="no answer"))
    verdict = decide(text, facts, "x@any.test")
    assert summary(verdict)[0] == code
    if code.startswith("4"):
        assert verdict.reasons[-1].endswith(
            "is not trusted: revocation-unknown, no answer: the client is asked to try again later"
        )
    if "rehearse" in text:
        assert verdict.would_refuse is not None
        assert verdict.would_refuse.transient


def test_what_waits_in_rehearsal_is_in_no_mail_of_another_organization(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    """Its name is not said there, and no connector of that name answers for it."""
    trial = HQ + HARD + 'mode = "rehearse"\n'
    index = directory(DOMAIN + trial + accepted("p.example").replace("organization.o", "organization.p"))
    facts = session(chain=chain("mx.o.example", status="revocation-unknown", detail="no answer"))
    own, others = (decide_recipient(index, facts, path("x@any.test"), path(f"a@{name}.example")) for name in "op")
    assert (own.organization, own.would_refuse_connector) == ("o", "hq")
    assert (others.accepted, others.organization, others.would_refuse_connector) == (True, "p", "")
    assert not any("would_refuse" in reason for reason in others.reasons)


def test_anchors_that_cannot_be_read_are_our_fault_and_defer(
    directory: Build, session: Session, chain: Chain, path: MakePath
) -> None:
    index = directory(DOMAIN + HQ + 'trust_anchors = "/etc/private.pem"')
    own, stranger = session(chain=chain("mx.o.example")), session(chain=chain("mx.any.test"))
    assert decide_mail(index, own, path("")).accepted
    assert summary(decide_recipient(index, own, path(""), path("a@o.example")))[0] == "451 4.3.5"
    assert decide_recipient(index, stranger, path(""), path("a@o.example")).accepted


def test_another_connector_that_knows_the_session_makes_sure(
    decide: Callable[..., InboundVerdict], session: Session, chain: Chain
) -> None:
    facts = session("192.0.2.7", chain("mx.o.example", status="revocation-unknown"))
    assert summary(decide(DOMAIN + HQ + HARD + NET, facts, "x@o.example", "y@internet.test"))[3] == "net"


# The recipient's domain as the last resort


def test_an_own_server_by_address_is_no_stranger_to_its_own_recipients(
    decide: Callable[..., InboundVerdict], session: Session
) -> None:
    for sender in ("", "x@any.test"):
        verdict = decide(REJECT + DOMAIN + NET + LOCKED, session("192.0.2.7"), sender)
        assert summary(verdict) == (OK, "originating", "o", "net")
        assert verdict.basis == "address-and-recipient"
    assert summary(decide(DOMAIN + NET + LOCKED, session("203.0.113.9"), ""))[0] == FIRST_TLS


def test_the_demands_of_its_connector_are_made_of_it(decide: Callable[..., InboundVerdict], session: Session) -> None:
    assert summary(decide(DOMAIN + NET + "require_tls = true", session("192.0.2.7"), ""))[0] == FIRST_TLS


# An address alone, where the connector lets it do


NULL_TOO = NET + 'senders_by_address = "accepted-domains-and-null"\n'
ANYBODY = NET + 'senders_by_address = "any"\n'
PARTY = "[organization.p]\n" + accepted("p.example", organization="p")


@pytest.mark.parametrize(
    ("text", "who", "envelope", "expected"),
    [
        (NULL_TOO, "192.0.2.7", ("", "y@internet.test"), (OK, "originating", "o", "net")),
        (NULL_TOO, "192.0.2.7", ("x@any.test", "y@internet.test"), (DENIED, "none", "", "")),
        (ANYBODY, "192.0.2.7", ("x@any.test", "y@internet.test"), (OK, "originating", "o", "net")),
        (ANYBODY, "203.0.113.9", ("", "y@internet.test"), (DENIED, "none", "", "")),
        # mail of another organization stays its own
        (ANYBODY + PARTY, "192.0.2.7", ("x@p.example", "y@internet.test"), (DENIED, "none", "", "")),
        (ANYBODY + PARTY, "192.0.2.7", ("x@any.test", "a@p.example"), (OK, "incoming", "p", "")),
        (ANYBODY + PARTY + inbound("theirs", NET_FIELDS, "p"), "192.0.2.7", ("", "y@b.test"), (DENIED, "none", "", "")),
        (ANYBODY + "require_tls = true", "192.0.2.7", ("", "y@b.test"), (FIRST_TLS, "originating", "o", "net")),
        (ANYBODY, "192.0.2.7", ("", "postmaster"), (DENIED, "none", "", "")),
    ],
)
def test_a_server_by_address_relays_the_senders_that_its_connector_allows(
    decide: Callable[..., InboundVerdict],
    session: Session,
    text: str,
    who: str,
    envelope: tuple[str, str],
    expected: tuple[str, str, str, str],
) -> None:
    assert summary(decide(DOMAIN + text, session(who), *envelope)) == expected


def test_what_leaves_by_address_alone_says_so_and_in_whose_name(
    decide: Callable[..., InboundVerdict], session: Session
) -> None:
    verdict = decide(DOMAIN + ANYBODY, session("192.0.2.7"), "x@any.test", "y@internet.test")
    assert verdict.basis == "address-alone"
    assert verdict.reasons[-1].endswith("the message leaves with a reverse-path of o.example (SRS)")


def test_a_message_is_not_anothers_and_the_own_servers_at_once(
    directory: Build, session: Session, path: MakePath
) -> None:
    index, own = directory(DOMAIN + ANYBODY + PARTY), session("192.0.2.7")
    first = decide_recipient(index, own, path("x@any.test"), path("a@p.example"))
    away = decide_recipient(index, own, path("x@any.test"), path("y@internet.test"), first=first)
    assert summary(away)[0] == "452 4.5.3"


# TLS at MAIL


@pytest.mark.parametrize(
    ("text", "sender", "code"),
    [
        (DOMAIN + TLS_ONLY, "x@p.example", FIRST_TLS),
        (DOMAIN + TLS_ONLY, "x@any.test", "250 2.1.0"),
        (DOMAIN + TLS_ONLY + "require_tls = false", "x@p.example", "250 2.1.0"),
        (DOMAIN + TLS_ONLY + 'mode = "rehearse"', "x@p.example", "250 2.1.0"),
        (DOMAIN + TLS_ONLY + 'associated_accepted_domains = ["o.example"]', "x@p.example", "250 2.1.0"),
        (DOMAIN + TLS_ONLY + accepted("b.example", organization="b"), "x@p.example", "250 2.1.0"),
        (DOMAIN + TLS_ONLY + NET, "x@p.example", "250 2.1.0"),
        (DOMAIN, "x@p.example", "250 2.1.0"),
    ],
)
def test_tls_is_asked_for_at_mail_where_no_recipient_could_make_a_difference(
    directory: Build, session: Session, path: MakePath, text: str, sender: str, code: str
) -> None:
    index, facts = directory(text), session("192.0.2.7")
    verdict = decide_mail(index, facts, path(sender))
    assert summary(verdict)[0] == code
    if not verdict.accepted:
        assert (verdict.organization, verdict.direction, verdict.basis) == ("o", "incoming", "sender")
        for recipient in ("a@o.example", "y@internet.test"):
            assert not decide_recipient(index, facts, path(sender), path(recipient)).accepted


# Rehearsal changes nothing but what is told


def test_a_rehearsed_exception_opens_no_lock_down(
    decide: Callable[..., InboundVerdict], client: Callable[[str], SessionFacts]
) -> None:
    trial = FRIEND + 'mode = "rehearse"'
    verdict = decide(DOMAIN + LOCKED + trial, client("mx.any.test"), "x@friend.example")
    assert summary(verdict) == (LOCKED_OUT, "incoming", "o", "locked")
    assert verdict.passed_over == (("connector 'friend' of o", "would go first, but is in rehearsal"),)


def test_a_rehearsed_restriction_is_told_beside_what_is_in_force(
    decide: Callable[..., InboundVerdict], session: Session
) -> None:
    trial = BY_ADDRESS + 'mode = "rehearse"\npriority = 1'
    verdict = decide(DOMAIN + FRIEND.replace("friend.example", "*") + trial, session(), "x@p.example")
    assert summary(verdict) == (OK, "incoming", "o", "friend")
    assert verdict.would_refuse is not None
    assert (verdict.would_refuse.enhanced, verdict.would_refuse_connector) == ("5.7.51", "by-address")
    assert verdict.configuration == 0


@pytest.mark.parametrize(
    ("who", "ends", "basis"),
    [
        ("mx.o.example", ("x@any.test", "a@o.example"), "certificate"),
        ("192.0.2.7", ("x@o.example", "a@o.example"), "address"),
        ("mx.gw.example", ("x@any.test", "a@o.example"), "certificate"),
        ("198.51.100.9", ("x@p.example", "a@o.example"), "address"),
        ("203.0.113.9", ("x@friend.example", "a@o.example"), "sender"),
        ("203.0.113.9", ("x@friend.example", "y@internet.test"), "none"),
    ],
)
def test_the_basis_says_what_identified_the_client_or_chose_the_connector(
    decide: Callable[..., InboundVerdict],
    client: Callable[[str], SessionFacts],
    who: str,
    ends: tuple[str, str],
    basis: str,
) -> None:
    assert decide(DOMAIN + HQ + NET + LOCKED + FRIEND + BY_ADDRESS, client(who), *ends).basis == basis


FORWARDING = DOMAIN + mailbox("a@o.example") + 'aliases = ["i@o.example"]\nforwarding_smtp_address = "x@b.example"\n'


def test_a_verdict_says_what_the_recipient_stands_for(decide: Callable[..., InboundVerdict], session: Session) -> None:
    verdict = decide(FORWARDING, session("203.0.113.9"), "x@any.test", "i@o.example")
    assert verdict.accepted
    assert verdict.reasons[-2:] == (
        "i@o.example is for the mailbox a@o.example",
        "the mailbox a@o.example forwards to x@b.example",
    )


@pytest.mark.parametrize(
    ("text", "original", "code", "reason"),
    [
        (FORWARDING, "bob@fabrikam.example", "250 2.1.5", "why"),
        (FORWARDING, "", "550 5.7.1", "why"),
        (DOMAIN, "", "250 2.1.5", ""),  # nobody knows the recipients here, so it may be somebody's
    ],
)
def test_what_is_said_to_a_rewritten_address(
    directory: Build, path: MakePath, session: Session, *, text: str, original: str, code: str, reason: str
) -> None:
    back = Returned(path("SRS0=x@o.example"), path(original) if original else None, Reply(550, "5.7.1", ("No",)), "why")
    verdict = decide_recipient(directory(text), session("203.0.113.9"), path(""), back)
    assert f"{verdict.reply.code} {verdict.reply.enhanced}" == code
    assert ("why" in verdict.reasons) == bool(reason)


def test_a_user_who_logged_in_is_known_by_that_alone(directory: Build, session: Session, path: MakePath) -> None:
    known = directory(DOMAIN + mailbox("ann@o.example") + NET)
    facts = session("192.0.2.1", user="ann@o.example", mechanism="PLAIN")
    mail = decide_mail(known, facts, path("ann@o.example"))
    verdict = decide_recipient(known, facts, path("ann@o.example"), path("b@else.example"), mail.attribution)
    assert verdict.accepted
    assert (verdict.connector, verdict.basis, verdict.direction) == ("submission", "login", "originating")
    refused = decide_mail(known, facts, path("boss@o.example"))
    assert refused.reply.text.startswith("550 5.7.60")


@pytest.mark.parametrize(("sender", "said"), [("x@b.example", True), ("a@o.example", False), ("", False)])
def test_what_is_relayed_for_others_leaves_as_the_organizations(
    directory: Build, session: Session, chain: Chain, path: MakePath, sender: str, said: bool
) -> None:
    facts = session(chain=chain("hq.o.example"))
    verdict = decide_recipient(directory(DOMAIN + HQ), facts, path(sender), path("y@c.example"))
    reason = "b.example is not a domain of o: the message leaves with a reverse-path of o.example (SRS)"
    assert (reason in verdict.reasons) is said


@pytest.mark.parametrize(
    ("sender", "recipient", "code"),
    [
        ("x@elsewhere.test", "a@o.example", 451),
        ("x@elsewhere.test", "a@sub.o.example", 451),
        ("x@q.example", "a@o.example", 451),  # from an own server of another
        ("x@o.example", "a@elsewhere.test", 451),  # from one of theirs: nothing is returned to its users
        ("x@elsewhere.test", "a@elsewhere.test", 550),
        ("x@elsewhere.test", "a@q.example", 250),
    ],
)
def test_mail_of_a_domain_that_two_claim_waits(
    directory: Build, session: Session, path: MakePath, sender: str, recipient: str, code: int
) -> None:
    text = DOMAIN + NET + accepted("*.o.example", "internal-relay", "p") + accepted("q.example", organization="q")
    text += inbound("net", NET_FIELDS, "q")
    verdict = decide_recipient(directory(text), session("192.0.2.1"), path(sender), path(recipient))
    assert verdict.reply.code == code
    assert (verdict.reply.code == 451) == any("overlaps an accepted domain" in one for one in verdict.reasons)


RELAYED = accepted("r.example", "internal-relay") + 'recipient_validation = "{}"\nrecipients = ["a@r.example"]\n'


def test_a_recipient_of_a_relayed_domain_must_be_in_its_list(
    decide: Callable[..., InboundVerdict], client: Callable[[str], SessionFacts]
) -> None:
    text = RELAYED.format("list")
    assert decide(text, client("198.51.100.1"), "s@x.example", "a@r.example").accepted
    refused = decide(text, client("198.51.100.1"), "s@x.example", "b@r.example")
    assert refused.reply.text == "550 5.1.1 Recipient address rejected: no such mailbox here"
    own = decide(text + HQ + DOMAIN, client("mx.o.example"), "s@o.example", "b@r.example")
    assert (own.direction, own.reply.code) == ("originating", 550)


def test_a_rewritten_address_that_is_not_ours_is_no_way_around_the_list(
    directory: Build, path: MakePath, client: Callable[[str], SessionFacts]
) -> None:
    forged = Returned(path("SRS0=x@r.example"), None, Reply(550, "5.1.1", ("no",)), "it cannot be reversed")
    resources = directory(RELAYED.format("list"))
    verdict = decide_recipient(resources, client("198.51.100.1"), path("s@x.example"), forged)
    assert verdict.reply.enhanced == "5.1.1"


def test_a_recipient_that_another_source_knows_is_a_question(
    decide: Callable[..., InboundVerdict], client: Callable[[str], SessionFacts]
) -> None:
    verdict = decide(RELAYED.format("callout"), client("198.51.100.1"), "s@x.example", "b@r.example")
    assert verdict.accepted
    assert verdict.question is not None
    assert verdict.question.recipient.text == "b@r.example"


def test_nobody_is_asked_for_a_recipient_that_the_list_beside_the_source_has(
    decide: Callable[..., InboundVerdict], client: Callable[[str], SessionFacts]
) -> None:
    verdict = decide(RELAYED.format("callout"), client("198.51.100.1"), "s@x.example", "A@r.example")
    assert (verdict.accepted, verdict.question) == (True, None)
    assert "a@r.example is in the recipient list of r.example" in verdict.reasons[-1].lower()


# A filter in front, whose hops are skipped


FILTERED = inbound(
    "filter",
    'sender_domains = ["*"]\nrequire_tls = false\nrestrict_domains_to_ip_addresses = true\n'
    'sender_ip_addresses = ["192.0.2.7"]\nef_skip_last_ip = true',
)
BANK = inbound(
    "bank",
    'sender_domains = ["bank.test"]\nrequire_tls = false\nrestrict_domains_to_ip_addresses = true\n'
    'sender_ip_addresses = ["198.51.100.0/24"]',
)


@pytest.mark.parametrize(
    ("client", "sender", "expected"),
    [
        ("198.51.100.9", "x@bank.test", (OK, "bank")),
        ("203.0.113.9", "x@bank.test", (LOCKED_OUT, "bank")),
        ("", "x@bank.test", (LOCKED_OUT, "bank")),
        ("203.0.113.9", "x@any.test", (OK, "filter")),
        ("", "x@any.test", (OK, "filter")),
    ],
)
def test_behind_a_filter_address_rules_judge_the_client_that_the_header_names(
    directory: Build, session: Session, path: MakePath, client: str, sender: str, expected: tuple[str, str]
) -> None:
    index, facts, recipient = directory(DOMAIN + FILTERED + BANK), session("192.0.2.7"), path("a@o.example")
    taken = decide_recipient(index, facts, path(sender), recipient)
    assert summary(taken) == (OK, "incoming", "o", "")
    assert taken.filter is not None
    assert taken.reasons[-1].startswith("connector 'filter' of o skips hops")
    if client:
        facts = session(client, introduction=Introduction(Teller.RECEIVED, "192.0.2.7"))
    verdict = decide_filtered(index, facts, path(sender), recipient, taken)
    assert summary(verdict) == (expected[0], "incoming", "o", expected[1])
    named = f"the client is {client} (by Received of 192.0.2.7)"
    assert (named if client else "the Received fields do not name the client") in verdict.reasons
    # what the trace has is decided again as it was
    if client:
        again = decide_recipient(index, facts, path(sender), recipient)
        assert summary(again) == summary(verdict)


def test_what_was_found_at_rcpt_stands_once_the_header_names_the_client(
    directory: Build, session: Session, path: MakePath
) -> None:
    held = FILTERED.replace("require_tls = false", 'require_tls = true\nmode = "rehearse"')
    index = directory('[organization.o]\nauthentication_results = "gateway"\n' + DOMAIN + held)
    facts, sender, recipient = session("192.0.2.7"), path("x@any.test"), path("a@o.example")
    taken = decide_recipient(index, facts, sender, recipient)
    named = session("203.0.113.9", introduction=Introduction(Teller.RECEIVED, "192.0.2.7"))
    verdict = decide_filtered(index, named, sender, recipient, taken)
    assert verdict.accepted
    assert verdict.authentication is taken.authentication is AuthenticationResults.GATEWAY
    assert verdict.would_refuse is taken.would_refuse is refusals.STARTTLS_FIRST
    assert verdict.would_refuse_connector == taken.would_refuse_connector == "filter"


def test_nobody_but_the_filter_is_believed(directory: Build, session: Session, path: MakePath) -> None:
    verdict = decide_recipient(
        directory(DOMAIN + FILTERED + BANK), session("203.0.113.9"), path("x@any.test"), path("a@o.example")
    )
    assert verdict.filter is None
    assert summary(verdict)[0] == LOCKED_OUT


def test_a_client_that_a_message_names_is_never_an_own_server(
    directory: Build, session: Session, path: MakePath
) -> None:
    facts = session("192.0.2.99", introduction=Introduction(Teller.RECEIVED, "203.0.113.9"))
    verdict = decide_recipient(directory(DOMAIN + NET), facts, path("x@o.example"), path("y@internet.test"))
    assert summary(verdict)[0] == DENIED


def test_a_filter_that_must_use_tls_does(directory: Build, session: Session, path: MakePath, chain: Chain) -> None:
    text = inbound("filter", 'sender_domains = ["*"]\ntls_sender_certificate_name = "f.test"\nef_skip_last_ip = true')
    held = FILTERED.replace("require_tls = false", "require_tls = true")
    clear = decide_recipient(directory(DOMAIN + held), session("192.0.2.7"), path("x@b.test"), path("a@o.example"))
    assert summary(clear)[0] == FIRST_TLS
    named = session("203.0.113.9", chain("f.test"))
    known = decide_recipient(directory(DOMAIN + text), named, path("x@b.test"), path("a@o.example"))
    assert known.filter is not None


def test_recipients_behind_different_filters_come_apart(directory: Build, session: Session, path: MakePath) -> None:
    index, facts = directory(DOMAIN + FILTERED + PARTY), session("192.0.2.7")
    first = decide_recipient(index, facts, path("x@b.test"), path("a@o.example"))
    other = decide_recipient(index, facts, path("x@b.test"), path("a@p.example"), first=first)
    assert summary(other)[0] == "452 4.5.3"


def test_the_reason_by_which_a_connector_applied_is_told(
    decide: Callable[..., InboundVerdict], session: Session, chain: Chain
) -> None:
    partner = decide(DOMAIN + TLS_ONLY, session(chain=chain("mx.gw.example")), "x@p.example")
    assert partner.applied_by == f"connector {partner.connector!r} of o matches sender domain p.example exactly"
    own = decide(DOMAIN + HQ, session(chain=chain("mx.o.example")), "x@o.example", "b@elsewhere.example")
    assert own.applied_by.startswith("connector 'hq' of o names *.o.example, which the client's trusted certificate")
    nobody = decide(DOMAIN, session(), "x@p.example")
    assert (nobody.applied_by, "applied_by" in nobody.record()) == ("", False)
    for verdict in (partner, own):
        assert verdict.applied_by in verdict.reasons
        assert verdict.record()["applied_by"] == verdict.applied_by
