"""Proves that a tenant makes the gateway open none of its files and sockets, and call no host that its owner keeps."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tomlkit
from click.testing import CliRunner
from support.admin import PASSWORD, AdminCentre, running
from support.gateway import Gateway
from support.issuer import Issuer
from support.person import Person
from support.scenes import OWN_SERVERS, connector, send

from gatepost.manage.cli import main
from gatepost.store.storage import Storage
from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

ALLOWED = "127.0.77.1"
NETWORK = "127.0.77.0/24"
INNER = "127.0.0.1"
OWN_ADDRESS = "192.88.98.1"
BANNER = "inner.secret.example"
SETTING = "tenants_may_reach"
API = "/api/v1/organizations/alpha"
OWNED = "owned.example"


class Turning(DnsServer):
    """Answers questions for addresses of a name in turn, as who rebinds a name does. turns: name -> addresses."""

    turns: dict[str, list[str]] = {}  # noqa: RUF012 - of the one that there is
    asked: dict[str, int] = {}  # noqa: RUF012 - as above

    def answer(self, wire: bytes, transport: str) -> bytes | None:
        for name, addresses in self.turns.items():
            at = sum(query.name == name and query.type == "A" for query in self.queries)
            self.set(f"{name} A", addresses[min(at, len(addresses) - 1)])
        return super().answer(wire, transport)


class World(NamedTuple):
    """A gateway with a tenant, `alpha`. inner: what it must not reach; allowed: what its owner gave leave for."""

    centre: AdminCentre
    dns: Turning
    inner: Sink
    allowed: Sink
    owned: Sink
    own: Leaf
    folder: Path
    token: str
    owner: str

    @property
    def gateway(self) -> Gateway:
        return self.centre.gateway

    def call(self, path: str, method: str = "GET", body: Any = None, token: str = "") -> tuple[int, Any]:
        headers = {} if method == "GET" else {"If-Match": "*"}
        status, _, told = self.centre.call(f"{API}{path}", token or self.token, method, body, headers)
        if status in {200, 201} and isinstance(told, dict) and method != "GET" and told.get("changes"):
            self.gateway.wait_in_force()
        return status, told

    def validated(self, name: str) -> Any:
        status, told = self.call("/validations?wait=25", "POST", {"connector": name})
        assert status == 201, told
        assert told["done"], told
        return told["result"]


def _resources(own: Leaf, owned: Sink) -> dict[str, Any]:
    """What the owner wrote: mail for owned.example goes to a host inside, with a certificate from files."""
    files = {"chain": str(own.chain), "key": str(own.key)}
    kept = connector(OWNED, owned.address, client_certificate=files, trust_anchors="/etc/ssl/certs")
    return {
        "organization": {
            "alpha": {
                "accepted_domain": [{"name": "alpha.example"}],
                "mailbox": [{"address": "ann@alpha.example"}, {"address": "joe@alpha.example"}],
                "inbound_connector": [OWN_SERVERS],
                "outbound_connector": [kept],
            },
            "beta": {"accepted_domain": [{"name": "beta.example"}]},
        }
    }


@pytest.fixture(scope="module")
def world(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        dns = stack.enter_context(Turning({}, ttl=0))
        inner = stack.enter_context(Sink(hostname=BANNER))
        allowed = stack.enter_context(Sink(host=ALLOWED, certificate=pki.leaf("mx.allowed.example")))
        owned = stack.enter_context(Sink(hostname="owned.example"))
        own = pki.leaf("mx1.contoso.example")

        settings = {"network": {"tenants_may_reach": [NETWORK]}, "queue": {"retry": ["1s"]}}
        settings["server"] = {"own_addresses": [OWN_ADDRESS]}
        settings["oauth"] = {"timeout": "5s", "private_issuers": True}
        centre = stack.enter_context(
            running(_resources(own, owned), settings=settings, nameservers=[dns.address], certificates=[own])
        )
        token = centre.token("read", "connectors", name="alpha", organizations=("alpha",))
        words = ("user", "add", "tina", "--role", "administrator", "--organization", "alpha", "--password-stdin")
        centre.gateway.cli(*words, given=f"{PASSWORD}\n")
        folder = tmp_path_factory.mktemp("bounds")
        yield World(centre, dns, inner, allowed, owned, own, folder, token, centre.token(name="owner"))


# ------------------------------------------------------------------------------------------------ files and sockets


def _values(world: World) -> dict[str, tuple[str, dict[str, Any]]]:
    """What a tenant may try: the list of resources, and a resource."""
    own = {"chain": str(world.own.chain), "key": str(world.own.key)}
    route = {"recipient_domains": ["evil.example"], "smart_hosts": ["203.0.113.1"]}
    hook = {"name": "x", "type": "clamav", "address": "unix:/run/docker.sock"}
    idp = {"name": "x", "issuer": "https://idp.example", "audiences": ["a"]}
    scanner = {"name": "x", "type": "rspamd", "address": "https://scan.example"}
    return {
        "key": ("outbound_connector", {"name": "x", **route, "client_certificate": own}),
        "anchors": ("outbound_connector", {"name": "x", **route, "trust_anchors": "/etc/passwd"}),
        "no file": ("outbound_connector", {"name": "x", **route, "trust_anchors": "/no/such/file"}),
        "relative": ("outbound_connector", {"name": "x", **route, "trust_anchors": "data/config.db"}),
        "inbound": ("inbound_connector", {"name": "x", "sender_domains": ["e.example"], "trust_anchors": "/etc"}),
        "issuer": ("oauth_issuer", idp | {"trust_anchors": "/etc/passwd"}),
        "scanner": ("content_hook", scanner | {"trust_anchors": "/etc/passwd"}),
        "socket": ("mailbox", {"address": "x@alpha.example", "delivery": "lmtp:unix:/run/docker.sock"}),
        "hook": ("content_hook", hook),
        "dkim": ("dkim_key", {"name": "x._domainkey.alpha.example", "key_file": str(world.own.key)}),
    }


PATHS = {
    "outbound_connector": "outbound_connectors", "inbound_connector": "inbound_connectors", "mailbox": "mailboxes",
    "oauth_issuer": "oauth_issuers", "content_hook": "content_hooks", "dkim_key": "dkim_keys",
}  # fmt: skip
NAMES = ["key", "anchors", "no file", "relative", "inbound", "issuer", "scanner", "socket", "hook", "dkim"]


def _command(world: World, *words: str) -> Any:
    file = world.folder / "token"
    file.touch(mode=0o600)
    file.write_text(world.token)
    ca = world.gateway.data_dir / "admin" / "certificate.pem"
    where = ("--server", world.centre.url, "--token-file", str(file), "--ca", str(ca))
    return CliRunner().invoke(main, [*where, *words])


def _by_file(world: World, key: str, resource: dict[str, Any]) -> str:
    """The whole organization as it is, with one more, as an import makes it."""
    _, found = world.call("")
    table = {name: value for name, value in found.items() if name != "name"}
    table = json.loads(json.dumps(table))
    table.setdefault(key, []).append(resource)
    file = world.folder / "import.toml"
    file.write_text(tomlkit.dumps({"organization": {"alpha": table}}))
    done = _command(world, "apply", "-f", str(file))
    assert done.exit_code == 2, done.output
    return str(done.output)


def _refused(told: Any) -> str:
    text = json.dumps(told) if not isinstance(told, str) else told
    assert "only the gateway's owner may write" in text.replace("&#39;", "'").replace("\n", " "), text
    return text


@pytest.mark.parametrize("name", NAMES)
def test_no_door_lets_a_tenant_name_what_is_the_gateways(world: World, name: str) -> None:
    key, resource = _values(world)[name]
    path = f"/{PATHS[key]}"
    identity = resource.get("name") or resource["address"]
    told = [world.call(path, "POST", resource), world.call(f"{path}/{identity}", "PUT", resource)]
    if "connector" in key:
        draft = {"organization": {"alpha": {key: [resource]}}}
        told.append(world.call("/validations", "POST", {"connector": "x", "resources": draft}))
    for status, answer in told:
        assert status in {400, 422}, answer
        _refused(answer)
    assert "no such" not in _by_file(world, key, resource).lower()
    assert world.call(f"{path}/{identity}")[0] == 404


def test_a_patch_a_page_and_a_command_refuse_it_too(world: World) -> None:
    fields = {"recipient_domains": ["p.example"], "smart_hosts": ["203.0.113.1"]}
    assert world.call("/outbound_connectors", "POST", {"name": "mine", **fields})[0] == 201
    status, answer = world.call("/outbound_connectors/mine", "PATCH", {"trust_anchors": "/etc/passwd"})
    assert status in {400, 422}
    _refused(answer)
    status, answer = world.call("/mailboxes/ann@alpha.example", "PATCH", {"delivery": "lmtp:unix:/run/docker.sock"})
    assert status in {400, 422}
    _refused(answer)
    done = _command(world, "connector", "set", "mine", "trust_anchors=/etc/passwd")
    assert done.exit_code == 2
    _refused(done.output)
    tina = Person(world.centre, "tina")
    page = tina.ask("/connectors/edit/alpha/outbound/mine").text
    form = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', page))
    form = {name: unescape(value) for name, value in form.items()}
    form |= {"name": "mine", "recipient_domains": "p.example", "smart_hosts": "203.0.113.1"}
    form |= {"trust_anchors": "/etc/passwd"}
    answer = tina.ask("/connectors/edit/alpha/outbound/mine", "POST", form, {"X-CSRF-Token": tina.csrf})
    _refused(answer.text)
    assert "trust_anchors" not in world.call("/outbound_connectors/mine")[1]


def test_what_the_owner_wrote_stays_through_a_tenants_changes_and_is_not_moved(world: World) -> None:
    _, found = world.call(f"/outbound_connectors/{OWNED}")
    resource = found
    assert resource["client_certificate"]["key"] == str(world.own.key)
    status, told = world.call(f"/outbound_connectors/{OWNED}", "PUT", resource | {"comment": "ours"})
    assert status == 200, told
    status, told = world.call("/outbound_connectors", "POST", resource | {"name": "copy"})
    assert status in {400, 422}
    _refused(told)
    status, told = world.call(f"/outbound_connectors/{OWNED}", "PATCH", {"name": "renamed"})
    assert status in {400, 422}
    _refused(told)
    world.gateway.wait_in_force()
    send(world.gateway.port, f"x@{OWNED}", sender="ann@alpha.example")
    world.owned.wait_messages(1)


@pytest.mark.parametrize(
    "change",
    [
        {"smart_hosts": ["203.0.113.9"]},
        {"use_mx_record": True, "smart_hosts": []},
        {"recipient_domains": [OWNED, "evil.example"]},
        {"mode": "rehearse"},
        {"trust_anchors": "system"},
    ],
    ids=lambda one: next(iter(one)),
)
def test_what_the_owner_wrote_is_not_led_elsewhere(world: World, change: dict[str, Any]) -> None:
    """Else the gateway would prove possession of its owner's key to a host of the tenant."""
    path = f"/outbound_connectors/{OWNED}"
    _, resource = world.call(path)
    field = next(iter(change))
    draft = {"organization": {"alpha": {"outbound_connector": [resource | change]}}}
    told = [world.call(path, "PATCH", change), world.call(path, "PUT", resource | change)]
    told.append(world.call("/validations", "POST", {"connector": OWNED, "resources": draft}))
    for status, answer in told:
        assert status in {400, 422}, answer
        assert f"{field}" in json.dumps(answer["errors"])
        assert "the gateway's owner granted" in json.dumps(answer)
    assert world.call(path)[1] == resource


