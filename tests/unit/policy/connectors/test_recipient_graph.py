from __future__ import annotations

import pytest
from pydantic import ValidationError

from gatepost.policy.connectors.fields import Access
from gatepost.policy.connectors.recipient_graph import CLOUDS, RecipientGraph
from gatepost.policy.connectors.record_base import owned_marker

APP = {"tenant_id": "contoso.example", "client_id": "c"}


def test_the_usual_cloud() -> None:
    graph = RecipientGraph(**APP)
    assert graph.token_url == "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token"
    assert graph.scope == "https://graph.microsoft.com/.default"
    assert graph.is_microsofts


@pytest.mark.parametrize(("url", "login"), list(CLOUDS.items()))
def test_national_clouds_have_their_own_tokens(url: str, login: str) -> None:
    graph = RecipientGraph(**APP, url=f"{url.upper().replace('HTTPS', 'https')}/")
    assert graph.url == url
    assert graph.token_url.startswith(f"{login}/contoso.example/")
    assert graph.scope == f"{url}/.default"
    assert graph.is_microsofts
    assert not RecipientGraph(**APP, url=url, login_url="https://login.example").is_microsofts


def test_an_address_of_the_owner() -> None:
    assert RecipientGraph(**APP, login_url="").is_microsofts
    graph = RecipientGraph(**APP, url="https://graph.example:8443", login_url="https://login.example")
    assert graph.token_url == "https://login.example/contoso.example/oauth2/v2.0/token"
    assert not graph.is_microsofts
    for field in ("url", "login_url"):
        owned = owned_marker(RecipientGraph.model_fields[field])
        assert owned is not None
        assert owned.access("https://graph.example") is Access.MACHINE
        assert owned.access("") is None
        assert {owned.access(known) for known in (*CLOUDS, *CLOUDS.values())} == {None}


@pytest.mark.parametrize(
    "fields",
    [
        {"tenant_id": "common"},
        {"tenant_id": "Organizations"},
        {"tenant_id": "a/b"},
        {"tenant_id": "../x"},
        {"url": "http://graph.microsoft.com"},
        {"url": "https://graph.microsoft.com/v1.0"},
        {"url": "https://graph.microsoft.com?x"},
        {"url": "https://u@graph.microsoft.com"},
        {"login_url": "login"},
        {"url": ""},
    ],
)
def test_what_is_no_tenant_and_no_address_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        RecipientGraph(**APP | fields)
