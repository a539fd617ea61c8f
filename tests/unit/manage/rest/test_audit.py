"""Every call that is not safe is in the audit, done or refused: all endpoints there are, and whatever is added."""

from __future__ import annotations

import logging
import time

import pytest

from gatepost.analysis.checks.records import VALIDATIONS, CheckRecords
from gatepost.manage.access.actions import ACTIONS
from gatepost.manage.access.principal import Principal, Role, Scope
from gatepost.manage.access.records import Actor, AuditFilter, AuditOutcome
from gatepost.manage.rest.routes import ENDPOINTS
from gatepost.manage.use_cases.audit import ListAudit, list_audit
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.declaration import SAFE
from gatepost.manage.use_cases.execution import CHANGE, execute
from gatepost.net.certificate import certificate_facts
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.directories import WatchedDirectories
from gatepost.pki.certificates.dkim_keys import made_key
from gatepost.policy.connectors.trust_anchors import pem_certificates
from gatepost.policy.connectors.values import DkimAlgorithm
from gatepost.policy.decisions.destination_history import DestinationName, SeenSession
from gatepost.policy.decisions.requirement import Achieved, MxLevel, TlsLevel
from gatepost.store.destinations import DESTINATIONS_FILE, DestinationFile
from gatepost.store.interface import StoreFailure
from gatepost.store.nodes import NodeIdentity
from gatepost.store.srs_keys import change_srs_keys, load_srs_keys, new_key

from .conftest import NAME, OWNER, ROOT, example, sealed_in

WORD = "correct horse battery"
CLEAR = Achieved(TlsLevel(0), MxLevel.NONE)
DKIM = "/organizations/contoso/domains/contoso.example/dkim_keys"
SEEN = Authority("Bank root").certificate_pem.decode()
DKIM_KEY = made_key(DkimAlgorithm.ED25519_SHA256).decode()
UNSAFE = {f"{one.case.method} {one.template}": one for one in ENDPOINTS if one.case.method not in SAFE}


@pytest.fixture
def gateway(tmp_path):
    """Nothing answers where the ACME authority should be, too."""
    return sealed_in(tmp_path, acme={"directory_url": "https://127.0.0.1:1/directory", "agree_tos": True})


def add(api):
    chain, key = (one.decode() for one in ROOT.issue([NAME]))
    return api.call("POST", "/certificates", {"chain": chain, "key": key}).json["certificate"]["id"]