def test_with_a_certificate_of_its_own_the_connector_is_the_tenants(world: World) -> None:
    fields = {"recipient_domains": ["given.example"], "smart_hosts": ["203.0.113.1"]}
    files = {"chain": str(world.own.chain), "key": str(world.own.key)}
    made = {"name": "given", **fields, "client_certificate": files}
    assert world.call("/outbound_connectors", "POST", made, token=world.owner)[0] == 201
    assert world.call("/outbound_connectors/given", "PATCH", {"smart_hosts": ["203.0.113.2"]})[0] == 422
    change = {"smart_hosts": ["203.0.113.2"], "client_certificate": None}
    assert world.call("/outbound_connectors/given", "PATCH", change)[0] == 200
    assert world.call("/outbound_connectors/given", "PATCH", {"client_certificate": files})[0] == 422
    assert world.call("/outbound_connectors/given", "DELETE")[0] == 200


def test_a_tenant_writes_roots_in_pem(world: World, pki: Pki, strange_pki: Pki) -> None:
    world.dns.set("mx.allowed.example A", ALLOWED)
    roots = pki.root.read_text()
    fields = {"recipient_domains": ["pem.example"], "smart_hosts": [f"mx.allowed.example:{world.allowed.port}"]}
    resource = {"name": "pem", **fields, "tls_settings": "domain-validation", "trust_anchors": roots}
    status, told = world.call("/outbound_connectors", "POST", resource)
    assert status == 201, told
    assert world.validated("pem")["outcome"] == "validated"
    world.gateway.wait_in_force()
    send(world.gateway.port, "x@pem.example", sender="ann@alpha.example")
    wait_until(lambda: any("x@pem.example" in one.recipients for one in world.allowed.messages), "it arrived")
    done = _command(world, "connector", "show", "pem")
    assert "SHA-256" in done.output
    assert "BEGIN" not in done.output
    status, told = world.call("/outbound_connectors/pem", "PATCH", {"trust_anchors": strange_pki.root.read_text()})
    assert status == 200, told
    assert world.validated("pem")["outcome"] == "not-validated"
    for wrong in (roots + "-----BEGIN PRIVATE KEY-----\n", roots.replace("MII", "AAA", 1), roots[:200]):
        assert world.call("/outbound_connectors/pem", "PATCH", {"trust_anchors": wrong})[0] in {400, 422}


