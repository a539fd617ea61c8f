"""Against an issuer on loopback; what tokens are worth is in tests/unit/mail/inbound/test_tokens.py."""

from __future__ import annotations

import shutil

import pytest
import tomlkit
from support.issuer import CONFIGURATION

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resources import apply_document
from gatepost.manage.use_cases.trials import TrialKey, TryIssuer, try_issuer
from gatepost.settings.loader import load

OWNER = Principal("ann", frozenset({Scope.OWNER}))
STRANGER = Principal("sid", frozenset({Scope.CONNECTORS}), frozenset({"fabrikam"}))
ANN = "ann@contoso.example"


@pytest.fixture
def made(tmp_path, pki, issuer):
    """A gateway with the issuer; private: whether it may be at an address that is not public."""

    def make(*, private=True, url=issuer.url, anchors=pki.root):
        document = {"server": {"hostname": "mx.gate.example", "data_dir": "data"}}
        document["oauth"] = {"private_issuers": private, "timeout": 2}
        document["dns"] = {"nameservers": ["127.0.0.1:1"], "timeout": 0.2}
        (tmp_path / "gatepost.toml").write_text(tomlkit.dumps(document), encoding="utf-8")
        gateway = Gateway(load(str(tmp_path / "gatepost.toml"), {}))
        idp = {"name": "idp", "issuer": url, "audiences": ["smtp"], "trust_anchors": str(anchors)}
        domain = [{"name": "contoso.example"}]
        contoso = {"accepted_domain": domain, "mailbox": [{"address": ANN}], "oauth_issuer": [idp]}
        other = {"oauth_issuer": [idp | {"name": "other", "issuer": "https://other.example"}]}
        apply_document(gateway, OWNER, {"organization": {"contoso": contoso, "fabrikam": other}}, ChangeOptions("ann"))
        return gateway

    return make


def tried(gateway, name="idp", token="", who=OWNER, organization="contoso"):
    return LocalClient(gateway, who).call(try_issuer, TryIssuer(organization=organization, issuer=name, token=token))


def test_its_keys(made, issuer):
    trial = tried(made(), "IDP")
    assert (trial.keys, trial.token, trial.failure) == ([TrialKey(issuer.kid, "Ed25519", "")], None, "")


def test_tokens(made, issuer):
    gateway = made()
    good = tried(gateway, token=issuer.token(ANN)).token
    assert (good.user, good.temporary) == (ANN, False)
    assert good.claims["iss"] == issuer.url
    wrong = tried(gateway, token=issuer.token(ANN, aud="x")).token
    assert (wrong.user, bool(wrong.reason), wrong.claims["aud"]) == ("", True, "x")
    assert tried(gateway, token="no token").token.claims == {}


@pytest.mark.parametrize("organization", ["contoso", "fabrikam"])
def test_a_token_of_others_says_nothing_of_them(made, issuer, organization):
    with pytest.raises(Refusal) as refused:
        tried(made(), token=issuer.token(ANN), who=STRANGER, organization=organization)
    assert refused.value.kind is RefusalKind.MISSING


def test_what_cannot_be_used_is_told_with_what_to_do(made, issuer, pki, tmp_path):
    trial = tried(made(private=False))
    assert (trial.keys, "private_issuers = true" in trial.failure) == ([], True)
    pages, issuer.pages = issuer.pages, {CONFIGURATION: b"{}"}
    try:
        assert tried(made()).failure.startswith(f"keys of {issuer.url}: the metadata are of")
    finally:
        issuer.pages = pages
    with pytest.raises(Refusal) as refused:
        tried(made(), "other", organization="fabrikam")
    assert refused.value.kind is RefusalKind.UNREADABLE, "its name cannot be looked up now"
    anchors = tmp_path / "own.pem"
    shutil.copy(pki.root, anchors)
    gateway = made(anchors=anchors)
    anchors.write_text("nothing", encoding="ascii")
    with pytest.raises(Refusal, match="trust anchors") as refused:
        tried(gateway)
    assert refused.value.kind is RefusalKind.INPUT