class Scene:
    """What stands in the braces and in the bodies, made as far as a call needs it."""

    def __init__(self, api):
        self.api = api
        self.old, self.new = add(api), add(api)

    def switched(self):
        self.api.call("POST", f"/certificates/{self.new}/switch", {"force": "x"})
        return self.new

    def planned(self):
        self.api.call("POST", f"/certificates/{self.new}/switch", {"at": "2h", "force": "x"})
        return self.new

    def deprecated(self):
        self.switched()
        return self.old

    def request(self):
        return self.api.call("POST", "/certificate_requests", {"names": [NAME]}).json["request"]["id"]

    def directory(self):
        with self.api.gateway.config() as store:
            WatchedDirectories(store).add(self.api.gateway.data, author="root")
        return str(self.api.gateway.data)

    def login(self):
        fields = {"smart_hosts": ["relay.example"], "tls_settings": "domain-validation"}
        document = {"name": "relay", "recipient_domains": ["*"], "authentication": {"username": "u"}} | fields
        self.api.call(
            "POST", f"{DKIM.partition('/domains')[0]}/outbound_connectors", document, headers={"if-match": "*"}
        )
        return "relay"

    def relayed(self):
        """A domain whose recipients are known."""
        document = {"name": "r.example", "type": "internal-relay"}
        document |= {"recipient_validation": "list", "recipients": ["ann@r.example"]}
        self.api.call("POST", "/organizations/contoso/accepted_domains", document, headers={"if-match": "*"})
        return "r.example"

    def asked_domain(self):
        """A domain whose directory is logged in to."""
        document = {"name": "d.example", "type": "internal-relay", "recipient_validation": "ldap"}
        document |= {"recipient_directory": {"urls": ["ldaps://dc.example"], "bind_dn": "cn=gatepost"}}
        self.api.call("POST", "/organizations/contoso/accepted_domains", document, headers={"if-match": "*"})
        return "d.example"

    def limited(self):
        """A user that may send so much a day."""
        mailbox = {"messages_per_day": 5}
        path = "/organizations/contoso/mailboxes/ann@contoso.example"
        self.api.call("PATCH", path, mailbox, headers={"if-match": "*"})
        return ""

    def user(self):
        self.api.accounts.add_user("ann", Role.OWNER, WORD, actor=Actor("root"))
        self.api.accounts.add_user("tom", Role.AUDITOR, WORD, actor=Actor("root"))
        self.api.accounts.log_in("tom", WORD, "192.0.2.1", "curl")
        return "tom"

    def token(self):
        self.api.accounts.add_token("old", [Scope.READ], actor=Actor("root"))
        return "old"

    def node(self):
        registry = self.api.gateway.storage.nodes()
        registry.enter(NodeIdentity("mx1", "start", "data", "host", "1.0"))
        registry.close()
        return "mx1"

    def stopped_node(self):
        registry = self.api.gateway.storage.nodes()
        registry.enter(NodeIdentity("mx1", "start", "data", "host", "1.0"))
        registry.stop(NodeIdentity("mx1", "start", "data", "host", "1.0"))
        registry.close()
        return "mx1"

    def old_srs_key(self):
        """A key that only verifies."""
        change_srs_keys(self.api.gateway.data, lambda keys: keys.with_new(new_key()))
        return load_srs_keys(self.api.gateway.data).names[1]

    def tried(self):
        """A certificate whose failure is being waited out, so that nothing is due."""
        run = self.api.call("POST", "/acme/renewals?wait=20", {}).json
        assert [one["ok"] for one in run["results"]] == [False]
        return ""

    def destination(self):
        file = DestinationFile(self.api.gateway.data / DESTINATIONS_FILE)
        file.write({DestinationName("contoso", "bank.example"): [(SeenSession("mx", CLEAR, time.time()), False)]})
        file.close()
        return ""

    def tenants_host(self):
        """A connector to an inner host that a tenant wrote."""
        out = {"name": HOST["name"], "recipient_domains": ["b.example"], "smart_hosts": [HOST["value"]]}
        tenants = {"organization": {"tenant": {"outbound_connector": [out]}}, "grant": {"tenant": {"granted": []}}}
        with self.api.gateway.config() as store:
            store.apply(tenants, author="liz")
        return ""

    def dkim_key(self):
        body = {"selector": "s1", "algorithm": "ed25519-sha256", "key": DKIM_KEY}
        self.api.call("POST", f"{DKIM}", body, headers={"if-match": "*"})
        return "s1"

    def seen_issuer(self):
        """What a validation of an outbound connector saw of a host."""
        facts = certificate_facts(pem_certificates(SEEN)[0])
        known = {name: getattr(facts, name) for name in ("subject", "issuer", "sha256", "not_before", "not_after")}
        records = CheckRecords(self.api.gateway.storage, VALIDATIONS, "contoso")
        hosts = [{"host": "mx.bank.example", "issuer": known | {"pem": SEEN}}]
        records.keep("outbound", "bank/out", {"outcome": "unknown", "hosts": hosts})
        return "bank/out"

    def validated_connectors(self):
        """A validation of many that was begun."""
        return self.api.call("POST", "/connectors/validations?wait=20", {"connectors": [SWITCHED]}).json["counts"]["id"]

    def changed(self):
        """The version before a change."""
        with self.api.gateway.config() as store:
            version = store.version()
            store.apply({"organization": {"contoso": {"display_name": "C"}}}, author="root")
        return str(version)

    def issued(self):
        chain, key = (one.decode() for one in ROOT.issue([f"b.{NAME}"]))
        return {"chain": chain, "key": key}


