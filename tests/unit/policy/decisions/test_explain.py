from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.mail_flow import Content
from gatepost.policy.decisions.explain import Explanation, explain
from gatepost.policy.decisions.home import Nodes
from gatepost.policy.decisions.inbound import decide_mail, decide_recipient
from gatepost.policy.decisions.requiretls import Asks
from gatepost.protocols.smtp.grammar import Path
from gatepost.protocols.tls.facts import ChainVerdict

Build = Callable[[str], Directory]
Chain = Callable[..., ChainVerdict]
Session = Callable[..., SessionFacts]
MakePath = Callable[[str], Path]

RESOURCES = """
[organization.o]
message_expiration = "12h"
[[organization.o.accepted_domain]]
name = "o.example"
[[organization.o.accepted_domain]]
name = "relay.example"
type = "internal-relay"
[[organization.o.mailbox]]
address = "ann@o.example"
[[organization.o.mailbox]]
address = "bob@o.example"
delivery = "lmtp:127.0.0.1:24"
[[organization.o.inbound_connector]]
name = "hq"
connector_type = "on-premises"
tls_sender_certificate_name = "*.o.example"
[[organization.o.inbound_connector]]
name = "branch"
connector_type = "on-premises"
sender_ip_addresses = ["192.0.2.0/24"]
[[organization.o.inbound_connector]]
name = "gateway"
sender_domains = ["*"]
restrict_domains_to_certificate = true
tls_sender_certificate_name = "*.gw.example"
[[organization.o.inbound_connector]]
name = "friend"
sender_domains = ["friend.example"]
[[organization.o.inbound_connector]]
name = "off"
enabled = false
sender_domains = ["friend.example"]
[[organization.o.outbound_connector]]
name = "bank"
recipient_domains = ["bank.example"]
smart_hosts = ["mx.bank.example", "[2001:db8::1]:2525"]
tls_settings = "certificate-validation"
[[organization.o.outbound_connector]]
name = "trial"
mode = "rehearse"
recipient_domains = ["trial.example"]
tls_settings = "encryption-only"
[[organization.o.outbound_connector]]
name = "off"
enabled = false
recipient_domains = ["bank.example"]
[[organization.o.outbound_connector]]
name = "secret way"
enabled = false
is_transport_rule_scoped = true
[[organization.o.mail_flow_rule]]
name = "confidential"
header_name = "X-Confidential"
require_tls = true
stop_rule_processing = true
priority = 1
[[organization.o.mail_flow_rule]]
name = "late"
recipients = ["trial.example"]
require_tls = true
[[organization.o.mail_flow_rule]]
name = "off"
enabled = false
require_tls = true
[[organization.o.mail_flow_rule]]
name = "by the secret way"
senders = ["spy@o.example"]
route_via_connector = "secret way"
[[organization.p.accepted_domain]]
name = "p.example"
[[organization.p.inbound_connector]]
name = "theirs"
sender_domains = ["*"]
require_tls = false
[[organization.p.inbound_connector]]
name = "their own"
connector_type = "on-premises"
sender_ip_addresses = ["192.0.2.7"]
"""


@pytest.fixture
def ask(directory: Build, path: MakePath) -> Callable[..., Explanation]:
    def run(facts: SessionFacts, sender: str, recipient: str, **header: str) -> Explanation:
        content = Content({name.replace("_", "-"): (value,) for name, value in header.items()})
        return explain(directory(RESOURCES), facts, path(sender), path(recipient), content=content)

    return run


