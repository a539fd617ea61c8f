"""Every inbound decision against a second opinion: exchange.md section 5 written down once more, as plainly as can be.

The oracle knows nothing of indexes, look-ups and orders in which things are found: it goes through all connectors of
all organizations each time. It shares no code with what it judges but the reading of addresses.
"""

from __future__ import annotations

import ipaddress
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import among, some

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.decision import InboundVerdict
from gatepost.policy.decisions.inbound import decide_mail, decide_recipient
from gatepost.protocols.smtp.grammar import Path, parse_path
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, Revocation, TlsFacts

PRIVATE = "/etc/o-private-ca.pem"
DOMAINS = {
    "o": ["o.test", "*.w.test", "x.e.s.test"],
    "p": ["p.test", "sub.v.test", "q.p.test", "y.e.s.test"],
    "r": ["r.s.test"],
}
SENDERS = [
    "",
    "x@o.test",
    "x@p.test",
    "x@sub.w.test",
    "x@sub.v.test",
    "x@deep.sub.w.test",
    "x@r.s.test",
    "x@f.test",
    "x@a.f.test",
    "x@[192.0.2.7]",
]
RECIPIENTS = [
    "a@o.test",
    "a@p.test",
    "a@q.p.test",
    "a@w.test",
    "a@sub.w.test",
    "a@sub.v.test",
    "a@r.s.test",
    "y@other.test",
    "y@[192.0.2.7]",
]

type Connector = dict[str, Any]


class Client(NamedTuple):
    """What a session shows. status: of its certificate, by trust anchors; "" are the server's. None: not judged."""

    ip: str
    tls: str
    names: tuple[str, ...]
    common_name: str
    status: dict[str, str | None]


class World(NamedTuple):
    """connectors, reject: by organization."""

    connectors: dict[str, list[Connector]]
    reject: dict[str, bool]


class Answer(NamedTuple):
    """code: with "451" for any deferral. connector: whose demands were put, "" for nobody's."""

    code: str
    organization: str = ""
    direction: str = "none"
    connector: str = ""


# ------------------------------------------------------------------------------------------------ the second opinion


def covers(pattern: str, domain: str) -> bool:
    if pattern == "*":
        return True
    return domain == pattern.removeprefix("*.") or (pattern.startswith("*.") and domain.endswith(pattern[1:]))


def owner(domain: str) -> str:
    """The organization that accepts a domain by the longest of its patterns, the exact name before all."""
    found = [(pattern == domain, len(pattern), name) for name, own in DOMAINS.items() for pattern in own]
    fits = [one for one in found if any(covers(p, domain) and len(p) == one[1] for p in DOMAINS[one[2]])]
    return max(fits)[2] if domain and fits else ""


def bears(connector: Connector, client: Client) -> bool:
    wanted = connector.get("tls_sender_certificate_name")
    if not client.tls or not wanted:
        return False
    for name in [*client.names, *([client.common_name] if connector.get("match_common_name") else [])]:
        if name == wanted or (wanted.startswith("*.") and covers(wanted, name.removeprefix("*."))):
            return True
        if name.startswith("*.") and not wanted.startswith("*.") and wanted.split(".", 1)[1] == name[2:]:
            return True
    return False


def trust(connector: Connector, client: Client) -> str:
    """Of a certificate that bears the connector's name: "yes", "no", or "unsure" if we could not find out."""
    check = connector.get("revocation_check", "soft-fail")
    match client.status[connector.get("trust_anchors", "")]:
        case None:
            return "unsure"
        case "trusted":
            return "yes"
        case "revoked":
            return "yes" if check == "none" else "no"
        case "unknown":
            return "unsure" if check == "hard-fail" else "yes"
        case _:
            return "no"


def has_certificate(connector: Connector, client: Client) -> bool:
    return bears(connector, client) and trust(connector, client) == "yes"


def is_unsure(connector: Connector, client: Client) -> bool:
    return bears(connector, client) and trust(connector, client) == "unsure"


def has_address(connector: Connector, client: Client) -> bool:
    address = ipaddress.ip_address(client.ip)
    mapped = getattr(address, "ipv4_mapped", None)
    held = [ipaddress.ip_network(text) for text in connector.get("sender_ip_addresses", [])]
    return any((mapped or address) in one for one in held)


