from __future__ import annotations

import pytest
from pydantic import ValidationError

from gatepost.policy.connectors.recipient_directory import DEFAULT_FILTER, RecipientDirectory, server_of
from gatepost.protocols.ldap.search_filter import parse_filter


@pytest.mark.parametrize(
    ("url", "form", "server"),
    [
        ("ldaps://DC1.Contoso.example", "ldaps://dc1.contoso.example", ("dc1.contoso.example", 636, True)),
        ("LDAP://dc1.example/", "ldap://dc1.example", ("dc1.example", 389, False)),
        ("ldaps://dc1.example:3269", "ldaps://dc1.example:3269", ("dc1.example", 3269, True)),
        ("ldap://[2001:db8::1]", "ldap://[2001:db8::1]", ("2001:db8::1", 389, False)),
    ],
)
def test_servers_have_one_form(url: str, form: str, server: tuple[str, int, bool]) -> None:
    assert RecipientDirectory(urls=(url,)).urls == (form,)
    assert server_of(form) == server


@pytest.mark.parametrize(
    "url",
    ["", "dc1.example", "http://dc1.example", "ldaps://", "ldaps://a/dc=x", "ldaps://u@a", "ldapi:///x", "ldap://a?x"],
)
def test_what_is_no_server_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        RecipientDirectory(urls=(url,))


@pytest.mark.parametrize("text", ["", "mail={address}", "(mail=*)", "(associatedDomain={domain})"])
def test_a_filter_is_one_and_asks_for_the_address(text: str) -> None:
    with pytest.raises(ValidationError):
        RecipientDirectory(search_filter=text)


def test_the_usual_filter_is_one() -> None:
    assert RecipientDirectory(search_filter=DEFAULT_FILTER).search_filter == DEFAULT_FILTER
    assert parse_filter(DEFAULT_FILTER).placeholders == {"address"}
    assert RecipientDirectory(search_filter="(uid={local})").search_filter == "(uid={local})"
