from __future__ import annotations

import asyncio
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from gatepost.analysis.checks.tasks import CheckResult, HostReport, Task, TaskStatus, detail_of
from gatepost.analysis.checks.validation import (
    CannotValidate,
    OutboundRequest,
    Validation,
    validate_outbound,
    validation_record,
)
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse

NOW = 1_795_528_800.0


def request(world: Any, *recipients: str, name: str = "out", **options: Any) -> tuple[Directory, OutboundRequest]:
    world.resources.setdefault("accepted_domain", [{"name": "contoso.example"}])
    directory = Directory(parse({"organization": {"contoso": world.resources}}), 7)
    organization = directory.resources.organizations[0]
    connector = next(one for one in organization.outbound_connectors if one.name == name)
    return directory, OutboundRequest(organization, connector, "gate.example", recipients, now=NOW, **options)


def validate(probing: Any, kit: Any, peer: Any, *recipients: str, connector: Any = (), **options: Any) -> Validation:
    """With the peer as the connector's smart host, or with `connector` as its fields."""

    async def run() -> Validation:
        async with peer:
            if not isinstance(connector, list):
                probing.world.connector(peer.port, **dict(connector))
            else:
                probing.world.resources["outbound_connector"] = connector
            directory, asked = request(probing.world, *recipients, **options)
            found = await validate_outbound(probing.prober(peer.port), directory, asked)
            await asyncio.sleep(0.02)  # the peer reads our QUIT
            return found

    return asyncio.run(run())


STRICT = {"tls_settings": "domain-validation", "tls_domain": "mx.b.example"}


def test_a_good_connector(probing: Any, kit: Any, world: Any) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    found = validate(probing, kit, peer, connector=STRICT)
    assert found.outcome is CheckResult.VALIDATED
    assert found.verdict == "validated: all 7 tasks succeeded"
    assert (found.configuration, found.direction, found.notes) == (7, "outbound", ())
    assert found.tasks == (Task("Test message", TaskStatus.SKIPPED, "no recipient was given"),)
    assert peer.messages == []


def test_a_test_message(probing: Any, kit: Any, world: Any) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    found = validate(probing, kit, peer, "bob@b.example", "joe@b.example", connector=STRICT)
    assert found.verdict == "validated: all 8 tasks succeeded"
    (sent,) = peer.messages
    assert sent.mail.startswith("FROM:<postmaster@contoso.example>")
    assert sent.recipients == ["bob@b.example", "joe@b.example"]
    assert sent.tls is not None
    message = message_from_bytes(sent.content)
    assert message["From"] == "<postmaster@contoso.example>"
    assert message["To"] == "<bob@b.example>, <joe@b.example>"
    assert message["Subject"] == "Test of connector 'out' of contoso"
    assert parsedate_to_datetime(message["Date"]).timestamp() == NOW
    assert message["Message-ID"].endswith("@gate.example>")
    assert message["Auto-Submitted"] == "auto-generated"
    last = found.hosts[0].tasks[-1]
    assert (last.name, last.status) == ("Test message", TaskStatus.SUCCEEDED)
    assert "bob@b.example: 250 2.0.0 taken; joe@b.example: 250 2.0.0 taken" in last.text
    assert peer.said("QUIT") == 1


def test_the_sender_can_be_chosen(probing: Any, kit: Any, world: Any) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    validate(probing, kit, peer, "bob@b.example", sender="ann@other.example")
    assert peer.messages[0].mail.startswith("FROM:<ann@other.example>")


def test_an_organization_without_domains_sends_from_the_host(probing: Any, kit: Any, world: Any) -> None:
    world.resources["accepted_domain"] = []
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    validate(probing, kit, peer, "bob@b.example")
    assert peer.messages[0].mail.startswith("FROM:<postmaster@gate.example>")


