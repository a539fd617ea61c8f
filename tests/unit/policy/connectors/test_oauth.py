from __future__ import annotations

import pytest

from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.oauth import OauthIssuer, TokenAlgorithm, configuration_urls, lint

HEAD = '[organization.o]\naccepted_domain = [{ name = "o.example" }]\n'
ISSUER = HEAD + '[[organization.o.oauth_issuer]]\nname = "idp"\n'


def test_what_is_left_out(resources):
    text = ISSUER + 'issuer = "https://idp.example/realms/o"\naudiences = ["smtp"]'
    (issuer,) = resources(text).organizations[0].oauth_issuers
    assert issuer.enabled
    assert issuer.username_claim == "email"
    assert issuer.algorithms == tuple(TokenAlgorithm)
    assert not [one for one in issuer.algorithms if one.startswith(("HS", "none"))]
    assert issuer.leeway == 60


WRONG = [
    ('issuer = "http://idp.example"', "issuer", "is not an https address"),
    ('issuer = "https://"', "issuer", "is not an https address"),
    ('issuer = "https://idp.example:x"', "issuer", "is not an https address"),
    ('issuer = "https://[idp.example"', "issuer", "is not an https address"),
    ('issuer = "https://user@idp.example"', "issuer", "is not an https address"),
    ('issuer = "https://idp.example/#a"', "issuer", "is not an https address"),
    ('issuer = "https://idp.example/ä"', "issuer", "is not an https address"),
    ('issuer = "https://idp.example/a b"', "issuer", "is not an https address"),
    ('issuer = "https://idp.example/?a=b"', "issuer", "has a query"),
    ('issuer = "https://login.microsoftonline.com/common/v2.0"', "issuer", "TENANT-ID/v2.0"),
    ('jwks_url = "http://idp.example/keys"', "jwks_url", "is not an https address"),
    ("audiences = []", "audiences", "at least 1 "),
    ('audiences = [""]', "audiences[0]", "at least 1 "),
    ('algorithms = ["HS256"]', "algorithms[0]", "HS256"),
    ('algorithms = ["none"]', "algorithms[0]", "none"),
    ("algorithms = []", "algorithms", "at least 1 "),
    ('leeway = "1h"', "leeway", "out of range"),
    ('username_claim = ""', "username_claim", "at least 1 "),
]


@pytest.mark.parametrize(("line", "field", "why"), WRONG)
def test_what_is_wrong(resources, line, field, why):
    good = {"issuer": 'issuer = "https://idp.example"', "audiences": 'audiences = ["smtp"]'}
    good.pop(field.partition("[")[0], None)
    with pytest.raises(ResourceErrors) as wrong:
        resources(ISSUER + "\n".join([*good.values(), line]))
    (error,) = wrong.value.errors
    assert error.path == f"organization.o.oauth_issuer[0] 'idp'.{field}"
    assert why in error.message


def test_names_and_issuers_stand_once(resources):
    one = '[[organization.o.oauth_issuer]]\nname = "{}"\nissuer = "https://{}.example"\naudiences = ["smtp"]\n'
    with pytest.raises(ResourceErrors) as wrong:
        resources(HEAD + one.format("a", "x") + one.format("A", "y") + one.format("c", "x"))
    assert [error.path.rpartition(".")[2] for error in wrong.value.errors] == ["name", "issuer"]


@pytest.mark.parametrize(
    ("issuer", "urls"),
    [
        (
            "https://idp.example",
            (
                "https://idp.example/.well-known/openid-configuration",
                "https://idp.example/.well-known/oauth-authorization-server",
            ),
        ),
        (
            "https://idp.example:8443/realms/o/",
            (
                "https://idp.example:8443/realms/o/.well-known/openid-configuration",
                "https://idp.example:8443/.well-known/oauth-authorization-server/realms/o",
            ),
        ),
    ],
)
def test_where_an_issuer_tells_about_itself(issuer, urls):
    assert configuration_urls(issuer) == urls


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, ["required_scopes"]),
        ({"required_scopes": ["smtp"]}, []),
        ({"issuer": "https://login.microsoftonline.com/1/v2.0", "required_scopes": ["smtp"]}, ["guest"]),
        ({"issuer": "https://sts.windows.net/1/"}, ["guest", "required_scopes"]),
        ({"issuer": "https://sts.windows.net/1/", "username_claim": "upn"}, ["required_scopes"]),
    ],
)
def test_traps(fields, words):
    table = {"name": "idp", "issuer": "https://idp.example", "audiences": ["smtp"], **fields}
    found = list(lint(OauthIssuer.model_validate(table), "L"))
    assert len(found) == len(words)
    assert all(text.startswith("L: ") and word in text for text, word in zip(found, words, strict=True))