def narrowed_to(connector: Connector, domain: str) -> bool:
    domains = connector.get("associated_accepted_domains", [])
    return not domains or domain in domains


def enabled(world: World, kind: str) -> list[tuple[str, Connector]]:
    return [
        (name, one)
        for name, connectors in world.connectors.items()
        for one in connectors
        if one.get("connector_type", "partner") == kind and one.get("enabled", True)
    ]


def belongs(name: str, connector: Connector, client: Client) -> int:
    """Whether the certificate name is the organization's: 2 in an accepted domain, 1 above one and nobody's, 0 not.

    Above its domains only the certificate of a name at, below or right above one of them is its own.
    """
    wanted = connector["tls_sender_certificate_name"]
    if found := owner(wanted.removeprefix("*.")):
        return 2 if found == name else 0
    domains = [one.removeprefix("*.") for one in DOMAINS[name]]
    borne = [*client.names, *([client.common_name] if connector.get("match_common_name") else [])]
    own = any(
        f".{one}".endswith(f".{domain}") or one == f"*.{domain.split('.', 1)[1]}" for one in borne for domain in domains
    )
    return int(own and wanted.startswith("*.") and any(covers(wanted, domain) for domain in domains))


def narrowness(name: str, connector: Connector, client: Client) -> tuple[bool, int, int]:
    wanted = connector["tls_sender_certificate_name"]
    return not wanted.startswith("*."), wanted.count("."), belongs(name, connector, client)


def in_order(name: str, connectors: list[Connector], client: Client, by: str) -> list[Connector]:
    """By priority, then the narrowest name or network, then by name."""

    def narrow(one: Connector) -> tuple[int, ...]:
        if by == "certificate":
            return tuple(-int(part) for part in narrowness(name, one, client))
        version = 4 if "." in client.ip else 6
        networks = [ipaddress.ip_network(text) for text in one["sender_ip_addresses"]]
        alone = [n for n in networks if n.version == version and has_address({"sender_ip_addresses": [str(n)]}, client)]
        return (-max(n.prefixlen for n in alone),)

    return sorted(connectors, key=lambda one: (one.get("priority", 100), narrow(one), one["name"]))


def first_in_force(connectors: list[Connector]) -> Connector | None:
    """A connector in rehearsal never goes before one in force."""
    return next((one for one in connectors if one.get("mode") != "rehearse"), connectors[0] if connectors else None)


def own_server(world: World, client: Client, sender: str) -> tuple[str, Connector] | None:
    """Steps 1 to 3: whose own server the client is, before a recipient is known."""
    mine = owner(sender)
    servers = [(name, one) for name, one in enabled(world, "on-premises") if narrowed_to(one, sender)]
    certified = [(name, one) for name, one in servers if has_certificate(one, client)]
    named = [(name, one) for name, one in certified if belongs(name, one, client)]
    others = [(name, one) for name, one in certified if not belongs(name, one, client)]
    narrowest = max((narrowness(name, one, client) for name, one in named), default=None)
    leaders = {name for name, one in named if narrowness(name, one, client) == narrowest}
    chosen = min(leaders) if len(leaders) == 1 else mine
    if leaders and chosen not in leaders:
        named = others = []
    group = [one for name, one in named if name == chosen]
    group = in_order(chosen, group, client, "certificate")
    if chosen == mine:
        by_sender = [one for name, one in others if name == mine]
        held = [one for name, one in servers if name == mine and has_address(one, client)]
        group += in_order(mine, by_sender, client, "certificate") + in_order(mine, held, client, "address")
    winner = first_in_force(group)
    return (chosen, winner) if chosen and winner else None


def claimed(world: World, client: Client, organization: str, recipient: str) -> Connector | None:
    """Steps 2b and 3b: the recipient's organization has a connector that knows the client."""
    servers = [
        one for name, one in enabled(world, "on-premises") if name == organization and narrowed_to(one, recipient)
    ]
    certified = [one for one in servers if has_certificate(one, client)]
    held = [one for one in servers if has_address(one, client)]
    group = in_order(organization, certified, client, "certificate") + in_order(organization, held, client, "address")
    return first_in_force(group)


def channel(connector: Connector, client: Client) -> str:
    """What the connector refuses for TLS, "" if nothing."""
    if connector.get("mode") == "rehearse":
        return ""
    if not client.tls:
        return "530 5.7.0" if connector.get("require_tls", True) else ""
    return "550 5.7.10" if client.tls < connector.get("min_tls_version", "") else ""


