"""What one organization of a gateway can do to another's mail: nothing, but through domains that it has proven.

Organization "b" is the one whose mail is looked at; "a" may write whatever resources it likes, save b's domains. Each
example decides about one message with and without the resources of "a".
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.strategies import among

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.facts import SessionFacts
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.explain import Explanation, explain
from gatepost.policy.decisions.forwarding import MailOrigin, keeps_sender, targets_of
from gatepost.policy.decisions.header_trust import header_trust
from gatepost.policy.decisions.outbound import both, required
from gatepost.policy.decisions.published import Modes, joined_modes
from gatepost.policy.decisions.requirement import Authenticated, Identity, Opportunistic, Requirement
from gatepost.policy.decisions.routes import MxRoute, Route, SmartHosts
from gatepost.protocols.message.srs import SrsKeys
from gatepost.protocols.smtp.grammar import parse_path
from gatepost.protocols.tls.facts import CertificateFacts, ChainStatus, ChainVerdict, TlsFacts

TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519", "", resumed=False, server_name="")
GONE = "/gone.pem"  # trust anchors that cannot be read
ANYTHING = "/own.pem"  # and those of an authority of one's own, which certified everybody
NETWORKS = ["192.0.2.0/24", "198.51.100.0/24"]
OWN_ADDRESS, PARTNERS_ADDRESS = "192.0.2.7", "198.51.100.9"
PARTNERS_NAMES = ["mx.partner.test", "*.partner.test"]


HOOK = {"name": "scan", "type": "clamav", "address": "127.0.0.1:3310"}
TLS_SETTINGS = st.sampled_from(["opportunistic", "encryption-only", "certificate-validation", "domain-validation"])
MODE = st.sampled_from(["enforce", "enforce", "rehearse"])


def numbered(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": f"c{number}"} | item for number, item in enumerate(items)]


# Random resources are refused as a whole for any fault: by luck most of the first ones are.
MANY_REFUSED = settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


@st.composite
def by_certificate(draw: st.DrawFn, names: list[str]) -> dict[str, Any]:
    return {
        "tls_sender_certificate_name": draw(among(*names)),
        "trust_anchors": draw(among("", GONE, ANYTHING)),
        "revocation_check": draw(among("none", "soft-fail", "hard-fail")),
    }


@st.composite
def inbound(draw: st.DrawFn, names: list[str], domains: list[str]) -> dict[str, Any]:
    """An inbound connector of either kind. names: for the certificate. domains: of the organization."""
    fields: dict[str, Any] = {"mode": draw(MODE)}
    if draw(st.integers(0, 3)) == 0:
        fields["associated_accepted_domains"] = [draw(among(*domains))]
    if draw(st.booleans()):
        by = draw(among("certificate", "address"))
        fields |= draw(by_certificate(names)) if by == "certificate" else {"sender_ip_addresses": NETWORKS}
        if trusts := draw(among("", "treat_messages_as_internal", "cloud_services_mail_enabled")):
            fields[trusts] = True
        return fields | {"connector_type": "on-premises", "require_tls": draw(st.booleans())}
    fields["sender_domains"] = [draw(among("*", "partner.test", "b.example"))]
    if draw(st.booleans()):
        return fields | draw(by_certificate(names)) | {"restrict_domains_to_certificate": True}
    return fields | {"require_tls": draw(st.booleans()), "priority": draw(among(1, 100))}


@st.composite
def outbound(draw: st.DrawFn, patterns: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {"mode": draw(MODE), "tls_settings": draw(TLS_SETTINGS)}
    where = draw(among("domains", "domains", "accepted", "central", "rules"))
    match where:
        case "domains":
            fields["recipient_domains"] = [draw(among(*patterns))]
        case "accepted":
            fields |= {"all_accepted_domains": True, "connector_type": "on-premises"}
        case "central":
            fields |= {"route_all_messages_via_on_premises": True, "connector_type": "on-premises"}
        case _:
            fields["is_transport_rule_scoped"] = True
    if where != "domains" or draw(st.booleans()):
        fields["smart_hosts"] = ["hub.test"]
    if fields["tls_settings"] == "domain-validation" and draw(st.booleans()):
        fields["tls_domain"] = "hub.test"
    if fields["tls_settings"] == "opportunistic":
        fields["cleartext"] = draw(among("only-if-not-offered", "after-failed-handshake", "never"))
    else:
        fields["min_tls_version"] = draw(among("TLSv1.2", "TLSv1.3"))
    if fields["tls_settings"].endswith("validation"):
        fields["trust_anchors"] = draw(among("", "/private.pem"))
        fields["revocation_check"] = draw(among("none", "hard-fail"))
    fields["smtp_dane_mode"] = draw(among("opportunistic", "none", "mandatory"))
    fields["mta_sts_mode"] = draw(among("opportunistic", "none"))
    fields["requiretls_mode"] = draw(among("enforce", "relaxed"))
    fields["encrypt"] = draw(among("none", "none", "smime"))
    if "connector_type" in fields:
        fields["cloud_services_mail_enabled"] = draw(st.booleans())
    fields["priority"] = draw(among(1, 100))
    return fields


@st.composite
def rules(draw: st.DrawFn, connectors: int) -> dict[str, Any]:
    fields: dict[str, Any] = {"mode": draw(MODE), "require_tls": draw(st.booleans())}
    fields["encrypt"] = "none" if fields["require_tls"] else "smime"
    if draw(st.booleans()):
        fields["recipients"] = [draw(among("*", "bank.test", "b.example", "internet.test"))]
    if draw(st.booleans()) and connectors:
        fields["route_via_connector"] = f"c{draw(st.integers(0, connectors - 1))}"
    return fields


def organization(
    domains: list[str], names: list[str], patterns: list[str], boxes: list[dict[str, Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    bare = [one.removeprefix("*.") for one in domains]
    mailboxes = st.lists(st.sampled_from(boxes), max_size=2, unique_by=lambda one: one["address"])
    inbounds, outbounds = (st.lists(one, max_size=2) for one in (inbound(names, bare), outbound(patterns)))
    rules_of = [st.lists(rules(connectors), max_size=1) for connectors in range(3)]

    @st.composite
    def build(draw: st.DrawFn) -> dict[str, Any]:
        connectors = draw(outbounds)
        types = among("authoritative", "internal-relay")
        return {
            "accepted_domain": [{"name": one, "type": draw(types)} for one in domains],
            "mailbox": draw(mailboxes),
            "inbound_connector": numbered(draw(inbounds)),
            "outbound_connector": numbered(connectors),
            "mail_flow_rule": numbered(draw(rules_of[len(connectors)])),
            "dkim_key": [{"name": f"s._domainkey.{bare[0]}", "state": "current"}] if draw(st.booleans()) else [],
            "content_hook": [HOOK] if draw(st.booleans()) else [],
            "reject_direct_send": draw(st.booleans()),
            "cleartext": draw(among("only-if-not-offered", "after-failed-handshake", "never")),
            "protection_drop": draw(among("warn", "hold")),
        }

    return build()


B = organization(
    ["b.example"],
    ["mx.b.example", "*.b.example"],
    ["*", "bank.test", "*.test", "internet.test"],
    [
        {"address": "ann@b.example"},
        {"address": "eve@b.example", "forwarding_smtp_address": "eve@internet.test"},
        {"address": "eve@b.example", "forwarding_smtp_address": "eve@bank.test"},
    ],
)


def attackers(*domains: str) -> st.SearchStrategy[dict[str, Any]]:
    """Organization a: it names b's domains and servers, and its partners, wherever a resource lets it."""
    return organization(
        list(domains),
        ["mx.b.example", "*.b.example", "mx.partner.test", "*.partner.test", "*.example", "mx.a.example"],
        ["*", "b.example", "*.b.example", "bank.test", "internet.test"],
        [
            {"address": "x@a.example", "aliases": ["y@a.example"]},
            {"address": "z@a.example", "forwarding_smtp_address": "ann@b.example"},
        ],
    )