@pytest.mark.parametrize(
    ("says", "word", "advice"),
    [
        ({"RCPT bob@b.example": "550 5.1.1 no such user"}, "bob@b.example: 550 5.1.1 no such user", "an unknown"),
        ({"MAIL": "451 4.7.1 greylisted"}, "451 4.7.1 greylisted", "validate again in some minutes"),
        ({"END": "554 5.7.1 spam", "BDAT": "554 5.7.1 spam"}, "554 5.7.1 spam", "Its reply says why"),
        ({"MAIL": "!close"}, "4.4.318", "validate again"),
    ],
)
def test_a_refused_test_message(probing: Any, kit: Any, world: Any, says: Any, word: str, advice: str) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"), says=says)
    found = validate(probing, kit, peer, "bob@b.example", connector=STRICT)
    assert found.outcome is CheckResult.NOT_VALIDATED
    last = found.hosts[0].tasks[-1]
    assert (last.name, last.status) == ("Test message", TaskStatus.FAILED)
    assert word in last.detail
    assert advice in last.advice
    assert found.verdict.startswith("not validated: Test message failed on mx.b.example (127.0.0.1:")


def test_nothing_is_sent_below_the_requirement(probing: Any, kit: Any, world: Any) -> None:
    peer = kit.Peer(tls=world.identity("other.example"))
    found = validate(probing, kit, peer, "bob@b.example", connector=STRICT)
    assert found.outcome is CheckResult.NOT_VALIDATED
    assert found.tasks == (Task("Test message", TaskStatus.SKIPPED, "no host met the requirements of the connector"),)
    assert peer.said("MAIL") == 0


RULES = [
    # rule, whether the test message falls under it
    ({"recipients": ["b.example"]}, True),
    ({"header_name": "Subject", "header_contains": ["test of"]}, True),
    ({"senders": ["ann@contoso.example"]}, False),
    ({"recipients": ["b.example"], "mode": "rehearse"}, False),
]


@pytest.mark.parametrize(("rule", "holds"), RULES)
def test_a_test_message_is_not_sent_below_what_a_rule_requires_of_it(
    probing: Any, kit: Any, world: Any, rule: dict[str, Any], *, holds: bool
) -> None:
    world.resources["mail_flow_rule"] = [{"name": "secret", "require_tls": True, **rule}]
    peer = kit.Peer()
    found = validate(probing, kit, peer, "bob@b.example", connector={})
    assert len(peer.messages) == (0 if holds else 1)
    assert (found.outcome is CheckResult.NOT_VALIDATED) is holds
    note = "the test message needs TLS regardless of the connector, as rule:secret says"
    assert (note in found.notes) is holds
    without = validate(probing, kit, kit.Peer(), connector={})
    assert without.outcome is CheckResult.VALIDATED


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"enabled": False}, "the connector is disabled: the validation treated it as enabled"),
        ({"mode": "rehearse"}, "the connector is in rehearsal: the validation treated it as enforced"),
        ({"is_transport_rule_scoped": True}, "only by mail flow rules that name it"),
    ],
)
def test_what_is_not_in_force_is_tried_as_if_it_were(
    probing: Any, kit: Any, world: Any, fields: dict[str, Any], note: str
) -> None:
    """exchange.md section 17, V1."""
    bad, good = kit.Peer(), kit.Peer(tls=world.identity("mx.b.example"))
    for peer, outcome in ((bad, CheckResult.NOT_VALIDATED), (good, CheckResult.VALIDATED)):
        found = validate(probing, kit, peer, "bob@b.example", connector=STRICT | fields)
        assert found.outcome is outcome
        assert any(note in one for one in found.notes)
    assert len(good.messages) == 1


def test_another_connector_that_takes_the_mail_is_named(probing: Any, kit: Any, world: Any) -> None:
    first = {"name": "first", "recipient_domains": ["b.example"], "use_mx_record": True, "priority": 1}
    peer = kit.Peer()

    async def run() -> Validation:
        async with peer:
            own = {"name": "out", "recipient_domains": ["b.example"], "smart_hosts": [f"mx.b.example:{peer.port}"]}
            world.resources["outbound_connector"] = [own, first]
            directory, asked = request(world)
            return await validate_outbound(probing.prober(), directory, asked)

    (note,) = asyncio.run(run()).notes
    assert note.startswith("mail to b.example does not go by this connector: connector 'first' of contoso")