# ------------------------------------------------------------------------------------------------ addresses


def _connector(world: World, name: str, host: str) -> None:
    fields = {"name": name, "recipient_domains": [f"{name}.example"], "smart_hosts": [host]}
    status, told = world.call("/outbound_connectors", "POST", fields)
    assert status == 201, told


def _waits(world: World, recipient: str) -> str:
    """Why a message waits."""
    send(world.gateway.port, recipient, sender="ann@alpha.example")

    (row, *_) = world.gateway.wait_trace(recipient=recipient, event="DEFER")
    assert "4.4.4" in json.dumps(row)
    return json.dumps(row)


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("loop", f"{INNER}:PORT"),
        ("localhost", "localhost:PORT"),
        ("meta", "169.254.169.254:80"),
        ("ten", "10.0.0.1"),
        ("mapped", "[::ffff:127.0.0.1]:PORT"),
        ("nat", "[64:ff9b::7f00:1]:PORT"),
        ("six", "[2002:7f00:1::]:PORT"),
        ("named", "inner.alpha.example:PORT"),
        ("own", OWN_ADDRESS),
    ],
)
def test_a_tenants_smart_host_inside_is_called_by_nobody(world: World, name: str, host: str) -> None:
    before = world.inner.counts["CONNECT"]
    world.dns.set("inner.alpha.example A", INNER)
    _connector(world, name, host.replace("PORT", str(world.inner.port)))
    result = world.validated(name)
    text = json.dumps(result)
    assert result["outcome"] == "not-validated"
    assert SETTING in text
    assert BANNER not in text
    assert SETTING in _waits(world, f"x@{name}.example")

    def last_error() -> str:
        (waiting,) = world.gateway.cli("queue", "list", "--domain", f"{name}.example", json=True).data
        return str(waiting["last_error"])

    # The trace may have the attempt before the queue has what came of it.
    assert SETTING in wait_until(last_error, "what came of the attempt")
    assert world.inner.counts["CONNECT"] == before


