"""Proves that mail obeys what domains publish, DANE (RFC 7672) and MTA-STS (RFC 8461), for partners of every defect.

One table: a row is a domain, what it publishes and presents, and what becomes of a message for it. One gateway sends a
message to each over real sockets; NSD serves the signed zones, Unbound validates them. What falls short waits with
Exchange's code (exchange.md section 10; D1 to D3, M1 to M3 are its tests), and its host never sees a MAIL command.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from click.testing import CliRunner
from support.debian import need
from support.finger import Finger, Sender
from support.gateway import Gateway
from support.partners import RESOLVER, WRONG, Partner, World
from support.scenes import ALICE, connector, contoso, outcomes, send

from gatepost.manage.cli import main
from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of the message, as the trace has it.

    at: what the host presents that takes it. sources: who asks, beside the organization. told: of `detail`, by "a.b".
    """

    event: str
    code: str
    result: str = ""
    achieved: str = ""
    at: str = ""
    sources: str = ""
    told: dict[str, Any] = field(default_factory=dict)


def sent(at: str, achieved: str, sources: str = "", told: dict[str, Any] | None = None) -> Fate:
    """achieved: how the host is known, and what the channel is."""
    return Fate("SEND", "250", achieved=achieved, at=at, sources=sources, told=told or {})


def held(code: str, result: str, sources: str = "", told: dict[str, Any] | None = None) -> Fate:
    return Fate("DEFER", f"450 {code}", result, sources=sources, told=told or {})


NO_TLS, MISMATCH, UNTRUSTED = "starttls-not-supported", "certificate-host-mismatch", "certificate-not-trusted"
EXPIRED, BOGUS, VAGUE = "certificate-expired", "dnssec-invalid", "validation-failure"
PROVED, NAMED = "dnssec/authenticated", "mta-sts/authenticated"
PASSED, TRIAL = "mta_sts.testing.passed", "mta_sts.testing.result_type"