@pytest.mark.parametrize(
    ("sender", "header", "require_tls", "asks", "reason"),
    [
        ("ann@o.example", {}, True, Asks.REQUIRED, "the message asks for REQUIRETLS"),
        ("", {}, True, Asks.NOTICE, "relaxed: a notice is not lost"),
        ("ann@o.example", {"tls-required": ("no",)}, False, Asks.WAIVED, "TLS-Required: No lets"),
        ("ann@o.example", {"tls-required": ("No",)}, True, Asks.REQUIRED, "the message asks for REQUIRETLS"),
        ("ann@o.example", {"tls-required": ("No", "No")}, False, Asks.NOTHING, ""),
        ("ann@o.example", {"tls-required": ("Yes",)}, False, Asks.NOTHING, ""),
        ("ann@o.example", {}, False, Asks.NOTHING, ""),
    ],
)
def test_what_the_message_asks_of_tls(  # noqa: PLR0917 - a row and the fixtures
    directory: Build, path: MakePath, session: Session, sender: str, header: dict[str, tuple[str, ...]],
    require_tls: bool, asks: Asks, reason: str,
) -> None:  # fmt: skip
    index, ends = directory(RESOURCES), (path(sender), path("x@internet.test"))
    found = explain(index, session("192.0.2.9"), *ends, content=Content(header), require_tls=require_tls)
    assert found.asks is asks
    assert found.outbound is not None
    assert any(one.startswith(reason) for one in found.outbound.reasons) is (
        reason != "" or bool(found.outbound.reasons)
    )
    if require_tls:
        assert "requiretls" in found.outbound.record()["requirement_sources"]
        assert "no-requiretls" in [one.kind for one in found.failures] or asks is Asks.NOTICE
    usual = explain(index, session("192.0.2.9"), *ends, content=Content(header))
    assert found.route == usual.route  # whoever tries it out joins what is asked himself


def test_inbound_is_what_a_session_would_be_told(
    directory: Build, path: MakePath, session: Session, chain: Chain
) -> None:
    index = directory(RESOURCES)
    clients = [
        session(),
        session("192.0.2.7"),
        session(chain=chain("mx.o.example")),
        session(chain=chain("x.gw.example")),
    ]
    for facts in clients:
        for sender in ("", "x@friend.example", "x@o.example", "x@any.test"):
            for recipient in ("ann@o.example", "nobody@o.example", "a@p.example", "y@internet.test", "postmaster"):
                ends = path(sender), path(recipient)
                found = explain(index, facts, *ends)
                mail = decide_mail(index, facts, ends[0])
                said = decide_recipient(index, facts, *ends, mail.attribution) if mail.accepted else mail
                assert found.inbound == said
                assert found.stage == ("RCPT TO" if mail.accepted else "MAIL FROM")
                assert found.supposed is not said.accepted
                assert json.loads(json.dumps(found.record())) == found.record()


def test_a_refusal_at_mail_is_told_as_that(
    ask: Callable[..., Explanation], directory: Build, session: Session, path: MakePath
) -> None:
    only = RESOURCES.partition("[[organization.p.")[0]
    found = explain(directory(only), session(), path("x@friend.example"), path("ann@o.example"))
    assert (found.stage, found.inbound.reply.code) == ("MAIL FROM", 530)
    assert found.outbound is not None
    assert found.outbound.way == "mailbox"
    assert not found.succeeds


def test_every_other_inbound_connector_of_those_concerned_has_its_reason(
    ask: Callable[..., Explanation], session: Session, chain: Chain
) -> None:
    found = ask(session("192.0.2.7", chain("a.test")), "x@friend.example", "ann@o.example")
    assert found.inbound.connector == "branch"  # by address, and the recipient's domain says whose server it is
    assert dict(found.others_inbound) == {
        "connector 'hq' of o": "names *.o.example, and the client's certificate has other names (a.test)",
        "connector 'gateway' of o": "is for mail from others, and this comes from an own server",
        "connector 'friend' of o": "is for mail from others, and this comes from an own server",
        "connector 'off' of o": "is disabled",
    }
    friend = ask(session(chain=chain("a.test")), "x@friend.example", "ann@o.example")
    assert friend.inbound.connector == "friend"
    why = dict(friend.others_inbound)["connector 'gateway' of o"]
    assert why.startswith("matches the sender's domain friend.example by '*', but 'friend' names it more specifically")