def chain(name: str, status: ChainStatus) -> ChainVerdict:
    leaf = CertificateFacts(f"CN={name}", "CN=CA", "1", "", (name,), (), "aa", "bb", "cc", 0, 1, "EC-P-256")
    return ChainVerdict(status, "", leaf)


STATUS = st.sampled_from([ChainStatus.TRUSTED, ChainStatus.TRUSTED, ChainStatus.REVOCATION_UNKNOWN])


@st.composite
def sessions(draw: st.DrawFn, address: str, names: list[str]) -> SessionFacts:
    name = draw(among("", *names))
    if not name:
        return SessionFacts("s", address, "h", TLS if draw(st.booleans()) else None, None)
    chains = {ANYTHING: chain(name, ChainStatus.TRUSTED)}
    return SessionFacts("s", address, "h", TLS, chain(name, draw(STATUS)), chains=chains)


def directory(**organizations: dict[str, Any]) -> Directory:
    # A third organization that has nothing, as with one alone some refusals come a command earlier.
    try:
        return Directory(parse({"organization": organizations | {"c": {}}}))
    except ResourceErrors:
        assume(False)
        raise


def explained(index: Directory, session: SessionFacts, sender: str, recipient: str) -> Explanation:
    return explain(index, session, *(parse_path(f"<{one}>", smtputf8=False) for one in (sender, recipient)))