TABLE: dict[str, tuple[Partner, Fate]] = {
    # DANE: what the certificate must be.
    "match.good.test": (Partner("self", "leaf wrong"), sent("self", PROVED, "dane:match-1.good.test")),
    "old.good.test": (Partner("self-old", "leaf"), sent("self-old", PROVED)),  # 3 1 1: neither name nor date matters
    "anchor.good.test": (Partner("anchored", "anchor"), sent("anchored", PROVED, "dane:anchor-1.good.test")),
    "named.good.test": (Partner("anchored", "anchor", names="domain"), sent("anchored", PROVED)),
    "wrong.good.test": (Partner("self", "wrong"), held("4.7.323", "tlsa-invalid", "dane:wrong-1.good.test")),
    "anchor-name.good.test": (Partner("anchored-other", "anchor"), held("4.7.325", MISMATCH)),
    "anchor-old.good.test": (Partner("anchored-old", "anchor"), held("4.7.322", EXPIRED)),
    "clear.good.test": (Partner("clear", "wrong"), held("4.7.321", NO_TLS, "dane:clear-1.good.test")),
    # DANE: no record can be used.
    "unusable.good.test": (
        Partner("self", "pkix short"),
        sent("self", "dnssec/encrypted", "dane:unusable-1.good.test"),
    ),
    "unusable-clear.good.test": (Partner("clear", "pkix"), held("4.7.321", NO_TLS)),  # D1
    "none.good.test": (Partner("clear"), sent("clear", "dnssec/none", "default")),
    # DANE: the next host.
    "second.good.test": (Partner("self self", "wrong|leaf"), sent("self", PROVED, "dane:second-2.good.test")),  # D3
    "second-clear.good.test": (Partner("clear self", "wrong|leaf"), sent("self", PROVED)),
    # DANE: aliases.
    "cname.good.test": (
        Partner(zone=("cname MX 10 cname-mx", "cname-mx CNAME match-1")),
        sent("self", PROVED, "dane:match-1.good.test"),
    ),
    "cname-wrong.good.test": (
        Partner(zone=("cname-wrong MX 10 cname-wrong-mx", "cname-wrong-mx CNAME wrong-1")),
        held("4.7.323", "tlsa-invalid", "dane:wrong-1.good.test"),
    ),
    "cname-own.good.test": (  # the target has none: those at the first name count
        Partner(
            zone=("cname-own MX 10 cname-own-mx", "cname-own-mx CNAME none-1", f"_25._tcp.cname-own-mx TLSA {WRONG}")
        ),
        held("4.7.321", NO_TLS, "dane:cname-own-mx.good.test"),
    ),
    "cname-away.good.test": (  # the alias is proved, what is behind it is not
        Partner(
            zone=(
                "cname-away MX 10 cname-away-mx",
                "cname-away-mx CNAME mx-1.insecure.test.",
                f"_25._tcp.cname-away-mx TLSA {WRONG}",
            )
        ),
        held("4.7.323", "tlsa-invalid", "dane:cname-away-mx.good.test"),
    ),
    "cname-tlsa.good.test": (
        Partner(
            zone=(
                "cname-tlsa MX 10 cname-tlsa-mx",
                "cname-tlsa-mx A {self}",
                "_25._tcp.cname-tlsa-mx CNAME _25._tcp.match-1",
            )
        ),
        sent("self", PROVED, "dane:cname-tlsa-mx.good.test"),
    ),
    "renamed.good.test": (Partner(zone=("renamed CNAME match",)), sent("self", PROVED, "dane:match-1.good.test")),
    # DANE: what DNSSEC does not prove, and what it proves to be forged.
    "insecure.test": (Partner("self", "wrong"), sent("self", "none/encrypted", "default")),
    "away.plain.test": (Partner(zone=("away MX 10 wrong-1.good.test.",)), sent("self", "none/encrypted", "default")),
    "forged.test": (Partner("self", "wrong"), held("4.7.324", BOGUS)),
    "forged-address.test": (Partner("self", "wrong"), held("4.7.324", BOGUS)),
    "forged-mx.test": (Partner("self", "wrong"), held("4.7.324", BOGUS)),
    "forged-absence.test": (Partner("self"), held("4.7.324", BOGUS)),  # that there are no records is not proved
    "forged-key.test": (Partner("self", "wrong"), held("4.7.324", BOGUS)),
    "lame.good.test": (  # nobody can say whether there are records: what lies below _tcp is not served
        Partner("self", zone=("_tcp.lame-1 NS ns.test.", f"_tcp.lame-1 DS 1 13 2 {'00' * 32}")),
        held("4.4.312", VAGUE),
    ),
    # DANE and connectors; a connector's smart host is another row's MX host.
    "smart.example": (Partner(), sent("self", "none/authenticated", "dane:match-1.good.test")),
    "smart-wrong.example": (Partner(), held("4.7.323", "tlsa-invalid")),
    "must.good.test": (Partner("self", "leaf"), sent("self", PROVED)),
    "must-none.good.test": (Partner("clear"), held("4.7.323", "dane-required")),  # D2
    "must-unusable.good.test": (Partner("self", "pkix"), held("4.7.323", "dane-required")),
    "must-insecure.plain.test": (Partner("self", "leaf"), held("4.7.323", "dane-required")),
    "off.good.test": (Partner("self", "wrong"), sent("self", "dnssec/encrypted", "connector:off.good.test")),
    "rehearsed.good.test": (Partner("self"), sent("self", "dnssec/encrypted")),
    "chain.good.test": (Partner("self", "leaf"), held("4.7.320", UNTRUSTED)),
    # MTA-STS in force.
    "sts.plain.test": (Partner("trusted", sts="enforce 1"), sent("trusted", NAMED, told={"mta_sts.mode": "enforce"})),
    "sts-any.plain.test": (Partner("trusted", sts="enforce *.plain.test"), sent("trusted", NAMED)),
    "sts-mx.plain.test": (  # M1
        Partner("trusted", sts="enforce x.plain.test"),
        held("4.4.8", VAGUE, told={"mta_sts.mode": "enforce"}),
    ),
    "sts-labels.plain.test": (Partner("trusted", sts="enforce *.test"), held("4.4.8", VAGUE)),
    "sts-name.plain.test": (Partner("trusted-other", sts="enforce 1"), held("4.7.5", MISMATCH)),  # M2
    "sts-old.plain.test": (Partner("trusted-old", sts="enforce 1"), held("4.7.5", EXPIRED)),
    "sts-untrusted.plain.test": (Partner("anchored", sts="enforce 1"), held("4.7.5", UNTRUSTED)),
    "sts-self.plain.test": (Partner("self", sts="enforce 1"), held("4.7.5", UNTRUSTED)),
    "sts-clear.plain.test": (Partner("clear", sts="enforce 1"), held("4.4.317", NO_TLS)),
    "sts-second.plain.test": (Partner("trusted-other trusted", sts="enforce 1 2"), sent("trusted", NAMED)),
    "sts-unlisted.plain.test": (Partner("clear trusted", sts="enforce 2"), sent("trusted", NAMED)),
    # MTA-STS not in force.
    "testing.plain.test": (
        Partner("trusted", sts="testing 1"),
        sent("trusted", "none/authenticated", told={"mta_sts.mode": "testing", PASSED: True}),
    ),
    "testing-mx.plain.test": (
        Partner("trusted", sts="testing x.plain.test"),
        sent("trusted", "none/authenticated", told={PASSED: False, "mta_sts.testing.message": "HostNotInPolicy"}),
    ),
    "testing-name.plain.test": (
        Partner("trusted-other", sts="testing 1"),
        sent("trusted-other", "none/encrypted", told={PASSED: False, TRIAL: MISMATCH}),
    ),
    "testing-self.plain.test": (
        Partner("self", sts="testing 1"),
        sent("self", "none/encrypted", told={PASSED: False, TRIAL: UNTRUSTED}),
    ),
    "testing-clear.plain.test": (
        Partner("clear", sts="testing 1"),
        sent("clear", "none/none", told={PASSED: False, TRIAL: NO_TLS}),
    ),
    "sts-off.plain.test": (Partner("self", sts="enforce x.plain.test"), sent("self", "none/encrypted")),  # M3
    "sts-none.plain.test": (Partner("self", sts="none"), sent("self", "none/encrypted", told={"mta_sts.mode": "none"})),
    "sts-down.plain.test": (
        Partner("self", sts="down"),
        sent("self", "none/encrypted", told={"mta_sts.failure.result_type": "sts-policy-fetch-error"}),
    ),
    # Known now, and to be met again when the host of policies is down: see AFTERWARDS.
    "kept.plain.test": (Partner("self", sts="enforce 1"), held("4.7.5", UNTRUSTED)),
    "brief.plain.test": (Partner("self", sts="enforce 1 max_age=1"), held("4.7.5", UNTRUSTED)),
    # Both: DANE decides.
    "both.good.test": (
        Partner("self", "leaf", sts="enforce x.good.test"),
        sent("self", PROVED, "dane:both-1.good.test", told={"mta_sts.mode": "enforce"}),
    ),
    "both-wrong.good.test": (Partner("trusted", "wrong", sts="enforce 1"), held("4.7.323", "tlsa-invalid")),
    "both-unusable.good.test": (Partner("self", "pkix", sts="enforce 1"), held("4.7.5", UNTRUSTED)),
}  # fmt: skip
FORGED = {
    "forged": "TLSA",
    "forged-address": "A",
    "forged-mx": "MX",
    "forged-absence": "NSEC",
    "forged-key": "DS",
}
AFTERWARDS = {
    "sts.plain.test": sent("trusted", NAMED),
    "kept.plain.test": held("4.7.5", UNTRUSTED),
    "brief.plain.test": sent("self", "none/encrypted", told={"mta_sts.failure.result_type": "sts-policy-fetch-error"}),
}
CONNECTORS = [
    connector("smart.example", "match-1.good.test:25"),
    connector("smart-wrong.example", "wrong-1.good.test:25"),
    *(
        connector(domain, smtp_dane_mode="mandatory")
        for domain in ("must.good.test", "must-none.good.test", "must-unusable.good.test", "must-insecure.plain.test")
    ),
    connector("off.good.test", smtp_dane_mode="none"),
    connector("rehearsed.good.test", smtp_dane_mode="mandatory", mode="rehearse"),
    connector("chain.good.test", tls_settings="certificate-validation"),
    connector("sts-off.plain.test", mta_sts_mode="none"),
]
PRIVATE = {"private_policy_hosts": True}


