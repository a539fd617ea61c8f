"""Proves that an organization is told nothing of another's way: not by the trace, nor by what is made of it.

Two organizations write to each other. Each asks by REST, by commands, on pages, in dry runs and in notices about its
own mail, and finds nothing of the other's connectors, rules, hosts and mailboxes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from click.testing import CliRunner
from msgspec import structs
from support.admin import PASSWORD, AdminCentre, served
from support.gateway import Gateway
from support.person import Person
from support.scenes import connector, send

from gatepost.manage.access.principal import Scope
from gatepost.manage.cli import main
from gatepost.manage.pages.routes import ROUTES
from gatepost.manage.rest.routes import ENDPOINTS
from gatepost.testing.pki import Pki
from gatepost.testing.sink import Behaviour, Sink

A, B = "zeta-corp", "omega-corp"
MARY, JOE = "mary@mary.example", "joe@joe.example"
SECRETS = {
    B: [A, "zeta-hub", "zeta-strict", "zeta-partner", "zeta-rule", "hub.inside.example", "box7@"],
    A: [B, "omega-own", "box8@", "omega-hub"],
}
"""What the token of one organization must find nowhere."""


def _both_ways(hubs: dict[str, Sink]) -> dict[str, Any]:
    """A and B have servers behind the gateway and mailboxes here, and both write to each other."""

    def own(name: str, address: str) -> dict[str, Any]:
        return {"name": name, "connector_type": "on-premises", "sender_ip_addresses": [f"{address}/32"]}

    def relayed(*names: str) -> list[dict[str, Any]]:
        return [{"name": name, "type": "internal-relay"} for name in names]

    partner = {"name": "zeta-partner", "connector_type": "partner", "sender_domains": ["joe.example"]}
    strict = {"tls_settings": "domain-validation", "tls_domain": "hub.inside.example"}
    out = [("ok", {}), ("strict", strict), ("never", {})]
    zeta = {
        "accepted_domain": [{"name": "mary.example"}, *relayed(*(f"{name}.mary.example" for name, _ in out))],
        "mailbox": [{"address": "box7@mary.example", "aliases": [MARY]}],
        "inbound_connector": [own("zeta-own", "127.0.0.1"), partner | {"mode": "rehearse", "require_tls": True}],
        "outbound_connector": [
            connector(f"{name}.mary.example", hubs[name].address, **fields)
            | {"name": "zeta-strict" if name == "strict" else f"zeta-hub {name}"}
            for name, fields in out
        ],
        "mail_flow_rule": [{"name": "zeta-rule", "require_tls": True, "mode": "rehearse"}],
    }
    omega = {
        "accepted_domain": [{"name": "joe.example"}, *relayed("far.joe.example")],
        "mailbox": [{"address": JOE}, {"address": "box8@joe.example", "aliases": ["jim@joe.example"]}],
        "inbound_connector": [own("omega-own", "127.0.0.1")],
        "outbound_connector": [connector("far.joe.example", hubs["far"].address) | {"name": "omega-hub"}],
    }
    return {"organization": {A: zeta, B: omega}}


OWN_NAMES = {
    A: {
        "name": "zeta-hub ok",
        "connector": "zeta-hub ok",
        "domain": "mary.example",
        "recipient": "carl@ok.mary.example",
    },
    B: {"name": "omega-hub", "connector": "omega-hub", "domain": "joe.example", "recipient": "x@far.joe.example"},
}


def _read(centre: AdminCentre, token: str, organization: str, messages: list[str]) -> dict[str, str]:
    """What each call that reads says of what is one's own, for each message and with each parameter by itself."""
    found = {}
    for message in messages:
        own = {"organization": organization, "message": message, "id": message, "session": message, "since": "1d"}
        own |= OWN_NAMES[organization] | {"direction": "outbound", "limit": "100", "replay": "true", "wait": "20"}
        for endpoint in (one for one in ENDPOINTS if one.case.method == "GET" and one.case.scope is Scope.READ):
            path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda one, own=own: quote(own.get(one[1], "1")), endpoint.case.path)
            fields = [one.name for one in structs.fields(endpoint.query) if one.name in own]
            for query in ({}, *({name: own[name]} for name in fields), {name: own[name] for name in fields}):
                target = f"/api/v1{path}?{urlencode(query)}"
                if target not in found:
                    found[target] = str(centre.call(target, token)[2])
    return found


def _shown(person: Person, organization: str, messages: list[str]) -> dict[str, str]:
    """What each page shows of what is one's own."""
    found = {}
    for message in messages:
        own = {"organization": organization, "message": message, "identity": message, "id": message}
        own |= OWN_NAMES[organization] | {"direction": "outbound"}
        for path in sorted({route.path for route in ROUTES if "GET" in (route.methods or ())}):
            if path.startswith(("/login", "/logout", "/setup", "/static")) or path.endswith(("/live", "/events")):
                continue
            target = re.sub(r"\{(\w+)(?::\w+)?\}", lambda one, own=own: quote(own.get(one[1], "1"), safe=""), path)
            for query in ("", f"?q={quote(own['recipient'])}", f"?message={message}", "?replay=true&since=1d"):
                if f"page {target}{query}" not in found:
                    found[f"page {target}{query}"] = person.ask(f"{target}{query}").text
    return found