HOST = {
    "organization": "tenant",
    "resource": "outbound_connector",
    "name": "hq",
    "field": "smart_hosts",
    "value": "10.0.0.1",
}
OF = "/organizations/{organization}"
KEYS = f"{OF}/domains/{{domain}}/dkim_keys"
OWN = {"organization": "contoso", "domain": "contoso.example"}
PART = {
    "accepted_domains": ("contoso.example", {"name": "new.example"}, {"mta_sts": "testing"}),
    "mailboxes": (
        "ann@contoso.example",
        {"address": "new@contoso.example", "delivery": "maildir"},
        {"aliases": ["a@contoso.example"]},
    ),
    "inbound_connectors": ("bank in", {"name": "new", "sender_domains": ["b.example"]}, {"comment": "x"}),
    "outbound_connectors": ("bank/out", {"name": "new", "recipient_domains": ["b.example"]}, {"comment": "x"}),
    "mail_flow_rules": ("secrets", {"name": "new", "recipients": ["b.example"], "require_tls": True}, {"comment": "x"}),
    "oauth_issuers": (
        "entra",
        {"name": "new", "issuer": "https://login.example", "audiences": ["a"], "username_claim": "upn"},
        {"audiences": ["b"]},
    ),
    "content_hooks": ("av", {"name": "new", "type": "clamav", "address": "127.0.0.1:3310"}, {"mode": "rehearse"}),
    "dkim_keys": ("key", {"name": "new"}, {"comment": "x"}),
}
SWITCHED = {"organization": "contoso", "direction": "outbound", "name": "bank/out"}
DONE = {
    "PATCH /resources": ({}, {"organization": {"contoso": {"display_name": "C"}}}),
    "PUT /resources": ({}, {"organization": {"contoso": {"display_name": "C"}}}),
    "POST /organizations": ({}, {"name": "woodgrove"}),
    f"PUT {OF}": ({"organization": "contoso"}, {"display_name": "C"}),
    f"PATCH {OF}": ({"organization": "contoso"}, {"display_name": "C"}),
    f"DELETE {OF}": ({"organization": "fabrikam"}, None),
    "POST /certificates": ({}, Scene.issued),
    "DELETE /certificates/{certificate}": ({"certificate": "new"}, None),
    "POST /certificates/{certificate}/gates": ({"certificate": "new"}, None),
    "POST /certificates/{certificate}/told": ({"certificate": "new"}, {"everybody": True}),
    "POST /certificates/{certificate}/stage": ({"certificate": "new"}, {}),
    "POST /certificates/{certificate}/switch": ({"certificate": "new"}, {"force": "a drill"}),
    "POST /certificates/{certificate}/cancel": ({"certificate": Scene.planned}, None),
    "POST /certificates/{certificate}/roll-back": ({"certificate": Scene.switched}, {}),
    "POST /certificates/{certificate}/withdraw": ({"certificate": Scene.deprecated}, {"force": "stolen"}),
    "POST /certificate_changeovers/cancel": ({"": Scene.planned}, None),
    "POST /certificate_changeovers/roll-back": ({"": Scene.switched}, {"note": "x"}),
    "POST /certificate_changeovers/look": ({}, {}),
    "POST /certificate_requests": ({}, {"names": [NAME]}),
    "DELETE /certificate_requests/{request}": ({"request": Scene.request}, None),
    "DELETE /certificate_directories/{directory}": ({"directory": Scene.directory}, None),
    "POST /acme/renewals": ({"": Scene.tried}, {}),
    "DELETE /acme/account": ({}, None),
    f"POST {OF}/domains/{{domain}}/verify": (OWN, None),
    "POST /grants": ({"": Scene.tenants_host}, HOST),
    f"POST {KEYS}": (OWN, {"selector": "s1", "algorithm": "ed25519-sha256"}),
    f"POST {KEYS}/rotate": (OWN | {"": Scene.dkim_key}, {"force": "a drill"}),
    f"POST {KEYS}/{{selector}}/private_key": (OWN | {"selector": Scene.dkim_key}, {"key": DKIM_KEY}),
    f"POST {OF}/validations": (OWN, {"connector": "bank in"}),
    f"POST {OF}/drills": (OWN, {"connector": "bank/out"}),
    f"POST {OF}/hook_trials": (OWN, {"hook": "av"}),
    f"POST {OF}/issuer_trials": (OWN, {"issuer": "entra"}),
    f"PUT {OF}/mailbox_passwords/{{address}}": (OWN | {"address": "ann@contoso.example"}, {"password": WORD}),
    f"DELETE {OF}/mailbox_passwords/{{address}}": (OWN | {"address": "ann@contoso.example"}, None),
    f"PUT {OF}/connector_secrets/{{connector}}": (OWN | {"connector": Scene.login}, {"secret": WORD}),
    f"DELETE {OF}/connector_secrets/{{connector}}": (OWN | {"connector": Scene.login}, None),
    f"PUT {OF}/directory_passwords/{{domain}}": (OWN | {"domain": Scene.asked_domain}, {"password": WORD}),
    f"DELETE {OF}/directory_passwords/{{domain}}": (OWN | {"domain": Scene.asked_domain}, None),
    f"POST {OF}/recipients/{{domain}}": (OWN | {"domain": Scene.relayed}, {"add": ["bob@r.example"]}),
    "POST /sending-limits/lift": ({"": Scene.limited}, {"sender": "ann@contoso.example"}),
    "POST /quarantine/actions": ({}, {"action": "delete", "messages": ["0cac382213400000"], "reason": "why"}),
    "POST /queue/actions": ({}, {"action": "hold", "all": True, "reason": "why"}),
    "POST /destinations/actions": ({"": Scene.destination}, {"action": "forget", "all": True}),
    "POST /evidence/verification": ({}, None),
    "POST /explain": ({}, {"from": "a@b.example", "to": "ann@contoso.example"}),
    "POST /organizations/{organization}/validations": ({"organization": "contoso"}, {"connector": "bank in"}),
    "POST /checks/partner": ({}, {"domain": "bank.example"}),
    "POST /checks/host": ({}, {"host": "mx.bank.example"}),
    "POST /connectors/validations": ({}, {"connectors": [SWITCHED]}),
    "DELETE /connectors/validations/{id}": ({"id": Scene.validated_connectors}, None),
    "POST /connectors/actions": ({}, {"action": "rehearse", "connectors": [SWITCHED]}),
    "POST /history/{version}/revert": ({"version": Scene.changed}, {}),
    f"POST {OF}/trusted_issuers/{{connector}}": (
        OWN | {"connector": Scene.seen_issuer},
        {"sha256": certificate_facts(pem_certificates(SEEN)[0]).sha256},
    ),
    "POST /users": ({}, {"name": "ann", "role": "owner", "password": WORD}),
    "PATCH /users/{name}": ({"name": Scene.user}, {"enabled": False}),
    "DELETE /users/{name}": ({"name": Scene.user}, None),
    "DELETE /users/{name}/sessions": ({"name": Scene.user}, None),
    "POST /nodes/{name}/drain": ({"name": Scene.node}, {"undo": False}),
    "DELETE /nodes/{name}": ({"name": Scene.stopped_node}, None),
    "POST /srs_keys": ({}, {}),
    "DELETE /srs_keys/{name}": ({"name": Scene.old_srs_key}, None),
    "POST /tokens": ({"": Scene.user}, {"name": "new", "scopes": ["read"]}),
    "DELETE /tokens/{name}": ({"name": Scene.token}, None),
}