@pytest.fixture(scope="module")
def world(pki: Pki, strange_pki: Pki) -> Iterator[World]:
    need("root", "nsd", "unbound")
    partners = {domain: partner for domain, (partner, _) in TABLE.items() if domain.endswith(".test")}
    with World(partners, pki, strange_pki, FORGED) as made:
        yield made


@pytest.fixture(scope="module")
def matrix_gateway(world: World, pki: Pki) -> Iterator[Gateway]:
    resources, settings = contoso(outbound=CONNECTORS), {"outbound": PRIVATE}
    with Gateway(resources, nameservers=[world.dns.address], anchors=pki.root, settings=settings) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def events(matrix_gateway: Gateway) -> dict[str, dict[str, Any]]:
    """Every row's message was sent: the row of the trace that tells its end, by recipient."""
    wanted = {f"bob@{domain}": fate.event for domain, (_, fate) in TABLE.items()}
    for recipient in wanted:
        send(matrix_gateway.port, recipient)
    return outcomes(matrix_gateway, wanted, timeout=60)


def told(record: Any, key: str) -> Any:
    """What stands under "a.b"."""
    first, _, rest = key.partition(".")
    below = record.get(first, {})
    return told(below, rest) if rest else record.get(first)


def check(world: World, recipient: str, event: dict[str, Any], fate: Fate) -> None:
    assert event["reply"].startswith(fate.code), event
    assert event.get("result_type", "") == fate.result, event
    if fate.achieved:
        assert event["achieved"] == fate.achieved, event
    if fate.sources:
        sources = [one for one in event["detail"]["requirement_sources"] if not one.startswith("organization:")]
        assert sources == fate.sources.split(), event
    assert {key: told(event["detail"], key) for key in fate.told} == fate.told, event["detail"]
    assert world.taken_by(recipient) == ([fate.at] if fate.at else [])