def test_why_an_untrusted_certificate_did_not_count_is_told_in_the_words_of_the_decision(
    ask: Callable[..., Explanation], session: Session, chain: Chain
) -> None:
    found = ask(session(chain=chain("mx.o.example", status="expired")), "x@o.example", "y@internet.test")
    assert not found.inbound.accepted
    why = dict(found.others_inbound)["connector 'hq' of o"]
    assert f"connector 'hq' of o {why}" in found.inbound.reasons
    assert why.endswith("is not trusted: expired")


def test_passed_over_connectors_of_other_organizations_are_told_too(
    ask: Callable[..., Explanation], session: Session
) -> None:
    found = ask(session("192.0.2.7"), "x@o.example", "y@internet.test")
    why = dict(found.others_inbound)["connector 'their own' of p"]
    assert why == "holds the address 192.0.2.7 too, but the sender's domain o.example belongs to o"


def test_an_own_server_meets_the_connectors_of_another_organization(
    ask: Callable[..., Explanation], session: Session, chain: Chain
) -> None:
    found = ask(session(chain=chain("mx.o.example")), "x@o.example", "a@p.example")
    assert (found.inbound.connector, found.inbound.organization) == ("hq", "o")
    assert dict(found.others_inbound)["connector 'theirs' of p"] == "matches sender domain o.example by '*'"


@pytest.mark.parametrize(
    ("recipient", "way", "hops", "connector"),
    [
        ("ann@o.example", "mailbox", ("ann@o.example",), ""),
        ("bob@o.example", "lmtp", ("127.0.0.1:24",), ""),
        ("b@bank.example", "smart-hosts", ("mx.bank.example:25", "[2001:db8::1]:2525"), "bank"),
        ("t@trial.example", "mx", ("trial.example",), "trial"),
        ("y@internet.test", "mx", ("internet.test",), ""),
        ("r@relay.example", "mx", ("relay.example",), ""),
    ],
)
def test_the_way_out(
    ask: Callable[..., Explanation],
    session: Session,
    recipient: str,
    way: str,
    hops: tuple[str, ...],
    connector: str,
) -> None:
    found = ask(session("192.0.2.1"), "x@o.example", recipient)
    assert found.outbound is not None
    assert (found.outbound.way, found.outbound.next_hops, found.outbound.connector) == (way, hops, connector)
    assert found.succeeds
    assert found.expiration == 43200
    assert bool(found.failures) is (way != "mailbox")
    assert (found.route is None) is False


def test_a_recipient_that_does_not_exist_goes_nowhere(ask: Callable[..., Explanation], session: Session) -> None:
    found = ask(session("192.0.2.1"), "x@o.example", "nobody@o.example")
    assert found.outbound is not None
    assert found.outbound.way == "nowhere"
    assert found.outbound.reply is not None
    assert found.outbound.reply.code == 550
    assert not found.succeeds
    assert found.failures == ()


def test_accepted_without_a_way_is_no_success(ask: Callable[..., Explanation], session: Session) -> None:
    found = ask(session("192.0.2.1"), "spy@o.example", "y@internet.test")
    assert found.inbound.accepted
    assert found.outbound is not None
    assert found.outbound.way == "nowhere"
    assert not found.succeeds


def test_what_would_follow_if_a_relay_were_accepted(ask: Callable[..., Explanation], session: Session) -> None:
    relay = ask(session(), "x@o.example", "b@bank.example")
    assert relay.supposed
    assert relay.outbound is not None
    assert relay.outbound.connector == "bank"
    by_address = ask(session("192.0.2.1"), "", "b@bank.example")
    assert by_address.supposed
    assert by_address.outbound is not None
    assert by_address.outbound.organization == "o"
    nobody = ask(session(), "x@any.test", "y@internet.test")
    assert (nobody.outbound, nobody.route, nobody.failures, nobody.expiration) == (None, None, (), None)
    assert nobody.others_outbound == nobody.other_rules == ()
    assert nobody.record()["outbound"] is None