def test_an_address_that_is_not_reached_is_told_when_it_is_written(world: World) -> None:
    fields = {"recipient_domains": ["told.example"], "smart_hosts": [INNER, ALLOWED]}
    status, told = world.call("/outbound_connectors", "POST", {"name": "told", **fields})
    assert status == 201
    (warning,) = [text for text in told["warnings"] if SETTING in text]
    assert f"{INNER} has no public address" in warning
    assert world.call("/outbound_connectors/told", "DELETE")[0] == 200


def test_with_leave_it_is(world: World) -> None:
    _connector(world, "leave", f"{ALLOWED}:{world.allowed.port}")
    send(world.gateway.port, "x@leave.example", sender="ann@alpha.example")
    wait_until(lambda: any("x@leave.example" in one.recipients for one in world.allowed.messages), "it arrived")


def test_a_name_that_changes_between_questions_leads_nowhere_inside(world: World) -> None:
    """The first answer is an address with leave, at which nobody listens; the next is inside."""
    before = world.inner.counts["CONNECT"]
    world.dns.turns["turn.alpha.example"] = ["127.0.77.9", INNER]
    _connector(world, "turn", f"turn.alpha.example:{world.inner.port}")
    results = [world.validated("turn") for _ in range(3)]
    assert all(BANNER not in json.dumps(one) for one in results)
    assert SETTING in json.dumps(results[-1])
    assert "127.0.0.1" not in json.dumps(results[-1])
    assert SETTING in _waits(world, "x@turn.example")
    assert world.inner.counts["CONNECT"] == before