@pytest.mark.parametrize("domain", TABLE)
def test_mail_obeys_what_is_published(world: World, events: dict[str, dict[str, Any]], domain: str) -> None:
    recipient = f"bob@{domain}"
    check(world, recipient, events[recipient], TABLE[domain][1])


def test_who_falls_short_never_sees_a_message(world: World, events: dict[str, dict[str, Any]]) -> None:
    assert len(events) == len(TABLE)
    assert {kind: sink.counts["MAIL"] for kind, sink in world.sinks.items()} == {
        kind: len(sink.messages) for kind, sink in world.sinks.items()
    }


def test_what_was_published_and_matched_is_told(events: dict[str, dict[str, Any]]) -> None:
    def detail(domain: str) -> Any:
        return events[f"bob@{domain}"]["detail"]

    good, bad = detail("match.good.test")["dane"], detail("wrong.good.test")["dane"]
    assert (good["status"], good["base"]) == ("usable", "match-1.good.test")
    assert good["matched"].startswith("3 1 1 ")
    assert [one["result_type"] for one in bad["refusals"]] == ["tlsa-invalid"]
    assert detail("insecure.test")["dane"]["status"] == "insecure"
    assert detail("forged.test")["dane"]["status"] == "failed"
    assert "dane" not in detail("off.good.test")
    rehearsal = detail("rehearsed.good.test")["rehearsal"]
    assert (rehearsal["passed"], rehearsal["result_type"]) == (False, "dane-required")
    assert "mta-sts:sts.plain.test" in detail("sts.plain.test")["requirement_sources"]
    assert "mta_sts" not in detail("sts-off.plain.test")


