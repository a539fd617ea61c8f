from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gatepost.analysis.alarms.site_certificates import SiteCertificate
from gatepost.analysis.checks.alarm_subjects import connector_files, failing_renewals, scope_of, site_certificates
from gatepost.analysis.checks.certificate_alarms import FailedRenewal
from gatepost.pki.acme.issuer import AuthorityState, Issuer
from gatepost.pki.acme.schedule import Progress, begun
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import Entry, Origin, Purpose, State, document_of
from gatepost.pki.certificates.vault import Vault
from gatepost.pki.site.membership import node_request, own_certificate
from gatepost.pki.site.site import Site, read_secret, read_token
from gatepost.pki.site.store import SiteStore
from gatepost.policy.connectors.model import parse
from gatepost.protocols.tls.facts import CertificateFacts
from gatepost.settings.model import Settings
from gatepost.store.changes import ConfigStore
from gatepost.values import replace

NOW = 1_800_000_000.0
DAY = 86400.0
HOST = "mx1.contoso.example"


def organizations(*domains: dict[str, Any], outbound: tuple[dict[str, Any], ...] = ()) -> Any:
    fields = {"accepted_domain": list(domains), "outbound_connector": list(outbound)}
    return parse({"organization": {"contoso": {key: value for key, value in fields.items() if value}}}).organizations


def gateway(*, served: bool = False) -> Settings:
    mta_sts = {"address": "127.0.0.1:443"} if served else {}
    return Settings(server={"hostname": HOST}, mta_sts=mta_sts)


def domain(**fields: Any) -> dict[str, Any]:
    return {"name": "contoso.example", **fields}


NAMES = [
    (domain(), True, [(HOST, "warning")]),
    (domain(mta_sts="enforce"), False, [(HOST, "critical")]),
    (domain(mta_sts="enforce"), True, [(HOST, "critical"), ("mta-sts.contoso.example", "error")]),
    (domain(mta_sts="testing"), True, [(HOST, "warning"), ("mta-sts.contoso.example", "error")]),
    (domain(mta_sts="none"), True, [(HOST, "warning"), ("mta-sts.contoso.example", "error")]),
    (domain(mta_sts="enforce", mta_sts_mx=["*.contoso.example"]), False, [(HOST, "critical")]),
    (domain(mta_sts="enforce", mta_sts_mx=["mx.other.example"]), False, [(HOST, "warning")]),
]


@pytest.mark.parametrize(("one", "served", "names"), NAMES)
def test_names_that_must_be_borne(one, served, names):
    found = scope_of(organizations(one), gateway(served=served)).names
    assert [(one.name, str(one.severity)) for one in found] == names


def connector(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "recipient_domains": [f"{name}.example"], **fields}


def test_client_identities_that_connectors_present(tmp_path):
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    made, private = Authority("CA").issue(["client.contoso.example"])
    chain.write_bytes(made)
    key.touch(0o600)
    key.write_bytes(private)
    files = {"chain": str(chain), "key": str(key)}
    outbound = (
        connector("bank", client_certificate=files),
        connector("shop", client_certificate={"label": "shared"}),
        connector("off", client_certificate={"label": "unused"}, enabled=False),
        connector("broken", client_certificate={"chain": "/nowhere", "key": "/nowhere"}),
        connector("plain"),
    )
    some = organizations(domain(), outbound=outbound)
    used = scope_of(some, gateway()).used
    assert used == {("contoso", "bank"), ("contoso", "shared"), ("contoso", "broken")}
    (entry,) = connector_files(some, NOW).values()
    assert (entry.purpose, entry.state, entry.origin) == (Purpose.CLIENT, State.CURRENT, Origin.FILES)
    assert (entry.organization, entry.label, entry.chain_file) == ("contoso", "bank", str(chain))
    assert entry.leaf.dns_names == ("client.contoso.example",)


AWAY = Progress(failures=1, error="not reachable", not_before=NOW - 1)
TOLD = {"a": FailedRenewal("not reachable", NOW - 1)}
RUNS = begun(Progress(), NOW, NOW - 4 * DAY)