def asked(scene, name):
    """Path and body of a call that is done."""
    one = UNSAFE[name]
    if name in DONE:
        values, body = DONE[name]
    else:
        plural = one.case.path.split("/")[3]
        there, new, change = PART[plural]
        values = {"organization": "contoso", "name": there}
        body = {"POST": new, "PUT": new | {next(iter(new)): there} | change, "PATCH": change, "DELETE": None}[
            one.case.method
        ]
        if one.case.method == "DELETE" and plural == "accepted_domains":
            values = {"organization": "contoso", "name": "spare.example"}
    path = one.template
    for key, value in values.items():
        found = value(scene) if callable(value) else getattr(scene, value, value)
        path = path.replace(f"{{{key}}}", found)
    return path, body(scene) if callable(body) else body


def newest(api, *, changes=True):
    request = ListAudit(limit=1, changes=changes)
    found = execute(list_audit, Context(api.gateway, OWNER, lambda: api.accounts), request).items
    return found[0] if found else None


@pytest.fixture
def scene(api):
    """With one of each kind of part."""
    with api.gateway.config() as store:
        _, stored = store.load("organization")
        contoso = stored["organization"]["contoso"]
        for plural, key in (("oauth_issuers", "oauth_issuer"), ("content_hooks", "content_hook")):
            there, new, _ = PART[plural]
            contoso[key] = [new | {"name": there} | ({"issuer": "https://127.0.0.1:1"} if "issuer" in new else {})]
        contoso["accepted_domain"].append({"name": "spare.example"})
        store.apply({"organization": {"contoso": contoso}}, author="root")
    return Scene(api)