def test_rules_and_connectors_of_another_organization_are_not_named(probing: Any, kit: Any, world: Any) -> None:
    """It accepts the recipient's domain, and decides where its mail goes."""
    rule = {"name": "merger", "require_tls": True, "recipients": ["b.example"]}
    theirs = {"name": "their secret", "recipient_domains": ["b.example"], "use_mx_record": True}
    fabrikam = {
        "accepted_domain": [{"name": "b.example"}],
        "mail_flow_rule": [rule],
        "outbound_connector": [theirs],
    }
    peer = kit.Peer()

    async def run() -> Validation:
        async with peer:
            own = {"name": "out", "recipient_domains": ["*"], "smart_hosts": [f"mx.b.example:{peer.port}"]}
            world.resources["outbound_connector"] = [own]
            _, asked = request(world, "bob@b.example")
            directory = Directory(parse({"organization": {"contoso": world.resources, "fabrikam": fabrikam}}), 7)
            return await validate_outbound(probing.prober(peer.port), directory, asked)

    found = asyncio.run(run())
    assert peer.messages == []
    said = str(validation_record(found))
    assert "as another organization's mail flow rule says" in said
    assert [secret for secret in ("merger", "their secret", "fabrikam") if secret in said] == []


MX = {"name": "out", "recipient_domains": ["b.example", "*.c.example"], "use_mx_record": True}


def test_mx_routing_tries_the_domains_that_are_named(probing: Any, kit: Any, world: Any) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    found = validate(probing, kit, peer, connector=[MX])
    assert [host.host for host in found.hosts] == ["mx.b.example"]
    assert found.hosts[0].tasks[0].detail == "mx.b.example has 127.0.0.1, an MX of b.example"
    assert found.outcome is CheckResult.VALIDATED


def test_mx_routing_tries_the_domains_of_the_recipients(probing: Any, kit: Any, world: Any) -> None:
    for domain in ("x.c.example", "y.c.example"):
        world.names.table[domain, "MX"] = [f"10 mx.{domain}."]
        world.host(f"mx.{domain}", "127.0.0.1")
    peer = kit.Peer()
    found = validate(probing, kit, peer, "a@x.c.example", "b@y.c.example", "c@x.c.example", connector=[MX])
    assert [host.host for host in found.hosts] == ["mx.x.c.example", "mx.y.c.example"]
    assert [message.recipients for message in peer.messages] == [
        ["a@x.c.example", "c@x.c.example"],
        ["b@y.c.example"],
    ]


def test_a_domain_without_mx_is_a_report_of_its_own(probing: Any, kit: Any, world: Any) -> None:
    world.names.table["b.example", "MX"] = ["0 ."]
    found = validate(probing, kit, kit.Peer(), connector=[MX])
    assert found.verdict == (
        "not validated: Resolve failed on b.example: b.example: the domain takes no mail at all (null MX, RFC 7505)"
    )


def test_the_name_to_expect_is_the_recipient_domain_with_mx(probing: Any, kit: Any, world: Any) -> None:
    fields = MX | {"tls_settings": "domain-validation", "recipient_domains": ["b.example"]}
    assert validate(probing, kit, kit.Peer(tls=world.identity("b.example")), connector=[fields]).outcome == "validated"
    found = validate(probing, kit, kit.Peer(tls=world.identity("mx.b.example")), connector=[fields])
    assert found.verdict.startswith("not validated: Name failed")