def partner(world: World, client: Client, organization: str, sender: str, recipient: str) -> tuple[str, str, bool]:
    """Step 5: what the partner connector refuses, its name, and whether one in force knows the client."""
    found = []
    for name, one in enabled(world, "partner"):
        patterns = [pattern for pattern in one["sender_domains"] if covers(pattern, sender)]
        if name != organization or not patterns or not narrowed_to(one, recipient):
            continue
        wildness = min((pattern != sender, -len(pattern)) for pattern in patterns)
        restricts = one.get("restrict_domains_to_certificate") or one.get("restrict_domains_to_ip_addresses")
        fit = 0 if has_certificate(one, client) else 1 if has_address(one, client) else 2 if restricts else 3
        found.append(((one.get("priority", 100), wildness, fit, one["name"]), one))
    ordered = [one for _, one in sorted(found, key=lambda each: each[0])]
    winner = first_in_force(ordered)
    if winner is None:
        return "", "", False
    in_force = [one for one in ordered if one.get("mode") != "rehearse"]
    known = any(has_certificate(one, client) or has_address(one, client) for one in in_force)
    refusal = channel(winner, client)
    if not refusal and winner.get("mode") != "rehearse":
        no_certificate = winner.get("restrict_domains_to_certificate") and not has_certificate(winner, client)
        no_address = winner.get("restrict_domains_to_ip_addresses") and not has_address(winner, client)
        if no_certificate and not no_address and is_unsure(winner, client):
            refusal = "451"
        elif no_certificate or no_address:
            refusal = "550 5.7.51"
    return refusal, winner["name"], known


def expected(world: World, client: Client, sender: str, recipient: str) -> Answer:
    """The answer to RCPT TO. sender, recipient: domains."""
    organization = owner(recipient)
    own, connector = own_server(world, client, sender) or ("", None)
    if connector is None and organization:
        connector = claimed(world, client, organization, recipient)
        own = organization if connector else ""
    if connector is not None:
        if refusal := channel(connector, client):
            return Answer(refusal, own, "originating", connector["name"])
    elif any(
        is_unsure(one, client)
        and one.get("mode") != "rehearse"
        and (belongs(name, one, client) or name in {owner(sender), organization})
        for name, one in enabled(world, "on-premises")
    ):
        return Answer("451")
    name = connector["name"] if connector else ""
    if not organization:
        return Answer("250", own, "originating", name) if own else Answer("550 5.7.64")
    direction = "originating" if own else "incoming"
    if own == organization:
        return Answer("250", own, direction, name)
    refusal, partner_name, known = partner(world, client, organization, sender, recipient)
    if not refusal and world.reject[organization] and owner(sender) == organization and not known:
        refusal = "550 5.7.68"
    return Answer(refusal or "250", own or organization, direction, name or partner_name)


# ------------------------------------------------------------------------------------------------ worlds to judge

NAMES = [
    "*.o.test",
    "mx.o.test",
    "o.test",
    "*.w.test",
    "*.sub.w.test",
    "mx.sub.w.test",
    "*.p.test",
    "*.e.s.test",
    "*.s.test",
    "mx.host.test",
]
BORNE = ["mx.o.test", "*.o.test", "o.test", "mx.sub.w.test", "*.sub.w.test", "a.p.test", "a.e.s.test", "mx.host.test"]
NETWORKS = ["192.0.2.0/24", "192.0.2.7", "2001:db8::/48", "2001:db8::7"]
ADDRESSES = ["192.0.2.7", "192.0.2.8", "::ffff:192.0.2.7", "2001:db8::7", "203.0.113.9"]
STATUS = ["trusted", "trusted", "untrusted-root", "revoked", "unknown"]