# The resource itself names a private key that a call of its own makes, which is done here.
CALLS = [name for name in UNSAFE if f"{OF}/dkim_keys" not in name]


@pytest.mark.parametrize("name", CALLS)
def test_what_was_done_is_on_record(scene, name):
    api = scene.api
    path, body = asked(scene, name)
    patience = (
        "?wait=20" if name.endswith(("/validations", "/drills", "/renewals")) else ""
    )  # it is on record when it has ended
    changes = not UNSAFE[name].case.action  # an action begins before the change that it makes
    before = newest(api, changes=changes)
    answer = api.call(UNSAFE[name].case.method, path + patience, body, headers={"if-match": "*"})
    assert answer.status < 300, answer.body
    after = newest(api, changes=changes)
    assert after != before, "nothing is on record"
    assert (after.who, after.outcome) == ("ann", AuditOutcome.DONE)
    assert after.action in ACTIONS
    assert after.address == ("" if after.version else "127.0.0.1")
    assert after.action == (UNSAFE[name].case.action or "change") or name.endswith("/actions")
    if UNSAFE[name].case.tag == "certificates" and UNSAFE[name].case.dry_run:
        assert after.detail.get("before") or after.detail.get("after")


def test_what_was_refused_is_on_record(api):
    """One gateway for all: nothing of it changes."""
    for one in UNSAFE.values():
        path = one.template
        for key in one.case.path_names:
            path = path.replace(f"{{{key}}}", "contoso" if key == "organization" else "nothing")
        refused = api.call(one.case.method, f"{path}?wrong=1", {} if one.body else None, headers={"if-match": "*"})
        assert refused.status == 422
        event = api.accounts.audit_events(OWNER, AuditFilter(outcome=AuditOutcome.REFUSED))[0]
        assert (event.who, event.address, event.action) == ("ann", "127.0.0.1", one.case.action or CHANGE)
        assert event.organization == ("contoso" if "organization" in one.case.path_names else "")
        named = " ".join("nothing" for key in one.case.path_names if key != "organization")
        assert event.subject.endswith(named)
        assert event.subject == named if one.case.action else event.subject.split()[0].islower()
        assert "query.wrong" in event.detail["why"]
    assert len(api.accounts.audit_events(OWNER, limit=1000)) == len(UNSAFE)


def test_each_has_a_name_in_the_audit():
    for one in ENDPOINTS:
        if one.case.is_recorded:
            named = one.case.action or (CHANGE if one.case.guarded else "request")
            assert named in ACTIONS
            assert named != "request", f"{one.case.name} has no name of its own"


NAMED = [
    ("POST", "/organizations", {"name": "contoso"}, "organization add contoso"),
    ("PATCH", "/organizations/contoso", {"names": 1}, "organization set contoso"),
    ("POST", "/organizations/contoso/mailboxes", {"address": "x@elsewhere.example"}, "mailbox add x@elsewhere.example"),
    ("DELETE", "/organizations/contoso/outbound_connectors/b/c", None, "outbound connector remove b/c"),
    ("PATCH", "/resources", {"organization": {"contoso": {"x": 1}, "new": {}}}, "resources apply contoso, new"),
    ("PUT", "/resources", {"organization": {"contoso": {"x": 1}}}, "resources replace contoso"),
    (
        "POST",
        "/connectors/actions",
        {"action": "disable", "connectors": [{"organization": "contoso", "direction": "inbound", "name": "x"}]},
        "connectors disable x",
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "subject"), NAMED)
def test_a_refused_change_says_what_it_would_have_done_to_what(api, method, path, body, subject):
    """As a person would, at every interface; the name too where it stands in the body."""
    assert api.call(method, path, body, headers={"if-match": "*"}).status in {404, 409, 422}
    event = events_of(api)[0]
    assert (event.action, event.subject) == (CHANGE, subject)


# ------------------------------------------------------------------------------------------------ what is kept


def events_of(api):
    return api.accounts.audit_events(OWNER)


