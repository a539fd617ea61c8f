"""Proves certificates from an ACME authority against Pebble: issued, renewed, held back, refused, waited for.

Each is seen as a client of the MX listener sees it. Nothing leaves loopback: every name is 127.0.0.1 for Pebble.
"""

from __future__ import annotations

import hashlib
import smtplib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.admin import served
from support.clients import openssl_s_client
from support.gateway import Gateway
from support.pebble import Pebble, context_of
from support.scenes import contoso

from gatepost.manage.cli import main
from gatepost.pki.acme.client import Authority
from gatepost.pki.certificates.vault import Vault
from gatepost.store.storage import Storage
from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Pki
from gatepost.testing.process import free_port, wait_until
from gatepost.times import minute_text

NAME = "mx1.contoso.example"
TLSA = f"_25._tcp.{NAME} TLSA"
MASTER = bytes(range(32))


class World:
    """A gateway that has no certificate yet, an authority, and the DNS that the gateway asks."""

    def __init__(self, mx: Gateway, authority: Pebble, names: DnsServer) -> None:
        self.mx = mx
        self.authority = authority
        self.names = names

    def presented(self) -> x509.Certificate | None:
        """What the MX listener shows to whoever names no server."""
        found = openssl_s_client(self.mx.port).transcript
        begin, end = found.find("-----BEGIN CERTIFICATE"), found.find("-----END CERTIFICATE-----")
        pem = f"{found[begin:end]}-----END CERTIFICATE-----".encode()
        return x509.load_pem_x509_certificate(pem) if end > 0 else None

    def first(self) -> x509.Certificate:
        """The certificate that comes by itself."""
        wait_until(self._offers_tls, f"a certificate\n{self.mx.log()}")
        return self.other_than(None)

    def _offers_tls(self) -> bool:
        with smtplib.SMTP("127.0.0.1", self.mx.port, "client.example", timeout=60) as client:
            client.ehlo()
            return client.has_extn("starttls")

    def other_than(self, before: x509.Certificate | None) -> x509.Certificate:
        """The certificate that is presented once it is another one."""

        def other() -> x509.Certificate | None:
            found = self.presented()
            return found if found is not None and found != before else None

        return wait_until(other, f"another certificate\n{self.mx.log()}")

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.mx.cli("certificate", "acme", "status", json=True, expect=None).data
        return found

    def only(self) -> dict[str, Any]:
        """Where the one certificate stands."""
        (one,) = self.status()["certificates"]
        return one

    def renew(self, *words: str, expect: int = 0) -> str:
        run = self.mx.cli("certificate", "acme", "renew", *words, expect=expect, timeout=60)
        return run.stdout + run.stderr

    def states(self) -> list[str]:
        found = self.mx.cli("certificate", "list", json=True).data
        return sorted(one["state"] for one in found["certificates"])

    def publish_tlsa(self, *leaves: x509.Certificate) -> None:
        self.names.records[TLSA] = [f"3 1 1 {spki(leaf)}" for leaf in leaves]


def dns_names(leaf: x509.Certificate) -> set[str]:
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(found.get_values_for_type(x509.DNSName))