def test_what_is_held_below_the_memory_is_said_of_the_way_out_only(
    directory: Build, path: MakePath, session: Session
) -> None:
    def held(recipient: str, drop: str) -> bool:
        resources = f"""
            [organization.h]
            protection_drop = "{drop}"
            [[organization.h.accepted_domain]]
            name = "h.example"
            [[organization.h.mailbox]]
            address = "ann@h.example"
        """
        found = explain(directory(resources), session(), path("bob@h.example"), path(recipient))
        assert found.record()["held_below_memory"] is found.held_below_memory
        return found.held_below_memory

    assert held("x@internet.test", "hold")
    assert not held("x@internet.test", "warn")
    assert not held("ann@h.example", "hold")


def test_an_organization_without_an_expiration_of_its_own_leaves_it_to_the_server(
    ask: Callable[..., Explanation], session: Session
) -> None:
    assert ask(session(), "x@any.test", "a@p.example").expiration is None


def test_every_other_outbound_connector_has_its_reason(ask: Callable[..., Explanation], session: Session) -> None:
    sent = ask(session("192.0.2.1"), "x@o.example", "b@bank.example")
    assert dict(sent.others_outbound) == {
        "connector 'trial' of o": "is for trial.example, and bank.example is not among them",
        "connector 'off' of o": "is disabled",
        "connector 'secret way' of o": "is disabled",
    }
    kept = dict(ask(session("192.0.2.1"), "x@o.example", "ann@o.example").others_outbound)
    assert kept["connector 'bank' of o"] == "is not needed: the recipient has a mailbox here"
    assert kept["connector 'off' of o"] == "is disabled"


def test_rules_that_hold_and_those_that_do_not(ask: Callable[..., Explanation], session: Session) -> None:
    own = session("192.0.2.1")
    plain = ask(own, "x@o.example", "t@trial.example")
    assert plain.outbound is not None
    assert any(reason.startswith("mail flow rule 'late' of o") for reason in plain.outbound.reasons)
    assert dict(plain.other_rules) == {
        "mail flow rule 'confidential' of o": "asks for the field X-Confidential, which the message does not have",
        "mail flow rule 'off' of o": "is disabled",
        "mail flow rule 'by the secret way' of o": "does not match: its senders do not fit",
    }
    marked = dict(ask(own, "spy@o.example", "t@trial.example", x_confidential="yes").other_rules)
    assert marked["mail flow rule 'late' of o"] == "is not evaluated: an earlier rule ends the rules"
    kept = dict(ask(own, "x@o.example", "ann@o.example").other_rules)
    assert kept["mail flow rule 'late' of o"] == "is for mail that leaves, and the recipient has a mailbox here"


def test_what_a_tls_failure_would_do_is_told_for_what_is_in_force_and_in_rehearsal(
    ask: Callable[..., Explanation], session: Session
) -> None:
    bank = {one.kind: one for one in ask(session("192.0.2.1"), "x@o.example", "b@bank.example").failures}
    assert bank["expired"].message == "CertificateExpired"
    assert bank["wrong-name"].result == "delivered"
    trial = ask(session("192.0.2.1"), "x@o.example", "b@trial.example")
    assert trial.outbound is not None
    assert trial.outbound.rehearsed is not None
    lmtp = {one.kind: one.result for one in ask(session(), "x@o.example", "bob@o.example").failures}
    assert lmtp["no-starttls"] == "delivered-in-clear"


def test_the_record_has_all_others_however_many(directory: Build, session: Session, path: MakePath) -> None:
    many = "".join(
        f'[[organization.o.inbound_connector]]\nname = "n{one}"\nsender_domains = ["n{one}.test"]\n'
        for one in range(40)
    )
    text = '[[organization.o.accepted_domain]]\nname = "o.example"\n' + many
    found = explain(directory(text), session(), path("x@any.test"), path("a@o.example"))
    record = found.record()
    assert len(record["inbound"]["others"]) == 40
    assert record["outbound"]["supposed"] is False