def test_mx_hosts_are_a_tenants_choice(world: World) -> None:
    """Whoever writes mail names its domain, and whoever has the domain says where it goes."""
    before = world.inner.counts["CONNECT"]
    world.dns.set("bymx.example MX", "10 mx.bymx.example.")
    world.dns.set("mx.bymx.example A", INNER)
    status, told = world.call("/outbound_connectors", "POST", {"name": "bymx", "recipient_domains": ["bymx.example"]})
    assert status == 201, told
    assert SETTING in json.dumps(world.validated("bymx"))
    assert SETTING in _waits(world, "x@bymx.example")
    world.dns.set("nobody.example MX", "10 mx.bymx.example.")
    assert SETTING in _waits(world, "x@nobody.example")
    assert world.inner.counts["CONNECT"] == before


def test_an_lmtp_server_inside_gets_nothing(world: World) -> None:
    before = world.inner.counts["CONNECT"]
    status, told = world.call("/mailboxes/joe@alpha.example", "PATCH", {"delivery": f"lmtp:{world.inner.address}"})
    assert status == 200, told
    assert SETTING in _waits(world, "joe@alpha.example")
    assert world.inner.counts["CONNECT"] == before


@pytest.mark.parametrize("kind", ["clamav", "rspamd"])
def test_a_scanner_inside_is_not_asked(world: World, kind: str) -> None:
    before = world.inner.counts["CONNECT"]
    address = world.inner.address if kind == "clamav" else f"http://{world.inner.address}"
    hook = {"name": kind, "type": kind, "address": address, "enabled": False}
    status, told = world.call("/content_hooks", "POST", hook)
    assert status == 201, told
    status, told = world.call("/hook_trials", "POST", {"hook": kind})
    assert status == 200, told
    assert SETTING in json.dumps(told)
    assert BANNER not in json.dumps(told)
    assert world.inner.counts["CONNECT"] == before


def test_an_issuer_inside_is_not_asked(world: World, pki: Pki) -> None:
    """Not even where the settings allow private issuers: the owner writes those."""
    with Issuer(pki.leaf("127.0.0.1")) as issuer:
        made = {"name": "idp", "issuer": issuer.url, "audiences": ["smtp"], "trust_anchors": pki.root.read_text()}
        assert world.call("/oauth_issuers", "POST", made)[0] == 201
        status, told = world.call("/issuer_trials", "POST", {"issuer": "idp"})
        assert (status, issuer.requests) == (200, []), told
        assert SETTING in json.dumps(told)
        assert world.call("/oauth_issuers/idp", "DELETE")[0] == 200
        status, told = world.call("/oauth_issuers", "POST", made, token=world.owner)
        assert status == 201, told
        status, told = world.call("/issuer_trials", "POST", {"issuer": "idp"})
        assert told["keys"], told