@st.composite
def connectors(draw: st.DrawFn, organization: str) -> Connector:
    """One that may be saved."""
    fields: Connector = {
        "enabled": draw(among(True, True, True, False)),
        "mode": draw(among("enforce", "enforce", "rehearse")),
        "priority": draw(among(10, 100)),
        "trust_anchors": draw(among("", "", PRIVATE)),
    }
    on_premises = draw(st.booleans())
    by = draw(among("certificate", "address", "both", *([] if on_premises else ["nothing"])))
    if on_premises:
        fields["connector_type"] = "on-premises"
    else:
        fields["sender_domains"] = draw(some("*", "o.test", "p.test", "*.f.test", "f.test", "a.f.test", "*.test"))
    if by in {"certificate", "both"}:
        fields |= {
            "tls_sender_certificate_name": draw(among(*NAMES)),
            "match_common_name": draw(st.booleans()),
            "revocation_check": draw(among("none", "soft-fail", "hard-fail")),
        }
    if by in {"address", "both"}:
        fields["sender_ip_addresses"] = draw(some(*NETWORKS))
    if not on_premises:
        fields["restrict_domains_to_certificate"] = by in {"certificate", "both"} and draw(st.booleans())
        fields["restrict_domains_to_ip_addresses"] = by in {"address", "both"} and draw(st.booleans())
    fields["require_tls"] = by in {"certificate", "both"} or draw(st.booleans())
    if fields["require_tls"] and draw(st.booleans()):
        fields["min_tls_version"] = "TLSv1.3"
    if draw(among(False, False, True)):
        fields["associated_accepted_domains"] = [DOMAINS[organization][0]]
    return fields


SEVERAL = {name: st.lists(connectors(name), max_size=3) for name in DOMAINS}


@st.composite
def worlds(draw: st.DrawFn) -> World:
    found = {name: draw(SEVERAL[name]) for name in DOMAINS}
    for several in found.values():
        for number, one in enumerate(several):
            one["name"] = f"c{number}"
    return World(found, {name: draw(st.booleans()) for name in DOMAINS})


UP_TO_TWO = st.lists(st.sampled_from(BORNE), max_size=2, unique=True)


@st.composite
def clients(draw: st.DrawFn) -> Client:
    names = tuple(draw(UP_TO_TWO))
    common_name = draw(among("", *BORNE))
    tls = draw(among("", "TLSv1.2", "TLSv1.3", "TLSv1.3"))
    own, private = draw(among(*STATUS)), draw(among(*STATUS, None))
    return Client(draw(among(*ADDRESSES)), tls, names, common_name, {"": own, PRIVATE: private})


def directory(world: World) -> Directory:
    written = {
        name: {
            "reject_direct_send": world.reject[name],
            "accepted_domain": [{"name": one, "type": "internal-relay"} for one in DOMAINS[name]],
            "inbound_connector": world.connectors[name],
        }
        for name in DOMAINS
    }
    return Directory(parse({"organization": written}))


def session(client: Client) -> SessionFacts:
    if not client.tls:
        return SessionFacts("s", client.ip, "h")
    tls = TlsFacts(client.tls, "TLS_AES_256_GCM_SHA384", "X25519", "", resumed=False, server_name="")
    if not client.names and not client.common_name:
        return SessionFacts("s", client.ip, "h", tls)
    leaf = CertificateFacts(
        f"CN={client.common_name}",
        "CN=CA",
        "1",
        client.common_name,
        client.names,
        (),
        "aa",
        "bb",
        "cc",
        0,
        1,
        "EC-P-256",
    )

    def judged(status: str) -> ChainVerdict:
        if status == "unknown":
            return ChainVerdict(ChainStatus.TRUSTED, "", leaf, revocation=Revocation("unknown", "no answer"))
        return ChainVerdict(ChainStatus(status), "", leaf)

    own = client.status[""]
    assert own is not None
    chains = {name: judged(status) for name, status in client.status.items() if name and status is not None}
    return SessionFacts("s", client.ip, "h", tls, judged(own), chains)


def path(address: str) -> Path:
    return parse_path(f"<{address}>", smtputf8=False)