def test_the_way_of_forwarded_mail_is_the_one_to_explain(directory: Build, session: Session, path: MakePath) -> None:
    text = RESOURCES.replace(
        'address = "ann@o.example"\n', 'address = "ann@o.example"\nforwarding_smtp_address = "x@bank.example"\n'
    )
    found = explain(directory(text), session("192.0.2.7"), path("bob@o.example"), path("ann@o.example"))
    assert found.outbound is not None
    assert (found.outbound.way, found.outbound.connector) == ("smart-hosts", "bank")
    assert "the mailbox ann@o.example forwards to x@bank.example" in found.inbound.reasons
    assert "mailbox here" not in "".join(why for _, why in found.others_outbound)


KEY = '[[organization.o.dkim_key]]\nname = "s._domainkey.o.example"\nstate = "current"\n'


def test_it_says_whether_a_message_is_signed(directory: Build, session: Session, chain: Chain, path: MakePath) -> None:
    ours = session(chain=chain("mail.o.example"))

    def dkim(text: str, sender: str, to: str, who: SessionFacts, *author: str) -> object:
        content = Content({"from": author} if author else {})
        return explain(directory(text), who, path(sender), path(to), content=content).record()["dkim"]

    signed = {"keys": ["o.example/s rsa-sha256"], "why": "its From field names o.example"}
    assert dkim(RESOURCES + KEY, "ann@o.example", "x@c.example", ours) == signed
    assert dkim(RESOURCES + KEY, "bounce@o.example", "x@c.example", ours, "Ann <ann@o.example>") == signed
    foreign = dkim(RESOURCES + KEY, "ann@o.example", "x@c.example", ours, "eve@e.example")
    assert foreign == {"keys": [], "why": "there is no current DKIM key for e.example, which its From field names"}
    assert dkim(RESOURCES + KEY, "eve@e.example", "ann@o.example", session()) is None  # into a mailbox
    assert dkim(RESOURCES, "ann@o.example", "x@c.example", ours) is None


FORWARDS = """
[[organization.o.mailbox]]
address = "away@o.example"
forwarding_smtp_address = "x@elsewhere.example"
"""


def test_it_says_by_which_key_a_forward_is_sealed_and_why_by_none(
    directory: Build, session: Session, path: MakePath
) -> None:
    def arc(settings: str, keys: str, to: str = "away@o.example") -> object:
        text = RESOURCES.replace('message_expiration = "12h"', settings)
        return explain(directory(text + FORWARDS + keys), session(), path("eve@e.example"), path(to)).record()["arc"]

    checked = 'authentication_results = "gateway"'
    found = arc(checked, KEY)
    assert found == {
        "keys": ["o.example/s rsa-sha256"],
        "why": "it is authenticated when it comes in, and leaves again",
    }
    assert arc(checked, "") == {"keys": [], "why": "o has no current RSA DKIM key"}
    unchecked = arc("", KEY)
    assert unchecked == {
        "keys": [],
        "why": 'it is not authenticated when it comes in (authentication_results = "none")',
    }
    assert arc("", "") is None  # who has no key expects no seal
    assert arc(checked, KEY, "ann@o.example") is None  # into a mailbox


def test_the_way_to_another_node_is_told_and_who_is_asked_there(
    directory: Build, session: Session, path: MakePath
) -> None:
    resources = directory(RESOURCES.replace("[organization.o]\n", '[organization.o]\nhome = "mx2.o.example"\n', 1))
    nodes = Nodes("mx1.o.example", "o-site", {"mx2.o.example": ("192.0.2.2", 2600)})
    found = explain(resources, session(), path("x@far.example"), path("ann@o.example"), nodes=nodes)
    assert found.outbound is not None
    assert (found.outbound.way, found.outbound.next_hops) == ("internal", ("mx2.o.example:2600",))
    assert found.outbound.reasons == ("o lives on the node mx2.o.example",)
    assert found.outbound.record()["requirement_sources"] == ["internal:site"]
    whys = dict(found.others_outbound)
    assert whys["connector 'bank' of o"] == "is not used here, but on the node where the organization lives"
    assert whys["connector 'off' of o"] == "is disabled"
    assert set(dict(found.other_rules).values()) <= {"applies on the node where the organization lives", "is disabled"}
    assert found.other_rules
    assert {one.result for one in found.failures} == {"waits", "delivered"}