KEYS = SrsKeys((b"k" * 32,))


def decided(index: Directory, session: SessionFacts, sender: str, recipient: str) -> dict[str, Any]:
    """All that is decided about a message, without the sentences that explain it."""
    found = explained(index, session, sender, recipient)
    verdict, route = found.inbound, found.route
    facts: dict[str, Any] = {
        # Who may not relay is told what a connector would have to know, whosever it is: in the text alone.
        "reply": (verdict.reply.code, verdict.reply.enhanced) if verdict.reply.code == 550 else verdict.reply,
        "organization": verdict.organization,
        "direction": verdict.direction,
        "connector": verdict.connector,
        "requirement": verdict.requirement,
        "basis": verdict.basis,
        "rehearsal": (verdict.rehearsed, verdict.would_refuse, verdict.would_refuse_connector),
        "hooks": [(one.organization, one.hook.name) for one in verdict.hooks],
    }
    if not verdict.accepted:
        return facts
    facts |= {
        "signing": found.signing.names if found.signing is not None else [],
        "held": found.held_below_memory,
        "expiration": found.expiration,
    }
    path = parse_path(f"<{recipient}>", smtputf8=False)
    origin = MailOrigin(verdict.attribution)
    reverse_path = parse_path(f"<{sender}>", smtputf8=False)
    facts["targets"] = targets_of(index, KEYS, reverse_path, path, 1e9, origin)
    facts["trust"] = header_trust(index, session, reverse_path, [verdict])
    return facts | {"route": going(route), "keeps": route is not None and keeps_sender(route)}


def going(route: Route | None) -> Any:
    """A route by what is done, not by what is said of it."""
    if not isinstance(route, SmartHosts | MxRoute):
        return type(route), getattr(route, "reply", None), getattr(route, "mailboxes", None)
    hops = route.hops if isinstance(route, SmartHosts) else (route.domain, route.requirement, route.rehearsed)
    parties = route.connector_owner, route.domain_owner, route.sender
    return type(route), route.connector, hops, route.content, route.by_rule, parties, modes(route)


def modes(route: SmartHosts | MxRoute) -> Modes:
    return joined_modes(route.connector, route.sender)


RECIPIENTS = st.sampled_from(["ann@b.example", "eve@b.example", "no@b.example", "x@internet.test", "x@bank.test"])
ALONE = attackers("a.example") | attackers("a.example", "*.a.example")


@MANY_REFUSED
@given(
    B,
    ALONE,
    sessions(OWN_ADDRESS, ["mx.b.example"]),
    st.sampled_from(["x@b.example", "x@internet.test", ""]),
    RECIPIENTS,
)
def test_another_organization_changes_nothing_about_mail_of_ones_own_servers(
    own: dict[str, Any], other: dict[str, Any], session: SessionFacts, sender: str, recipient: str
) -> None:
    before, after = directory(b=own), directory(a=other, b=own)
    assert decided(before, session, sender, recipient) == decided(after, session, sender, recipient)


@MANY_REFUSED
@given(
    B,
    ALONE,
    sessions(PARTNERS_ADDRESS, PARTNERS_NAMES) | sessions(OWN_ADDRESS, ["mx.internet.test"]),
    st.sampled_from(["x@partner.test", "x@b.example", ""]),
    st.sampled_from(["ann@b.example", "eve@b.example", "no@b.example"]),
)
def test_another_organization_changes_nothing_about_mail_of_strangers(
    own: dict[str, Any], other: dict[str, Any], session: SessionFacts, sender: str, recipient: str
) -> None:
    before, after = directory(b=own), directory(a=other, b=own)
    assert decided(before, session, sender, recipient) == decided(after, session, sender, recipient)


ENDS = ("x@b.example", "x@bank.test")


