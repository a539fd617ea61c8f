"""`gatepost issuer check` against an issuer on loopback."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from support.issuer import CONFIGURATION

from gatepost.manage.cli import main
from gatepost.testing.pki import Pki

ANN = "ann@contoso.example"
RESOURCES = """
[organization.contoso]
accepted_domain = [{{ name = "contoso.example" }}]
mailbox = [{{ address = "ann@contoso.example" }}]
[[organization.contoso.oauth_issuer]]
name = "idp"
issuer = "{url}"
audiences = ["smtp"]
trust_anchors = "{anchors}"
"""


@pytest.fixture
def apply(home, pki, issuer):
    """Resources with the issuer, and the settings it needs."""

    def change(private=True, anchors=None):
        home.settings(oauth={"private_issuers": private, "timeout": 5})
        home.call("apply", "-f", home.write(RESOURCES.format(url=issuer.url, anchors=anchors or pki.root)))

    return change


def judged(home, token, *words):
    command = ["--config", str(home.file), "issuer", "check", "idp", "--token-stdin", *words]
    return CliRunner().invoke(main, command, input=token)


def test_keys(home, apply, issuer):
    apply()
    assert home.table("issuer", "check", "IDP") == [{"kid": issuer.kid, "key": "Ed25519", "algorithm": "any"}]
    assert home.json("issuer", "check", "idp") == {
        "keys": [{"kid": issuer.kid, "key": "Ed25519", "algorithm": ""}],
        "token": None,
    }
    assert "there is no OAuth issuer 'x'" in home.call("issuer", "check", "x", code=2).stderr


def test_tokens(home, apply, issuer):
    apply()
    good = judged(home, issuer.token(ANN) + "\n")
    assert (good.exit_code, good.stdout.splitlines()[-1]) == (0, f"logs in {ANN}")
    assert f"iss: {issuer.url}" in good.stdout
    found = json.loads(judged(home, issuer.token(ANN, aud="x\x1b[31m"), "--json").stdout)["token"]
    assert found["user"] == ""
    assert found["reason"].endswith("the token is for another audience")
    assert found["claims"]["aud"] == "x\x1b[31m"
    bad = judged(home, issuer.token(ANN, aud="x\x1b[31m"))
    assert bad.exit_code == 1
    assert "aud: x?[31m" in bad.stdout
    opaque = judged(home, "ya29.opaque")
    assert opaque.exit_code == 1
    assert opaque.stdout.splitlines()[-1].startswith("refused: the token is not a JWT")
    unknown = judged(home, issuer.token(ANN, header={"kid": "x"}))
    assert (unknown.exit_code, "does not have" in unknown.stdout) == (1, True)


def test_what_cannot_be_had(home, apply, issuer, pki, tmp_path):
    apply(private=False)
    assert "private_issuers = true" in home.call("issuer", "check", "idp", code=1).stderr
    apply(anchors=Pki(tmp_path / "other").root)
    assert "write trust_anchors" in home.call("issuer", "check", "idp", code=3).stderr
    vanished = tmp_path / "roots.pem"
    vanished.write_bytes(pki.root.read_bytes())
    apply(anchors=vanished)
    vanished.unlink()
    assert "trust anchors for" in home.call("issuer", "check", "idp", code=2).stderr
    apply()
    pages = issuer.pages
    try:
        issuer.pages = {**pages, CONFIGURATION: b"{}"}
        assert "the metadata are of the issuer None" in home.call("issuer", "check", "idp", code=1).stderr
        issuer.pages = {}
        assert "status 404" in home.call("issuer", "check", "idp", code=1).stderr
    finally:
        issuer.pages = pages
    issuer.stop()
    try:
        home.call("issuer", "check", "idp", code=3)
    finally:
        issuer.start()