# what was remembered of the authority, days left of the certificate and of its life -> what is told
PROGRESS = [
    (Progress(), 1, 90, {}),
    (AWAY, 4, 90, {}),
    (AWAY, 2.9, 90, TOLD),
    (AWAY, -1, 90, TOLD),
    (AWAY, 1.1, 6, {}),
    (AWAY, 0.9, 6, TOLD),
    (replace(AWAY, failures=2), 30, 90, TOLD),
    (replace(AWAY, not_before=NOW), 30, 90, {"a": FailedRenewal("not reachable", NOW)}),  # the next try is too late
    (RUNS, 4, 90, {"a": None}),
    (begun(replace(AWAY, failures=2), NOW, NOW - 4 * DAY), 4, 90, {"a": None}),
    (RUNS, 2.9, 90, {"a": FailedRenewal("the gateway ended while it requested the certificate", RUNS.not_before)}),
]


@pytest.mark.parametrize(
    ("progress", "borne", "told"),
    [
        (Progress(), "", {}),
        (AWAY, "", {(HOST,): TOLD["a"]}),
        (AWAY, HOST, {}),
        (replace(AWAY, failures=2), HOST, {(HOST,): TOLD["a"]}),
        (RUNS, "", {(HOST,): None}),
    ],
)
def test_certificates_that_never_came(tmp_path, progress, borne, told):
    """At once where nothing has the names. borne: by another certificate, "" if there is none."""
    settings, store = with_acme(tmp_path), ConfigStore(tmp_path / "config.db")
    content = {Issuer(settings, store)._place("state"): msgspec.json.encode(AuthorityState(progress={HOST: progress}))}
    leaf = CertificateFacts("CN=x", "CN=CA", "1", HOST, (borne,), (), "aa" * 32, "b", "c", NOW, NOW + DAY, "EC-P-256")
    others = {"a": document_of(Entry("a", leaf, state=State.CURRENT, origin=Origin.SETTINGS))} if borne else {}
    store.apply({"certificate": others}, author="test", content=content)
    scope = scope_of(organizations(domain()), settings)
    assert failing_renewals(settings, store, scope, NOW - 4 * DAY) == told
    store.close()


def with_acme(folder, *, is_on=True):
    """Settings with a master key."""
    key = folder / "key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    acme = {"directory_url": "https://ca.example/dir", "agree_tos": True} if is_on else {}
    return Settings(server={"hostname": HOST}, acme=acme, store={"master_key": f"file:{key}"})


@pytest.mark.parametrize(("progress", "left", "life", "told"), PROGRESS)
@pytest.mark.parametrize("is_on", [True, False])
def test_renewals_that_fail(tmp_path, progress, left, life, told, is_on):
    settings = with_acme(tmp_path, is_on=is_on)
    store = ConfigStore(tmp_path / "config.db")
    begin = NOW - life * DAY
    leaf = CertificateFacts("CN=x", "CN=CA", "1", HOST, (HOST,), (), "aa" * 32, "b", "c", begin, NOW, "EC-P-256")
    entry = Entry("a", leaf, state=State.CURRENT, origin=Origin.ACME)
    issuer = Issuer(settings, store)
    content = {issuer._place("state"): msgspec.json.encode(AuthorityState(progress={HOST: progress}))}
    store.apply({"certificate": {"a": document_of(entry)}}, author="test", content=content)
    scope = scope_of(organizations(domain()), settings)
    assert scope.acme is is_on
    now = NOW - left * DAY
    assert failing_renewals(settings, store, scope, now) == (told if is_on else {})
    store.apply({"certificate": {"a": {}}}, author="test")
    assert failing_renewals(settings, store, scope, now) == (None if is_on else {})
    store.close()


def test_certificates_of_nodes_are_those_that_are_here_and_those_that_the_authority_gave(tmp_path):
    store = ConfigStore(tmp_path / "config.db")
    assert site_certificates(gateway(), store) == ()
    site = Site(SiteStore(store, Vault(bytes(32)), gateway().server))
    site.init("a-site", (), author="ann", now=NOW)
    own_certificate(SiteStore(store, Vault(bytes(32)), gateway().server), HOST, lifetime=DAY, now=NOW)
    _, text = site.new_token("", valid=DAY, author="ann", now=NOW)
    site.join(read_secret(read_token(text)[0]), node_request("mx2.contoso.example")[0], lifetime=2 * DAY, now=NOW + 1)
    (root,) = site.state().authorities
    assert site_certificates(gateway(), store) == (
        SiteCertificate("a-site", NOW, root.not_after, is_root=True),
        SiteCertificate(HOST, NOW, NOW + DAY, is_here=True),
        SiteCertificate("mx2.contoso.example", NOW + 1, NOW + 1 + 2 * DAY),
    )
    store.apply({"site_node": {"mx3.contoso.example": {"name": 1}}}, author="test")
    assert site_certificates(gateway(), store) == ()
    store.close()