def spki(leaf: x509.Certificate) -> str:
    return hashlib.sha256(leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


@pytest.fixture(scope="module")
def common_authority(pki: Pki) -> Iterator[Pebble]:
    """Of tests that only use it; each gateway has an account of its own."""
    with Pebble(pki) as started:
        yield started


@pytest.fixture
def world(
    gateway: Callable[..., Gateway], common_authority: Pebble, dns_server: Callable[..., DnsServer], tmp_path: Path
) -> Callable[..., World]:
    key = tmp_path / "master.key"
    key.touch(0o600)
    key.write_bytes(MASTER)

    def make(authority: Pebble | None = None, failures: dict[str, str] | None = None, **acme: Any) -> World:
        authority = authority or common_authority
        names = dns_server({f"{NAME} A": ["127.0.0.1"]}, failures=failures)
        settings = {"acme": authority.settings(**acme), "store": {"master_key": f"file:{key}"}}
        mx = gateway(contoso(), nameservers=[f"127.0.0.1:{names.port}"], settings=settings)
        return World(mx, authority, names)

    return make


def test_a_certificate_comes_by_itself_and_is_renewed_with_its_key(
    world: Callable[..., World], pebble: Callable[..., Pebble]
) -> None:
    it = world(pebble(), contact=["owner@contoso.example"])
    first = it.first()
    seen = openssl_s_client(it.mx.port, anchors=it.authority.root(), server_name=NAME)
    assert seen.verified
    assert dns_names(first) == {NAME}
    token = f"http://127.0.0.1:{it.authority.http_port}/.well-known/acme-challenge/{'x' * 43}"
    with pytest.raises(urllib.error.HTTPError, match="404") as refused:
        urllib.request.urlopen(token, timeout=5)
    refused.value.close()

    assert "no certificate is due for renewal" in it.renew()
    it.publish_tlsa(first)
    assert "with the previous certificate's key: it is current" in it.renew("--now")
    second = it.other_than(first)
    assert spki(second) == spki(first)
    assert it.states() == ["current", "deprecated"]
    status = it.status()
    assert status["ok"]
    assert status["account"].startswith("https://127.0.0.1:")
    log = it.authority.log()  # requests are no proof: one is repeated where its nonce was refused
    assert "There are now 1 accounts in memory" in log
    assert "There are now 2 accounts in memory" not in log

    assert "nothing of it is kept" in it.renew("--dry-run", "--directory", it.authority.url)
    assert it.presented() == second
    assert it.states() == ["current", "deprecated"]


def test_a_certificate_is_asked_for_from_afar(
    gateway: Callable[..., Gateway], common_authority: Pebble, dns_server: Callable[..., DnsServer], tmp_path: Path
) -> None:
    key, token = tmp_path / "master.key", tmp_path / "token"
    for file in (key, token):
        file.touch(0o600)
    key.write_bytes(MASTER)
    authority, names = common_authority, dns_server({f"{NAME} A": ["127.0.0.1"]})
    settings = {"acme": authority.settings(), "store": {"master_key": f"file:{key}"}}
    centre = served(gateway, contoso(), nameservers=[f"127.0.0.1:{names.port}"], settings=settings)
    it = World(centre.gateway, authority, names)
    first = it.first()
    token.write_text(centre.token("read", "certificates"), encoding="ascii")
    ca = str(centre.gateway.data_dir / "admin" / "certificate.pem")

    def there(*words: str, expect: int = 0) -> str:
        given = ["--server", centre.url, "--token-file", str(token), "--ca", ca, "certificate", "acme", *words]
        run = CliRunner(env={"GATEPOST_SERVER": None}).invoke(main, given)
        assert run.exit_code == expect, run.output
        return run.output

    assert there("status") == it.mx.cli("certificate", "acme", "status").stdout
    assert "no certificate is due for renewal" in there("renew")
    assert "it is current" in there("renew", NAME, "--now")
    assert it.other_than(first) != first
    assert "nothing of it is kept" in there("renew", "--dry-run", "--directory", authority.url)
    assert "only an owner may use" in there("renew", "--dry-run", "--directory", "https://127.0.0.1:1/x", expect=2)
    assert f"the account at {authority.url} is forgotten" in there("forget")
    assert it.status()["account"] == ""
    events = it.mx.cli("audit", "--who", "token test", json=True).data
    assert [(one["action"], one["outcome"]) for one in events if one["action"].startswith("certificate-")] == [
        ("certificate-acme-forget", "done"),
        *[("certificate-renew", "done")] * 3,
    ]


def test_the_first_is_presented_though_tlsa_records_cannot_be_had(world: Callable[..., World]) -> None:
    """Without it there is no STARTTLS at all: nothing that the records could protect."""
    it = world(failures={TLSA: "SERVFAIL"})
    first = it.first()
    assert dns_names(first) == {NAME}
    assert it.states() == ["current"]
    assert "is presented all the same, as nothing else is for its names" in it.mx.log()


def test_a_rolled_key_waits_while_tlsa_records_do_not_allow_it(world: Callable[..., World]) -> None:
    it = world(roll_key=True, key_type="rsa-2048")
    first = it.first()
    it.publish_tlsa(first)
    said = it.renew("--now")
    assert "it is the next one, and waits for `gatepost certificate changeover`" in said
    assert f"the TLSA records of {NAME} do not allow it" in said
    assert it.states() == ["current", "next"]
    assert it.presented() == first

    del it.names.records[TLSA]
    assert "with a new key: it is current" in it.renew("--now")
    second = it.other_than(first)
    assert spki(second) != spki(first)
    assert it.states() == ["current", "deprecated"]  # the one that waited is not in the way any more


def test_the_authority_says_when_to_renew(world: Callable[..., World]) -> None:
    it = world()
    first = it.first()
    assert it.only()["renew_at_from"] == "lifetime"
    _revoke(it, first)  # from now on Pebble says: at once
    it.mx.stop()
    it.mx.start()  # it asks at the start, and not again for hours
    it.other_than(first)
    assert "the authority suggests renewing it" in it.mx.log()


def _revoke(it: World, leaf: x509.Certificate) -> None:
    """As the account's owner may: with its key."""
    place = f"acme/{hashlib.sha256(it.authority.url.encode()).hexdigest()[:16]}/key"
    store = Storage(it.mx.store_url, it.mx.data_dir).configuration()
    sealed = store.content(place)
    store.close()
    assert sealed is not None
    context = context_of(it.authority.anchors)
    account = it.status()["account"]
    owner = Authority(it.authority.url, context, Vault(MASTER).open(sealed, place), account=account, seconds=20)
    owner._client.revoke(leaf, 1)
    owner.close()


def test_dns_01_by_a_hook(world: Callable[..., World], common_authority: Pebble) -> None:
    authority = common_authority
    names = [NAME, "*.contoso.example"]
    it = world(challenge="dns-01", dns_hook=authority.hook, names=names)
    assert dns_names(it.first()) == set(names)
    calls = [line.split()[:2] for line in authority.calls.read_text().splitlines()]
    records = {f"_acme-challenge.{NAME}", "_acme-challenge.contoso.example"}
    assert {name for action, name in calls if action == "present"} == records
    assert {name for action, name in calls if action == "remove"} == records


def test_what_the_authority_refuses_is_told_and_waited_out(
    world: Callable[..., World], pebble: Callable[..., Pebble]
) -> None:
    authority = pebble()
    authority.set_dns("set-servfail", host=f"{NAME}.")
    it = world(authority)
    wait_until(lambda: it.only()["error"] and "POST /chalZ" in authority.log(), it.mx.log())
    one = wait_until(lambda: (found := it.only())["not_before"] - found["tried"] > 3000 and found, it.mx.log())
    assert f"{NAME} was not accepted (" in one["error"]
    assert f"does http://{NAME}/ lead to acme.http_address of this gateway" in one["error"]
    assert one["failures"] == 1
    assert it.presented() is None
    assert "next try at" in it.mx.log()

    authority.stop()
    assert "cannot be reached" in it.renew("--now", expect=1)
    one = it.only()
    assert one["failures"] == 2
    assert 7000 < one["not_before"] - one["tried"] < 7300
    assert "no certificate is due for renewal" in it.renew()

    authority.set_dns("clear-servfail", host=f"{NAME}.")
    authority.start()  # which knows no account of ours any more
    it.renew("--now")
    it.first()


def test_near_its_end_a_certificate_is_asked_for_more_often_and_an_alarm_says_so(
    world: Callable[..., World], pebble: Callable[..., Pebble]
) -> None:
    authority = pebble(validity=3600)
    it = world(authority)
    it.first()
    authority.stop()
    for _ in range(2):
        assert "cannot be reached" in it.renew("--now", expect=1)
    one = it.only()
    assert one["failures"] == 2
    assert 890 < one["not_before"] - one["tried"] < 930, "not two hours: it would have expired by then"

    def told() -> dict[str, Any] | None:
        alarms = it.mx.cli("alarms", json=True, expect=None).data["alarms"]
        return next((alarm for alarm in alarms if alarm["kind"] == "renewal-failing"), None)

    alarm = wait_until(told, it.mx.log())
    assert alarm["severity"] == "critical"
    assert NAME in alarm["title"]
    assert "cannot be reached" in alarm["detail"]
    assert f"the next try is at {minute_text(one['not_before'])}" in alarm["detail"]
    wait_until(lambda: "renewal-failing" in it.mx.log(), "the running gateway tells of it")


def test_what_is_killed_in_the_middle_is_tidied_up(world: Callable[..., World], pebble: Callable[..., Pebble]) -> None:
    authority = pebble()
    stuck = authority.folder.write("stuck", "")
    slow = f'[ -e {stuck} ] && [ "$3" = present ] && touch {stuck}.now && exec sleep 50'
    program, *arguments = authority.hook
    hook = authority.folder.write("hook.sh", f'#!/bin/sh\n{slow}\nexec {program} "$@"\n', 0o755)
    it = world(authority, challenge="dns-01", dns_hook=[str(hook), *arguments])
    wait_until((authority.folder / "stuck.now").exists, it.mx.log())
    assert "is requesting certificates now" in it.renew("--now", expect=3)
    it.mx.kill()
    stuck.unlink()
    it.mx.start()
    wait_until(
        lambda: authority.calls.exists() and "remove _acme-challenge" in authority.calls.read_text(), it.mx.log()
    )
    one = it.only()
    assert one["error"].startswith("the gateway ended while")
    assert 250 < one["not_before"] - one["tried"] < 350
    wait_until(lambda: "requesting certificates now" not in it.renew("--now", expect=None), "it has tidied up")
    it.first()


KID, MAC = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


def test_an_authority_that_knows_its_customers(
    world: Callable[..., World], pebble: Callable[..., Pebble], tmp_path: Path
) -> None:
    mac = tmp_path / "mac.key"
    mac.touch(0o600)

    def customer(key_id: str, key: str) -> dict[str, Any]:
        mac.write_text(key)
        return {"eab_key_id": key_id, "eab_mac_key": f"file:{mac}"}

    def refusal(**acme: Any) -> str:
        it = world(authority, http_address=f"127.0.0.1:{free_port()}", **acme)
        text = str(wait_until(lambda: "acme.eab_" in it.only()["error"] and it.only()["error"], it.mx.log()))
        assert MAC[1:] not in it.mx.log() + text
        it.mx.stop()
        return text

    authority = pebble(customers={KID: MAC})
    assert "set acme.eab_key_id and acme.eab_mac_key" in refusal()
    for key_id, key in (("kid-2", MAC), (KID, f"A{MAC[1:]}")):
        text = refusal(**customer(key_id, key))
        assert "refuses (" in text
        assert "see acme.eab_key_id and acme.eab_mac_key: are both copied in full" in text

    known = world(authority, **customer(KID, f"{MAC}\n"))
    assert dns_names(known.first()) == {NAME}
    shown = known.mx.cli("settings", "show", expect=None)
    assert MAC not in known.mx.log() + shown.stdout + shown.stderr
    mac.unlink()  # it was needed once
    before = known.presented()
    known.renew("--now", NAME)
    known.other_than(before)