def answer(verdict: InboundVerdict) -> Answer:
    reply = verdict.reply
    code = {2: "250", 4: "451"}.get(reply.code // 100, f"{reply.code} {reply.enhanced}")
    assert reply.enhanced.partition(".")[0] == str(reply.code)[0]
    return Answer(code, verdict.organization, verdict.direction, verdict.connector)


@settings(max_examples=150)
@given(worlds(), clients())
def test_the_answer_to_each_recipient_is_the_expected_one(world: World, client: Client) -> None:
    index, facts = directory(world), session(client)
    for sender in map(path, SENDERS):
        attribution = decide_mail(index, facts, sender).attribution
        for recipient in map(path, RECIPIENTS):
            verdict = decide_recipient(index, facts, sender, recipient, attribution)
            wanted = expected(world, client, sender.domain, recipient.domain)
            assert answer(verdict) == wanted, (sender.text, recipient.text, verdict.reasons)
            assert verdict == decide_recipient(index, facts, sender, recipient)


@settings(max_examples=50)
@given(worlds(), clients())
def test_mail_is_refused_only_where_every_recipient_would_be(world: World, client: Client) -> None:
    index, facts = directory(world), session(client)
    for sender in map(path, SENDERS):
        verdict = decide_mail(index, facts, sender)
        accepted = [one for one in map(path, RECIPIENTS) if owner(one.domain)]
        wanted = {expected(world, client, sender.domain, one.domain).code for one in accepted}
        if not verdict.accepted:
            assert {answer(verdict).code} == wanted, sender.text


@settings(max_examples=50)
@given(worlds(), clients())
def test_nobody_relays_but_by_certificate_or_address_of_an_own_server(world: World, client: Client) -> None:
    """The one thing that must never go wrong, in the fewest words there are for it."""
    index, facts = directory(world), session(client)
    servers = enabled(world, "on-premises")
    for sender in map(path, SENDERS):
        if decide_recipient(index, facts, sender, path("y@other.test")).accepted:
            by_certificate = [name for name, one in servers if has_certificate(one, client)]
            by_address = [name for name, one in servers if has_address(one, client)]
            assert by_certificate or owner(sender.domain) in by_address
            assert sender.domain or by_certificate


@settings(max_examples=50)
@given(worlds(), clients(), st.sampled_from(RECIPIENTS[:6]))
def test_all_recipients_of_a_message_are_of_one_kind(world: World, client: Client, begin: str) -> None:
    """An own server's message belongs to one organization, so that its way is nobody else's."""
    index, facts = directory(world), session(client)
    for sender in map(path, SENDERS):
        taken: list[InboundVerdict] = []
        for recipient in map(path, [begin, *RECIPIENTS]):
            alone = decide_recipient(index, facts, sender, recipient)
            verdict = decide_recipient(index, facts, sender, recipient, first=taken[0] if taken else None)
            if verdict.accepted:
                taken.append(verdict)
            elif alone.accepted:
                assert (verdict.reply.code, verdict.reply.enhanced) == (452, "4.5.3")
            else:
                assert verdict.reply == alone.reply
        assert len({one.direction for one in taken}) < 2
        assert len({one.organization for one in taken if one.direction == "originating"}) < 2


REHEARSED = {"mode": "rehearse", "enabled": True}


@settings(max_examples=50)
@given(worlds(), clients(), st.data())
def test_a_partner_connector_in_rehearsal_changes_nothing(world: World, client: Client, data: st.DataObject) -> None:
    added = data.draw(connectors("o")) | REHEARSED | {"name": "trial"}
    if "connector_type" in added:
        added = {"name": "trial", "sender_domains": ["*"], "priority": 0} | REHEARSED
    more = World(world.connectors | {"o": [*world.connectors["o"], added]}, world.reject)
    before, after, facts = directory(world), directory(more), session(client)
    for sender in map(path, SENDERS):
        for recipient in map(path, RECIPIENTS):
            was = decide_recipient(before, facts, sender, recipient)
            now = decide_recipient(after, facts, sender, recipient)
            assert (was.reply, was.organization, was.direction) == (now.reply, now.organization, now.direction)


@settings(max_examples=50)
@given(worlds(), clients(), st.data())
def test_an_own_servers_connector_in_rehearsal_weakens_no_other_of_its_organization(
    world: World, client: Client, data: st.DataObject
) -> None:
    """Where the organization knows the client already, what it demands stays; a refusal of a stranger may end."""
    added = data.draw(connectors("o")) | REHEARSED | {"name": "a trial"}
    more = World(world.connectors | {"o": [*world.connectors["o"], added]}, world.reject)
    before, after, facts = directory(world), directory(more), session(client)
    for sender in map(path, SENDERS):
        was, now = decide_mail(before, facts, sender), decide_mail(after, facts, sender)
        if was.attribution.organization == "o" and was.attribution.connector.mode == "enforce":
            assert (was.reply, was.connector) == (now.reply, now.connector)