def test_a_check_of_a_host_shows_nothing_of_what_is_inside(world: World) -> None:
    before = world.inner.counts["CONNECT"]
    _connector(world, "scan", world.inner.address)
    status, _, told = world.centre.call(
        "/api/v1/checks/host?wait=25", world.token, "POST", {"host": world.inner.address}
    )
    assert (status, told["done"]) == (201, True), told
    assert SETTING in json.dumps(told)
    assert BANNER not in json.dumps(told)
    assert world.inner.counts["CONNECT"] == before


def test_the_owners_export_grants_nothing_that_a_tenant_wrote(world: World, tmp_path: Path) -> None:
    before = world.inner.counts["CONNECT"]
    _connector(world, "export", world.inner.address)
    file = tmp_path / "all.toml"
    file.write_text(world.gateway.cli("export").stdout)
    world.gateway.cli("apply", "-f", str(file))
    assert SETTING in json.dumps(world.validated("export"))
    assert world.inner.counts["CONNECT"] == before
    # Granted by name it may be called, and nothing else is granted with it.
    value = ("alpha", "outbound_connector", "export", "smart_hosts", world.inner.address)
    values = dict(zip(("organization", "resource", "name", "field", "value"), value, strict=True))
    for call in (("/api/v1/grants", "POST", values, {"If-Match": "*"}), ("/api/v1/grants/missing", "GET", None, {})):
        path, method, body, headers = call
        assert world.centre.call(path, world.token, method, body, headers)[0] in {403, 404}
    missing = world.centre.call("/api/v1/grants/missing", world.owner, "GET", None, {})[2]["values"]
    assert values | {"effect": "bounded"} in missing
    world.gateway.cli("grant", "add", *value)
    world.gateway.wait_in_force()
    left = world.gateway.cli("grant", "list", json=True).data
    assert len(left) == len(missing) - 1
    assert BANNER in json.dumps(world.validated("export"))
    # What the owner named others may check: it must not stay for them.
    assert world.call("/outbound_connectors/export", "DELETE")[0] == 200


# ------------------------------------------------------------------------------------------------ what stood there


def test_what_stood_in_a_data_directory_before_goes_on(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    """Stored by a version without grants: it counts as granted, which is said once."""
    target = sink()
    server = gateway("", listeners=("mx",))
    server.stop()
    old = {
        "accepted_domain": [{"name": "contoso.example"}],
        "inbound_connector": [OWN_SERVERS],
        "outbound_connector": [connector("bank.example", target.address)],
    }
    store = Storage(server.store_url, server.data_dir).configuration()
    store.apply({"organization": {"contoso": old}}, author="an older version")
    store.close()
    server.start()
    send(server.port, "x@bank.example", sender="alice@contoso.example")
    target.wait_messages(1)
    said = "count as granted by the gateway's owner"
    assert server.log().count(said) == 1
    server.stop()
    server.start()
    assert server.log().count(said) <= 1


def test_what_is_stored_without_a_grant_has_no_effect(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink]
) -> None:
    """As if somebody had found a door that does not ask: the mail waits, and the log says why."""
    target = sink()
    server = gateway({"organization": {"contoso": {"accepted_domain": [{"name": "contoso.example"}]}}})
    hidden = {
        "accepted_domain": [{"name": "contoso.example"}],
        "mailbox": [{"address": "ann@contoso.example", "delivery": "lmtp:unix:/run/docker.sock"}],
        "inbound_connector": [OWN_SERVERS],
        "outbound_connector": [
            connector("bank.example", target.address, client_certificate={"chain": "/etc/hosts", "key": "/etc/hosts"})
        ],
    }
    store = Storage(server.store_url, server.data_dir).configuration()
    store.apply({"organization": {"contoso": hidden}}, author="nobody")
    store.close()
    server.wait_in_force()
    assert "no owner of this gateway has granted" in server.log()
    send(server.port, ["x@bank.example", "ann@contoso.example"], sender="alice@contoso.example")
    wait_until(lambda: len(server.trace(event="DEFER")) >= 2, "both wait")
    assert not target.messages