@pytest.fixture(scope="module")
def later_events(world: World, matrix_gateway: Gateway, events: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The host of policies went down, the gateway was started again, and a policy for a second has expired."""
    assert events
    matrix_gateway.stop()
    world.policies.stop()
    matrix_gateway.start()
    wanted = {f"ann@{domain}": fate.event for domain, fate in AFTERWARDS.items()}
    for recipient in wanted:
        send(matrix_gateway.port, recipient)
    found = outcomes(matrix_gateway, wanted)
    world.policies.start()
    return found


@pytest.mark.parametrize("domain", AFTERWARDS)
def test_a_policy_outlives_a_restart_and_its_host_until_it_expires(
    world: World, later_events: dict[str, dict[str, Any]], domain: str
) -> None:
    recipient = f"ann@{domain}"
    check(world, recipient, later_events[recipient], AFTERWARDS[domain])


def test_a_check_knows_the_policy_that_the_gateway_keeps(
    world: World, matrix_gateway: Gateway, later_events: dict[str, dict[str, Any]]
) -> None:
    """Or it would say that mail goes, which waits."""
    assert later_events
    world.policies.stop()
    try:
        words = ["check", "partner", "kept.plain.test", "--private"]
        check = matrix_gateway.cli(*words, json=True, expect=1).data
        live = matrix_gateway.cli("explain", "--live", "--from", ALICE, "--to", "bob@kept.plain.test", expect=None)
    finally:
        world.policies.start()
    assert (check["verdict"], check["policy"]) == ("hold", "mta-sts")
    assert any("has this policy from before" in finding["text"] for finding in check["findings"]), check["findings"]
    assert "0 of 1 address: requirement met" in live.stdout


def test_what_expires_is_returned_with_the_permanent_code(world: World, pki: Pki) -> None:
    """M1 and M2 to their end: the notice says who must act."""
    codes = {"bob@sts-mx.plain.test": "5.4.8", "bob@sts-name.plain.test": "5.7.5"}
    resources = contoso(message_expiration="2s")
    settings = {"outbound": PRIVATE, "queue": {"retry": ["1s"]}}
    with Gateway(resources, nameservers=[world.dns.address], anchors=pki.root, settings=settings) as gateway:
        for recipient in codes:
            send(gateway.port, recipient)
        notices = [mail.body.decode() for mail in gateway.wait_maildir(ALICE, 2)]
    for recipient, code in codes.items():
        (notice,) = [body for body in notices if recipient in body]
        assert f"Status: {code}" in notice
        assert "MTA-STS" in notice.partition("Status:")[0]


# Where Postfix and gatepost differ by design: domain -> what posttls-finger makes of it, what gatepost does.
DIFFERENCES = {
    # Who can forge MX records chooses the host. RFC 7672 section 2.2.1 lets a client use the TLSA records of one that
    # insecure MX records name (MAY): Postfix does (smtp_tls_dane_insecure_mx_policy), gatepost does not.
    "away.plain.test": ("refused", "encrypted"),
}


@pytest.fixture(scope="module")
def finger(world: World) -> Iterator[Finger]:
    with Finger(RESOLVER if world.port_53 else "") as made:
        yield made


def ours(world: World, pki: Pki, domain: str) -> str:
    """What `gatepost check partner` makes of the first host, in the words of `Finger.look`.

    In this process: to start Python for each domain takes longer than all the rest.
    """
    words = ["check", "partner", domain, "--json", "--private", "--timeout", "3"]
    run = CliRunner().invoke(main, [*words, "--nameserver", world.dns.address, "--anchors", str(pki.root)])
    found = json.loads(run.stdout)
    if not found["hosts"]:
        return "failed"
    first = found["hosts"][0]
    match first["policy"], first["stages"]["dane"], first["stages"]["tls"]:
        case "dane", _, "fail":
            return "required"
        case "dane", dane, _:
            return {"pass": "verified", "fail": "refused"}.get(dane, "encrypted")
        case _, "fail", _:
            return "failed"
        case _, _, tls if first["outcome"] != "unknown" and first["stages"]["dns"] != "fail":
            return {"pass": "encrypted", "fail": "clear"}[tls]
    return "failed"


def decided(event: dict[str, Any]) -> str:
    """What the gateway did with a message for a domain with one host, in the same words."""
    if event["event"] == "SEND":
        channel = event["achieved"].partition("/")[2]
        return {"authenticated": "verified", "encrypted": "encrypted", "none": "clear"}[channel]
    return {NO_TLS: "required", BOGUS: "failed", VAGUE: "failed"}.get(event["result_type"], "refused")


@pytest.mark.parametrize("domain", [domain for domain in TABLE if domain.endswith(".test")])
def test_posttls_finger_agrees(
    world: World, finger: Finger, pki: Pki, events: dict[str, dict[str, Any]], domain: str
) -> None:
    """About DANE: it knows neither MTA-STS nor our connectors, and looks at the first host alone."""
    theirs, text = finger.look(domain)
    said = [ours(world, pki, domain)]
    partner = TABLE[domain][0]
    if only_dane(domain) and " " not in partner.hosts:
        said.append(decided(events[f"bob@{domain}"]))
    expected = DIFFERENCES.get(domain, (theirs, theirs))
    assert {(theirs, one) for one in said} == {expected}, text


@pytest.fixture(scope="module")
def by_postfix(world: World, finger: Finger) -> Iterator[dict[str, str]]:
    """What a Postfix did with a message for each of the domains that publish nothing but DANE: "sent" or "deferred"."""
    del finger  # where it can run, so can this
    with Sender(RESOLVER) as postfix:
        recipients = {domain: f"carl@{domain}" for domain in TABLE if only_dane(domain)}
        for recipient in recipients.values():
            send(postfix.port, recipient)
        wait_until(lambda: all(map(postfix.fate, recipients.values())), "Postfix is done", timeout=90)
        yield {domain: postfix.fate(recipient) for domain, recipient in recipients.items()}


def only_dane(domain: str) -> bool:
    partner, _ = TABLE[domain]
    return domain.endswith(".test") and not partner.sts and domain not in {one["name"] for one in CONNECTORS}


@pytest.mark.parametrize("domain", [domain for domain in TABLE if only_dane(domain)])
def test_postfix_sends_where_we_do(by_postfix: dict[str, str], world: World, domain: str) -> None:
    """Also to the next host after one that falls short."""
    fate, said = TABLE[domain][1], by_postfix[domain]
    takes = "" if domain in DIFFERENCES else fate.at
    assert said.partition(" ")[0] == ("sent" if takes else "deferred"), said
    assert world.taken_by(f"carl@{domain}") == ([takes] if takes else [])
