from __future__ import annotations

import tomllib

import pytest

from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.oauth import Hint, hint_for, judge_claims, judge_type, trusted_issuer
from gatepost.protocols.smtp.oauth import TokenStatus

SHARED = "https://shared.example"
RESOURCES = f"""
[organization.contoso]
subaddress_separator = "+"
accepted_domain = [{{ name = "contoso.example" }}]
[[organization.contoso.mailbox]]
address = "ann@contoso.example"
aliases = ["anna@contoso.example"]
[[organization.contoso.mailbox]]
address = "joe@contoso.example"
[[organization.contoso.oauth_issuer]]
name = "idp"
issuer = "https://idp.contoso.example"
audiences = ["smtp"]
required_scopes = ["smtp.send", "mail"]
[[organization.contoso.oauth_issuer]]
name = "off"
enabled = false
issuer = "https://off.example"
audiences = ["smtp"]
[[organization.contoso.oauth_issuer]]
name = "shared"
issuer = "{SHARED}"
audiences = ["smtp"]
username_claim = "upn"
[organization.fabrikam]
accepted_domain = [{{ name = "fabrikam.example" }}]
mailbox = [{{ address = "fay@fabrikam.example" }}]
[[organization.fabrikam.oauth_issuer]]
name = "shared"
issuer = "{SHARED}"
jwks_url = "https://shared.example/keys"
audiences = ["smtp"]
username_claim = "upn"
[organization.northwind]
accepted_domain = [{{ name = "northwind.example" }}]
"""
ANN = "ann@contoso.example"
IDP = "https://idp.contoso.example"
GOOD = {"iss": IDP, "email": ANN, "scope": "mail smtp.send", "exp": 1000}


@pytest.fixture(scope="module")
def known():
    return Directory(parse(tomllib.loads(RESOURCES)))


@pytest.mark.parametrize(
    ("claims", "label"),
    [
        (GOOD, "OAuth issuer 'idp' of contoso"),
        ({"iss": SHARED, "upn": ANN}, "OAuth issuer 'shared' of contoso"),
        ({"iss": SHARED, "upn": "FAY@FABRIKAM.example"}, "OAuth issuer 'shared' of fabrikam"),
        ({"iss": SHARED, "upn": "x@northwind.example"}, None),
        ({"iss": SHARED, "email": ANN}, None),
        ({"iss": SHARED, "upn": [ANN]}, None),
        ({"iss": IDP, "email": "fay@fabrikam.example"}, None),
        ({"iss": IDP + "/", "email": ANN}, None),
        ({"iss": "https://off.example", "email": ANN}, None),
        ({"iss": [IDP], "email": ANN}, None),
        ({"email": ANN}, None),
    ],
)
def test_by_whose_terms_a_token_is_judged(known, claims, label):
    found = trusted_issuer(known, claims)
    assert (found.label if found else None) == label


@pytest.mark.parametrize(
    ("header", "claims", "why"),
    [
        ({}, {}, ""),
        ({"typ": "JWT"}, {}, ""),
        ({"typ": "at+jwt"}, {}, ""),
        ({"typ": "application/AT+JWT"}, {}, ""),
        ({"typ": "logout+jwt"}, {}, "another kind"),
        ({"typ": None}, {}, "another kind"),
        ({}, {"cnf": {}}, "bound to a key"),
    ],
)
def test_kinds_of_tokens(header, claims, why):
    found = judge_type(header, claims)
    assert why in found
    assert bool(found) == bool(why)


CLAIMS = [
    (GOOD, "", ANN, ""),
    (GOOD, ANN, ANN, ""),
    (GOOD, "anna@contoso.example", ANN, ""),
    (GOOD, "ann+tag@contoso.example", ANN, ""),
    (GOOD | {"email": "Anna@Contoso.example"}, "", ANN, ""),
    (GOOD | {"email_verified": True}, "", ANN, ""),
    (GOOD | {"email_verified": "true"}, "", ANN, ""),
    (GOOD | {"scope": ["mail"], "scp": ["smtp.send", 1]}, "", ANN, ""),
    (GOOD, "joe@contoso.example", "", "may not act as another"),
    (GOOD, "eve@contoso.example", "", "may not act as another"),
    (GOOD | {"email": "ann+x@contoso.example"}, "", "", "its email is not an address of a mailbox"),
    (GOOD | {"email": "eve@contoso.example"}, "", "", "its email is not an address of a mailbox"),
    (GOOD | {"email": "fay@fabrikam.example"}, "", "", "is not of the organization that trusts the issuer"),
    (GOOD | {"email": ""}, "", "", "has no claim email"),
    (GOOD | {"email": 1}, "", "", "has no claim email"),
    (GOOD | {"email_verified": False}, "", "", "email_verified"),
    (GOOD | {"email_verified": "false"}, "", "", "email_verified"),
    (GOOD | {"email_verified": []}, "", "", "email_verified"),
]


@pytest.mark.parametrize(("claims", "authzid", "user", "why"), CLAIMS, ids=range(len(CLAIMS)))
def test_whom_claims_log_in(known, claims, authzid, user, why):
    verdict = judge_claims(known, trusted_issuer(known, GOOD), claims, authzid)
    assert verdict.user == user
    assert why in verdict.reason
    assert verdict.genuine == bool(user)
    assert verdict.expires == (1060 if user else 0), "a minute of leeway behind exp"
    assert verdict.status is TokenStatus.INVALID_TOKEN


@pytest.mark.parametrize("scopes", [{}, {"scope": "mail"}, {"scope": 7}, {"scp": {"mail": 1}}])
def test_scopes(known, scopes):
    verdict = judge_claims(known, trusted_issuer(known, GOOD), {"email": ANN, **scopes}, "")
    assert (verdict.user, verdict.status) == ("", TokenStatus.INSUFFICIENT_SCOPE)
    assert "lacks the scope smtp.send" in verdict.reason
    assert verdict.genuine


def test_other_claims_need_no_verified_mail(known):
    claims = {"iss": SHARED, "upn": ANN, "email_verified": False, "exp": 1000}
    assert judge_claims(known, trusted_issuer(known, claims), claims, "").user == ANN


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("nobody@contoso.example", Hint("smtp.send mail", f"{IDP}/.well-known/openid-configuration")),
        ("fay@fabrikam.example", Hint()),  # without scopes, and its keys are not found by its metadata
        ("x@northwind.example", Hint()),
        ("x@elsewhere.example", Hint()),
        ("", Hint()),
    ],
)
def test_hints(known, name, hint):
    assert hint_for(known, name) == hint