def test_rules_that_hold_the_message_in_quarantine_are_among_the_reasons(
    directory: Build, session: Session, path: MakePath
) -> None:
    """Also where it is for a mailbox, to which no rule of the way out applies."""
    boxes = "".join(f"[[organization.o.mailbox]]\naddress = '{name}@o.example'\n" for name in ("ann", "joe"))
    rules = (
        "[[organization.o.mail_flow_rule]]\nname = 'offers'\nheader_name = 'Subject'\nquarantine = true\n"
        "[[organization.o.mail_flow_rule]]\nname = 'trial'\nmode = 'rehearse'\nquarantine = true\nsenders = ['*']\n"
    )
    known = directory(f"[[organization.o.accepted_domain]]\nname = 'o.example'\n{boxes}{rules}")
    given = session(), path("a@far.example"), path("ann@o.example")
    held = explain(known, *given, content=Content({"subject": ("x",)}))
    assert held.inbound.reasons[-1] == "o holds it in quarantine, by mail flow rule 'offers', until it is released"
    assert not any("quarantine" in reason for reason in explain(known, *given).inbound.reasons)


def test_who_journals_the_message_is_among_the_reasons(directory: Build, session: Session, path: MakePath) -> None:
    boxes = "".join(f"[[organization.o.mailbox]]\naddress = '{name}@o.example'\n" for name in ("ann", "keep"))
    known = directory(
        "[organization.o]\njournal_to = 'keep@o.example'\n"
        f"[[organization.o.accepted_domain]]\nname = 'o.example'\n{boxes}"
    )
    explained = explain(known, session(), path("a@far.example"), path("ann@o.example"))
    assert explained.inbound.reasons[-1] == "o journals it to keep@o.example as a report"
    elsewhere = explain(known, session(), path("a@far.example"), path("x@far.example"))
    assert not any("journals" in reason for reason in elsewhere.inbound.reasons)


def test_where_dane_is_mandatory_nothing_leaves_unencrypted(directory: Build, session: Session, path: MakePath) -> None:
    resources = """
    [organization.o]
    [[organization.o.accepted_domain]]
    name = "o.example"
    [[organization.o.inbound_connector]]
    name = "own"
    connector_type = "on-premises"
    sender_ip_addresses = ["192.0.2.0/24"]
    [[organization.o.outbound_connector]]
    name = "dane"
    recipient_domains = ["bank.example"]
    smtp_dane_mode = "mandatory"
    [[organization.o.outbound_connector]]
    name = "hosts"
    recipient_domains = ["hosts.example"]
    smart_hosts = ["mx.hosts.example"]
    smtp_dane_mode = "mandatory"
    """
    for domain in ("bank.example", "hosts.example"):
        asked = session(ip="192.0.2.7"), path("ann@o.example"), path(f"bob@{domain}")
        found = explain(directory(resources), *asked)
        record = json.loads(json.dumps(found.record()))
        assert record["outbound"]["requirement"] == "authenticated(dane)", "as the trace of it says"
        assert "only hosts with usable TLSA records are used" in record["outbound"]["reasons"][-1]
        results = {one["kind"]: one["result"] for one in record["failures"]}
        assert results["no-starttls"] == results["handshake-fails"] == "waits"

    rehearsed = resources.replace('name = "dane"', 'name = "dane"\n    mode = "rehearse"')
    found = explain(directory(rehearsed), session(ip="192.0.2.7"), path("ann@o.example"), path("bob@bank.example"))
    assert found.failures[0].result == "delivered-in-clear"