def test_a_switch_says_what_was_before_and_after(scene):
    api = scene.api
    api.call("POST", f"/certificates/{scene.new}/switch", {"force": "a drill"})
    event = events_of(api)[0]
    assert (event.action, event.subject) == ("certificate-switch", scene.new)
    detail = event.detail
    assert (detail["before"][f"{scene.new} state"], detail["after"][f"{scene.new} state"]) == ("next", "current")
    assert (detail["before"][f"{scene.old} state"], detail["after"][f"{scene.old} state"]) == ("current", "deprecated")
    assert detail["after"][f"{scene.new} current_from"].endswith("Z")
    assert (detail["reason"], detail["replaced"]) == ("a drill", [scene.old])
    assert detail["red"]


def test_gates_that_are_closed_are_told_with_the_whole_look(scene):
    answer = scene.api.call("POST", f"/certificates/{scene.new}/switch", {})
    assert answer.problem == "conflict"
    assert answer.json["gates"]["certificate"]["id"] == scene.new
    assert answer.json["gates"]["findings"]
    event = events_of(scene.api)[0]
    assert (event.action, event.subject, event.outcome) == ("certificate-switch", scene.new, AuditOutcome.REFUSED)
    assert "gates." in event.detail["why"]


def test_no_key_is_in_it(scene):
    chain, key = (one.decode() for one in ROOT.issue([f"b.{NAME}"]))
    scene.api.call("POST", "/certificates", {"chain": chain, "key": key})
    scene.api.call("POST", "/certificates", {"chain": chain, "key": f"x{key}"})
    lines = [line for line in key.splitlines() if len(line) > 40 and "-----" not in line]
    assert len(lines) > 1
    assert not [line for line in lines if line in str([one.detail for one in events_of(scene.api)])]


def test_dry_runs_are_no_events(scene):
    api = scene.api
    before = events_of(api)
    assert api.call("POST", f"/certificates/{scene.new}/switch?dry_run=true", {"force": "x"}).status == 200
    assert api.call("DELETE", f"/certificates/{scene.old}?dry_run=true").problem == "conflict"
    assert api.call("POST", "/queue/actions?dry_run=true", {"action": "drop", "all": True}).status == 200
    assert events_of(api) == before


def test_each_organization_has_its_part_of_an_action(scene):
    scene.api.call("POST", "/queue/actions", {"action": "hold", "all": True, "reason": "why"})
    found = {one.organization: one.detail for one in events_of(scene.api) if one.action == "queue-hold"}
    assert found == {
        "contoso": {"reason": "why", "deliveries": 2},
        "fabrikam": {"reason": "why", "deliveries": 1},
    }


def test_what_web_keeps_is_not_kept_twice(api):
    """`manage.web.problem` has who may not, and whose organization is not seen."""
    api.who = Principal("token x", frozenset({Scope.READ}), frozenset({"fabrikam"}))
    assert api.call("DELETE", "/certificates/x").problem == "forbidden"
    assert api.call("DELETE", "/organizations/contoso/mailboxes/x").problem == "missing"
    assert events_of(api) == []


def test_a_failure_is_told_apart_from_a_refusal(api_of):
    def broken(*_):
        raise RuntimeError("the password is swordfish")

    api = api_of(example("POST /things", broken))
    assert api.call("POST", "/things").problem == "internal"
    (event,) = events_of(api)
    assert (event.action, event.outcome) == ("request", AuditOutcome.FAILED)
    assert "swordfish" not in str(event.detail)


def test_a_safe_call_is_kept_if_it_has_an_action(api_of):
    for more, count in (({}, 0), ({"action": "evidence-export"}, 1)):
        api = api_of(example("GET /things", **more))
        api.call("GET", "/things")
        assert len(events_of(api)) == count


def test_an_audit_that_cannot_be_written_hides_no_success(api_of, monkeypatch, caplog):
    api = api_of(example("POST /things"))

    def fails(*_, **__):
        raise StoreFailure("disk full")

    monkeypatch.setattr(api.accounts, "record", fails)
    with caplog.at_level(logging.ERROR):
        assert api.call("POST", "/things").status == 200
        assert api.call("POST", "/things?wrong=1").status == 422
    assert "audit" in caplog.text