def test_the_test_message_takes_the_most_preferred_host_that_passed(probing: Any, kit: Any, world: Any) -> None:
    """The first does not pass, the second is slow, the third is quick."""
    for name in ("mx1", "mx2", "mx3"):
        world.host(f"{name}.b.example", "127.0.0.1")
    first = kit.Peer()
    second = kit.Peer(tls=world.identity("mx2.b.example"))
    third = kit.Peer(tls=world.identity("mx3.b.example"))

    async def run() -> Validation:
        async with first, second, third:
            hosts = [f"mx{n}.b.example:{peer.port}" for n, peer in enumerate((first, second, third), 1)]
            world.resources["outbound_connector"] = [
                {"name": "out", "recipient_domains": ["b.example"], "smart_hosts": hosts}
                | {"tls_settings": "domain-validation"}
            ]
            directory, asked = request(world, "bob@b.example")
            return await validate_outbound(probing.prober(), directory, asked)

    found = asyncio.run(run())
    assert [len(peer.messages) for peer in (first, second, third)] == [0, 1, 0]
    assert [host.tasks[-1].name for host in found.hosts] == ["Revocation", "Test message", "Revocation"]
    assert third.said("QUIT") == 1


@pytest.mark.parametrize(
    ("fields", "recipients", "options", "words"),
    [
        ({}, ["bob@c.example"], {}, "'c.example' is not a domain of connector 'out' of contoso, which has b.example"),
        ({}, ["bob"], {}, "'bob' is not a mail address"),
        ({}, ["bob@b.example"], {"sender": "me"}, "'me' is not a mail address"),
        ({"recipient_domains": ["*"], "smart_hosts": []}, [], {}, "give a recipient in the domain"),
        ({"recipient_domains": ["*.b.example"], "smart_hosts": []}, [], {}, "give a recipient in the domain"),
    ],
)
def test_what_cannot_be_tried_is_said_before_anything_is(
    probing: Any, world: Any, fields: dict[str, Any], recipients: list[str], options: dict[str, Any], words: str
) -> None:
    world.connector(25, **fields)
    directory, asked = request(world, *recipients, **options)

    async def run() -> None:
        await validate_outbound(probing.prober(), directory, asked)

    with pytest.raises(CannotValidate) as said:
        asyncio.run(run())
    assert words in str(said.value)


@pytest.mark.parametrize(
    ("fields", "recipient", "taken"),
    [
        ({"recipient_domains": ["*.b.example"]}, "bob@sub.b.example", True),
        ({"recipient_domains": ["*"]}, "bob@any.example", True),
        ({"recipient_domains": [], "all_accepted_domains": True}, "bob@contoso.example", True),
        ({"recipient_domains": [], "all_accepted_domains": True}, "bob@b.example", False),
        ({"recipient_domains": [], "route_all_messages_via_on_premises": True}, "bob@any.example", True),
        ({"recipient_domains": [], "is_transport_rule_scoped": True}, "bob@any.example", True),
    ],
)
def test_whose_recipients_a_connector_takes(
    probing: Any, kit: Any, world: Any, fields: dict[str, Any], recipient: str, taken: bool
) -> None:
    own = {"connector_type": "on-premises"} | fields
    if taken:
        assert validate(probing, kit, kit.Peer(), recipient, connector=own).outcome is CheckResult.VALIDATED
    else:
        with pytest.raises(CannotValidate, match="all accepted domains"):
            validate(probing, kit, kit.Peer(), recipient, connector=own)


def test_only_so_many_hosts_and_domains(probing: Any, world: Any) -> None:
    world.connector(1, *(f"mx{number}.b.example" for number in range(12)))
    directory, asked = request(world)

    async def run() -> Validation:
        return await validate_outbound(probing.prober(), directory, asked)

    found = asyncio.run(run())
    assert len(found.hosts) == 10
    assert "only the first 10 of 12 smart hosts were tested" in found.notes
    names = [f"d{number}.example" for number in range(12)]
    world.resources["outbound_connector"] = [MX | {"recipient_domains": names}]
    directory, asked = request(world)
    found = asyncio.run(run())
    assert len(found.hosts) == 10
    assert "only the first 10 of 12 domains were tested" in found.notes


def _host(*tasks: Task) -> HostReport:
    return HostReport("mx", "192.0.2.1:25", tasks)