@st.composite
def accepted_mail(draw: st.DrawFn) -> tuple[dict[str, Any], SessionFacts]:
    """Organization b and a session of its server that may relay: three of four may not, and for those no a is made."""
    own, session = draw(B), draw(sessions(OWN_ADDRESS, ["mx.b.example"]))
    assume(explained(directory(b=own), session, *ENDS).inbound.accepted)
    return own, session


@MANY_REFUSED
@given(accepted_mail(), attackers("a.example", "bank.test"))
def test_what_another_organization_accepts_never_weakens_what_the_sender_demands(
    mail: tuple[dict[str, Any], SessionFacts], other: dict[str, Any]
) -> None:
    """Mail of b to a domain that a has proven may take a's way, but under no less than it would have without a."""
    own, session = mail
    before, after = (explained(one, session, *ENDS) for one in (directory(b=own), directory(a=other, b=own)))
    assume(after.inbound.accepted)
    then, now = before.route, after.route
    if not (isinstance(then, SmartHosts | MxRoute) and isinstance(now, SmartHosts | MxRoute)):
        return
    for one in requirements(now):
        for other_one in requirements(then):
            assert_no_less(one, other_one)
    for one, wanted in zip(trials(now), trials(then), strict=False):
        assert_no_less(one, wanted)
    assert bool(now.content.encrypt.required) >= bool(then.content.encrypt.required)
    assert_no_weaker_modes(modes(now), modes(then))


@MANY_REFUSED
@given(accepted_mail(), attackers("a.example", "bank.test"))
def test_what_a_sender_demands_never_takes_the_place_of_what_the_way_demands(
    mail: tuple[dict[str, Any], SessionFacts], other: dict[str, Any]
) -> None:
    """The other half of the conjunction: on a's way b's mail is under no less than a's connector and a ask of all."""
    own, session = mail
    index = directory(a=other, b=own)
    route = explained(index, session, *ENDS).route
    if not isinstance(route, SmartHosts | MxRoute):
        return
    owner = index.organization(route.connector_owner)
    assert owner is not None
    for name, demanded in zip(names_of(route), requirements(route), strict=True):
        assert_no_less(demanded, required(route.connector, owner, (name,)))
    assert_no_weaker_modes(modes(route), joined_modes(route.connector, None))
    by_connector = route.connector is not None and route.connector.encrypt == "smime"
    if by_connector and route.connector.mode == "enforce":
        assert route.content.encrypt.required


def names_of(route: SmartHosts | MxRoute) -> list[str]:
    """By which each of its requirements is made."""
    return [hop.host for hop in route.hops] if isinstance(route, SmartHosts) else [route.domain]


def requirements(route: SmartHosts | MxRoute) -> list[Requirement]:
    return [hop.requirement for hop in route.hops] if isinstance(route, SmartHosts) else [route.requirement]


def trials(route: SmartHosts | MxRoute) -> list[Requirement]:
    """What would be demanded, were nothing in rehearsal."""
    hops = route.hops if isinstance(route, SmartHosts) else (route,)
    return [hop.rehearsed or hop.requirement for hop in hops]


def assert_no_less(now: Requirement, then: Requirement) -> None:
    """Joining what was demanded before adds nothing but names: each way has its own hosts to name."""
    joined = both(now, then)
    assert type(joined) is type(now)
    assert joined.profile == now.profile
    if isinstance(now, Opportunistic) or isinstance(joined, Opportunistic):
        assert getattr(joined, "cleartext", None) == getattr(now, "cleartext", None)
        return
    assert joined.min_version == now.min_version
    if isinstance(now, Authenticated) and isinstance(joined, Authenticated):
        assert joined.revocation == now.revocation
        assert set(joined.anchors) == set(now.anchors)
        if isinstance(then, Authenticated):
            for proof in then.proofs:
                assert isinstance(proof, Identity)
                named = [one for one in now.proofs if isinstance(one, Identity) and one.anchors == proof.anchors]
                assert any(bool(one.names) >= bool(proof.names) for one in named)


DANE = ("none", "opportunistic", "mandatory")


def assert_no_weaker_modes(now: Modes, then: Modes) -> None:
    assert DANE.index(now.dane) >= DANE.index(then.dane)
    assert (now.sts == "opportunistic") >= (then.sts == "opportunistic")
    assert bool(now.relaxed_by) <= bool(then.relaxed_by)
    assert now.own_cleartext >= then.own_cleartext