def _would_be(centre: AdminCentre, token: str, organization: str) -> dict[str, str]:
    """What dry runs say that changes of its own would have done to its mail, the other's way before and after."""
    rules = {
        "stronger": {"require_tls": True},
        "elsewhere": {"recipients": ["*"], "encrypt": "smime"},
    }
    found = {}
    for name, fields in rules.items():
        path = f"/api/v1/organizations/{organization}/mail_flow_rules?dry_run=true&since=1d"
        status, _, told = centre.call(path, token, "POST", {"name": name, **fields}, {"If-Match": "*"})
        assert status == 200, told
        found[f"dry run {name}"] = str(told)
    assert "'differences': [{" in found["dry run stronger"], found
    return found


def _as_told(centre: AdminCentre, folder: Path, organization: str, messages: list[str]) -> dict[str, str]:
    """What a token of an organization is told about mail, by REST and by commands, and its operator by pages."""
    token = folder / f"token-{organization}"
    token.touch(mode=0o600)
    token.write_text(centre.token("read", "queue", "connectors", name=organization, organizations=(organization,)))
    words = ("--role", "operator", "--organization", organization, "--password-stdin")
    centre.gateway.cli("user", "add", f"op-{organization}", *words, given=f"{PASSWORD}\n")
    person = Person(centre, f"op-{organization}")
    paths = ["/trace?limit=500", "/queue", "/queue?limit=100", "/reports/tls", "/reports/connectors", "/alarms"]
    paths += [f"/{what}/{message}" for message in messages for what in ("trace", "queue")]
    said = {f"GET {path}": str(centre.call(f"/api/v1{path}", token.read_text())[2]) for path in paths}
    said |= {
        f"page {path}": person.ask(path).text for path in ("/", *paths, *(f"/explain?message={m}" for m in messages))
    }
    said |= _would_be(centre, token.read_text(), organization)
    said |= _shown(person, organization, messages)
    said |= _read(centre, token.read_text(), organization, messages)
    ca = centre.gateway.data_dir / "admin" / "certificate.pem"
    where = ("--server", centre.url, "--token-file", str(token), "--ca", str(ca))
    for asked in (
        ("trace", "search"), ("queue", "list"), ("report", "tls"), ("report", "connectors"),
        ("evidence", "export", "-o", str(folder / f"evidence-{organization}.json")),
        *(("trace", "show", message) for message in messages), *(("queue", "show", message) for message in messages),
        ("explain", "--from", JOE, "--to", MARY, "--ip", "127.0.0.1"),
        ("explain", "--from", MARY, "--to", "jim@joe.example", "--ip", "127.0.0.1"),
    ):  # fmt: skip
        done = CliRunner().invoke(main, [*where, *asked, "--json"] if asked[0] != "evidence" else [*where, *asked])
        said[" ".join(asked)] = done.output
    file = folder / f"evidence-{organization}.json"
    return said | {"evidence": file.read_text() if file.exists() else ""}


@pytest.mark.timeout(300)
def test_an_organization_is_told_nothing_of_anothers_way(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, tmp_path: Path
) -> None:
    """Mail of each to the other: trace, queue, evidence, reports, explanations and notices name nothing that is its."""
    no = Behaviour(replies={"RCPT": "550 5.2.1 not here, says hub.inside.example"})
    hubs = {
        "ok": sink(certificate=pki.leaf("hub.inside.example")),
        "strict": sink(),
        "never": sink(behaviour=no),
        "far": sink(certificate=pki.leaf("omega-hub.example")),
    }
    settings = {"queue": {"retry": ["1h"]}, "evidence": {"enabled": True}}
    centre = served(gateway, _both_ways(hubs), settings=settings, anchors=pki.root)
    server = centre.gateway
    rows = {}
    for sender, recipient, event in (
        (JOE, "carl@ok.mary.example", "SEND"), (JOE, "carl@strict.mary.example", "DEFER"), (JOE, MARY, "DELIVER"),
        (JOE, "carl@never.mary.example", "FAIL"), ("box7@mary.example", "jim@joe.example", "DELIVER"),
        ("box7@mary.example", "x@far.joe.example", "SEND"),
    ):  # fmt: skip
        send(server.port, recipient, sender=sender)
        (rows[recipient],) = server.wait_trace(recipient=recipient, event=event)
    (notice,) = server.wait_maildir(JOE)
    assert "5.2.1" in str(notice.body)
    messages = {one: [str(row["message"]) for row in rows.values() if row["organization"] == one] for one in (A, B)}
    assert {one: len(found) for one, found in messages.items()} == {A: 2, B: 4}
    # The gateway's owner sees all of it.
    assert rows["carl@ok.mary.example"]["connector"] == "zeta-hub ok"
    assert "hub.inside.example" in str(rows["carl@strict.mary.example"])
    assert "hub.inside.example" in rows["carl@never.mary.example"]["reply"]
    places = {B: [f":{hubs[one].port}" for one in ("ok", "strict", "never")], A: [f":{hubs['far'].port}"]}
    for organization, secrets in SECRETS.items():
        said = _as_told(centre, tmp_path, organization, messages[organization])
        said |= {"notice": notice.content.decode()} if organization == B else {}
        found = [
            (secret, where, text[max(0, text.find(secret) - 150) :][:300])
            for where, text in said.items()
            for secret in (*secrets, *places[organization])
            if secret in text
        ]
        assert found == []
        for message in messages[organization]:  # and what is its own is there
            assert message in said["trace search"]
            assert message in said[f"GET /trace/{message}"]
            assert message in said[f"page /trace/{message}"]
        # Nor is it found by what is hidden.
        token = (tmp_path / f"token-{organization}").read_text()
        for query in ("connector=zeta-strict", "connector=omega-hub", f"peer=127.0.0.1:{hubs['never'].port}"):
            if organization == B or query == "connector=omega-hub":
                assert centre.call(f"/api/v1/trace?{query}", token)[2]["items"] == [], query