FAILED = Task("Connect", TaskStatus.FAILED, detail_of("refused", "and more"))
OURS = Task("Resolve", TaskStatus.FAILED, "no answer", ours=True)
WARNS = Task("Connect", TaskStatus.WARNING, "no IPv6")


@pytest.mark.parametrize(
    ("hosts", "outcome", "verdict"),
    [
        ((_host(OURS), _host(FAILED)), "not-validated", "not validated: Connect failed on mx (192.0.2.1:25): refused"),
        ((_host(OURS),), "unknown", "could not tell: Resolve failed on mx (192.0.2.1:25): no answer"),
        ((_host(WARNS),), "unknown", "could not tell: no host could be reached from here"),
    ],
)
def test_outcomes(hosts: tuple[HostReport, ...], outcome: str, verdict: str) -> None:
    found = Validation("contoso", "out", "outbound", NOW, 7, hosts)
    assert (str(found.outcome), found.verdict) == (outcome, verdict)


def test_warnings_are_counted() -> None:
    found = Validation("contoso", "in", "inbound", NOW, 7, tasks=(WARNS, Task("Seen", TaskStatus.SUCCEEDED, "")))
    assert found.verdict == "validated: all 2 tasks succeeded, 1 with a warning"


def test_the_record(probing: Any, kit: Any, world: Any) -> None:
    found = validate(probing, kit, kit.Peer(tls=world.identity("mx.b.example")), "bob@b.example", connector=STRICT)
    record = validation_record(found)
    assert {key: record[key] for key in ("organization", "connector", "direction", "at", "configuration")} == {
        "organization": "contoso",
        "connector": "out",
        "direction": "outbound",
        "at": NOW,
        "configuration": 7,
    }
    assert record["outcome"] == "validated"
    assert record["hosts"][0]["requirement"] == "authenticated(mx.b.example)"
    assert record["hosts"][0]["achieved"] == "none/authenticated"
    assert record["hosts"][0]["tls"]["certificate"]["names"] == ["mx.b.example"]
    assert record["hosts"][0]["tasks"][-1]["name"] == "Test message"


def told(probing: Any, peer: Any, *recipients: str, fields: dict[str, Any]) -> list[Validation]:
    found: list[Validation] = []

    async def run() -> None:
        async with peer:
            probing.world.connector(peer.port, **fields)
            directory, asked = request(probing.world, *recipients)
            await validate_outbound(probing.prober(peer.port), directory, asked, found.append)

    asyncio.run(run())
    return found


def test_each_task_is_told_as_it_begins_and_as_it_ends(probing: Any, kit: Any, world: Any) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    found = told(probing, peer, "bob@b.example", fields=STRICT)
    running = [task.name for one in found for _, task in one.all_tasks if task.status is TaskStatus.RUNNING]
    assert list(dict.fromkeys(running)) == [
        "Resolve",
        "Connect",
        "EHLO",
        "STARTTLS",
        "TLS handshake",
        "Certificate",
        "Test message",
    ]
    assert not any(one.done for one in found)
    assert all(one.outcome is CheckResult.UNKNOWN and one.verdict == "not done yet" for one in found)
    first, last = found[0], found[-1]
    assert [(task.name, str(task.status)) for task in first.tasks] == [("Test message", "waiting")]
    assert (last.tasks, last.hosts[0].tasks[-1].status) == ((), TaskStatus.SUCCEEDED)


def test_what_was_said_is_in_the_record_without_the_message(probing: Any, kit: Any, world: Any) -> None:
    peer = kit.Peer(tls=world.identity("mx.b.example"))
    (host,) = validation_record(validate(probing, kit, peer, "bob@b.example", connector=STRICT))["hosts"]
    lines = host["transcript"]
    assert lines[:2] == ["< 220 peer ESMTP", "> EHLO"]
    assert "> STARTTLS" in lines
    assert any(line.startswith("> (TLSv1.3 ") for line in lines)
    assert not any("bob@b.example" in line or "Subject" in line for line in lines)
