"""Private keys in a PKCS#11 token (SoftHSM): listeners and connectors use them, and everything that can go wrong."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.clients import swaks
from support.debian import need
from support.gateway import Gateway
from support.peers import Postfix
from support.process import run_gatepost
from support.scenes import ALICE, connector, contoso, send
from support.tokens import PIN, Token

from gatepost.testing.pki import Pki
from gatepost.testing.process import FixtureError, wait_until

pytestmark = pytest.mark.timeout(900)

HOST = "mx1.contoso.example"


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> Iterator[Token]:
    yield from in_environment(Token(spied=True), monkeypatch)


@pytest.fixture
def removable_token(monkeypatch: pytest.MonkeyPatch) -> Iterator[Token]:
    yield from in_environment(Token(spied=True, removable=True), monkeypatch)


def in_environment(made: Token, monkeypatch: pytest.MonkeyPatch) -> Iterator[Token]:
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.remove()


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path / "pki")


def s_client(gateway: Gateway, anchors: Path, *more: str) -> str:
    """What OpenSSL says of a handshake with the gateway, chain and signature verified."""
    need("openssl")
    command = ["openssl", "s_client", "-connect", gateway.address, "-starttls", "smtp", "-servername", HOST]
    command += ["-CAfile", str(anchors), "-verify_return_error", "-verify_hostname", HOST, "-brief", *more]
    done = subprocess.run(command, input=b"QUIT\r\n", capture_output=True, timeout=120, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


def patient(*given: Any, **settings: Any) -> Gateway:
    """A gateway whose every start and command starts Python twice, and tries the token in a third process."""
    gateway = Gateway(*given, **settings)
    gateway.patience = 6.0
    return gateway


def with_token(token: Token, chain: Path, name: str = "mx") -> Gateway:
    """A gateway whose settings name a certificate with its key in the token."""
    return patient(
        settings={
            "pkcs11": token.settings,
            "certificate": [{"chain": str(chain), "key": token.uri(name)}],
            "alarms": {"look": "1s"},
        },
    )


def logged(gateway: Gateway, text: str) -> None:
    """Wait for a line of the log: minutes on a busy machine."""
    try:
        wait_until(lambda: text in gateway.log(), f"the log to say {text!r}", timeout=300)
    except FixtureError as late:
        raise FixtureError(f"{late}\n{gateway.log()}") from late


@pytest.mark.parametrize("kind", ["EC:prime256v1", pytest.param("rsa:2048", marks=pytest.mark.long)])
def test_a_listener_presents_a_certificate_whose_key_is_in_the_token(token: Token, pki: Pki, kind: str) -> None:
    with with_token(token, token.certificate(pki, "mx", HOST, kind=kind)) as gateway:
        said = s_client(gateway, pki.root)
        assert "Verification: OK" in said, said
        assert "Verification: OK" in s_client(gateway, pki.root, "-tls1_2")
        listed = gateway.cli("certificate", "list", json=True).data
        assert [(row["state"], row["names"]) for row in listed["certificates"]] == [("current", [HOST])]
        shown = gateway.cli("certificate", "show", listed["certificates"][0]["id"]).stdout
        assert token.uri("mx") in shown
        assert "OPENSSL_CONF" not in (gateway.folder / "log.txt").read_text()


def test_postfix_sends_over_starttls_to_a_listener_with_its_key_in_the_token(token: Token, pki: Pki) -> None:
    chain = token.certificate(pki, "mx", HOST)
    settings = {"pkcs11": token.settings, "certificate": [{"chain": str(chain), "key": token.uri("mx")}]}
    with (
        patient(contoso(), settings=settings) as gateway,
        Postfix(next_hop=("127.0.0.1", gateway.port), tls="secure", anchors=pki.root, match=[HOST]) as postfix,
    ):
        assert swaks(postfix.port, to=ALICE, sender="eve@partner.example").ok
        gateway.wait_maildir(ALICE)
        postfix.wait_log("Verified TLS connection established")


def test_a_certificate_is_added_by_the_uri_of_its_key(token: Token, pki: Pki, tmp_path: Path) -> None:
    chain = token.certificate(pki, "mx", HOST)
    token.make_key("other")
    token.make_key("rsa", "rsa:2048")
    with patient(settings={"pkcs11": token.settings}) as gateway:
        csr = gateway.cli("certificate", "request", "--key", token.uri("mx"), "--name", HOST, expect=2).stderr
        assert f"openssl req -new -key '{token.uri('mx')};type=private' -subj /CN={HOST}" in csr
        wrong = {
            token.uri("other"): "does not belong to the certificate",
            token.uri("rsa"): "does not belong to the certificate",
            token.uri("none"): "has no private key",
            "pkcs11:token=elsewhere;object=mx": "is not there (tokens that are: mx gateway)",
            f"{token.uri('mx')}?pin-value={PIN}": "the PIN has its place in [pkcs11] pin",
            "pkcs11:object=mx": "names no token",
        }
        for uri, text in wrong.items():
            refused = gateway.cli("certificate", "add", str(chain), "--key", uri, expect=2)
            assert text in refused.stderr, refused.stderr
        added = gateway.cli("certificate", "add", str(chain), "--key", token.uri("mx"), json=True).data
        assert (added["state"], added["key_file"]) == ("current", token.uri("mx"))
        assert "in the token" in gateway.cli("certificate", "show", added["id"]).stdout
        wait_until(lambda: "Verification: OK" in s_client(gateway, pki.root), "a handshake", timeout=120)
        # Another key takes its place: the checks use both.
        following = token.certificate(pki, "next", HOST)
        staged = gateway.cli("certificate", "add", str(following), "--key", token.uri("next"), json=True).data
        assert staged["state"] == "next"
        checked = gateway.cli("certificate", "changeover", "check", staged["id"], expect=None, timeout=180)
        assert "its private key in the token signs, and belongs to it" in checked.stdout
        gateway.cli("certificate", "changeover", "switch", staged["id"], "--force", "a test", timeout=180)
        gone = gateway.cli("certificate", "changeover", "withdraw", added["id"], "--force", "a test")
        assert f"destroy {token.uri('mx')} yourself" in gone.stderr
        assert gateway.cli("store", "backup", str(tmp_path / "backup")).status == 0
        held = b"".join(file.read_bytes() for file in (tmp_path / "backup").rglob("*") if file.is_file())
        assert b"pkcs11:token=mx%20gateway" in held
        # Nobody finds the PIN where others look.
        for pid in gateway.family():
            for name in ("environ", "cmdline"):
                assert PIN.encode() + b"\n" not in Path(f"/proc/{pid}/{name}").read_bytes()
        assert f"pin-value={PIN}" not in gateway.log()


def test_a_connector_shows_a_client_certificate_whose_key_is_in_the_token(token: Token, pki: Pki) -> None:
    chain = token.certificate(pki, "client", "client.contoso.example")
    strict = {"smtpd_tls_req_ccert": "yes", "smtpd_tls_security_level": "encrypt"}
    server = pki.leaf("mx.partner.example")
    with (
        Postfix(certificates=[server], client_anchors=pki.root, settings=strict) as postfix,
        patient(contoso(), settings={"pkcs11": token.settings}) as gateway,
    ):
        label = "towards partners"
        gateway.cli(
            *("certificate", "add", str(chain), "--key", token.uri("client")),
            *("--client", "--organization", "contoso", "--label", label),
        )
        shown = {"tls_settings": "encryption-only", "client_certificate": {"label": label}}
        gateway.apply(contoso(outbound=[connector("partner.example", f"127.0.0.1:{postfix.port}", **shown)]))
        gateway.wait_in_force()
        send(gateway.port, "carol@partner.example")
        wait_until(postfix.mails, "mail at Postfix, which wants a client certificate", timeout=120)
        postfix.wait_log("Trusted TLS connection established")


def test_a_wrong_pin_is_tried_once(token: Token, pki: Pki) -> None:
    chain = token.certificate(pki, "mx", HOST)
    token.pin.write_text("1111\n")
    gateway = with_token(token, chain)
    try:
        for text in ("the token refused the PIN of pkcs11.pin", "is not tried again", "is not tried again"):
            failed = gateway.cli("serve", expect=2)
            assert text in failed.stderr
            assert "1111" not in failed.stderr
        assert token.logins() == 1
        token.pin.write_text(f"{PIN}\n")
        gateway.start()
        assert "Verification: OK" in s_client(gateway, pki.root)
    finally:
        gateway.remove()


def test_missing_parts_are_named(token: Token, pki: Pki) -> None:
    chain = token.certificate(pki, "mx", HOST)
    certificate = [{"chain": str(chain), "key": token.uri("mx")}]
    wrong = [
        ({"module": "/usr/lib/none.so"}, {}, "pkcs11.module: /usr/lib/none.so is not there"),
        ({"provider": "/usr/lib/none.so"}, {}, "pkcs11.provider: /usr/lib/none.so is not there"),
        ({"provider": token.module}, {}, "does not load"),
        ({"pin": "file:/nowhere"}, {}, "pkcs11.pin: /nowhere: No such file"),
        ({"pin": ""}, {}, "the token needs a PIN: set pkcs11.pin"),
        ({}, {"OPENSSL_CONF": "/etc/ssl/openssl.cnf"}, "OPENSSL_CONF is set"),
    ]
    for changed, environment, text in wrong:
        gateway = patient(settings={"pkcs11": token.settings | changed, "certificate": certificate})
        try:
            words = ["--config", str(gateway.config), "serve"]
            done = run_gatepost(*words, environment={**os.environ, **environment}, timeout=300)
            assert done.returncode == 2, done.stderr.decode()
            assert text in done.stderr.decode()
        finally:
            gateway.remove()
    assert token.logins() == 0


def test_the_token_goes_away_and_comes_back(removable_token: Token, pki: Pki) -> None:
    token = removable_token
    with with_token(token, token.certificate(pki, "mx", HOST)) as gateway:
        assert "Verification: OK" in s_client(gateway, pki.root)
        token.take_away()
        wait_until(lambda: "Verification: OK" not in s_client(gateway, pki.root), "a handshake that fails", timeout=60)
        logged(gateway, "cannot be used: the token of ")
        logged(gateway, "alarm: the key of the certificate")
        token.bring_back()
        wait_until(lambda: "Verification: OK" in s_client(gateway, pki.root), "handshakes again", timeout=120)
        logged(gateway, "keys in the token can be used again")
        logged(gateway, "alarm over: the key of the certificate")
        assert token.logins() < 40
