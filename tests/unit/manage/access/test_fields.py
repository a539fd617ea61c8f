from __future__ import annotations

import pytest

from gatepost.manage.access.fields import account_name, chosen_organizations, cleaned, normalize_username, refuse
from gatepost.manage.access.records import AccountError, AccountErrorKind
from gatepost.policy.connectors.errors import FieldError


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("ann", "ann"),
        (" Ann.Lee+x@Contoso.Example ", "ann.lee+x@contoso.example"),
        ("7", "7"),
        ("a" * 64, "a" * 64),
        ("a" * 65, ""),
        ("a" * 200, ""),
        ("", ""),
        (".ann", ""),
        ("ann lee", ""),
        ("token x", ""),
        ("ann\0", ""),
        ("ann\n\n", "ann"),
        ("аnn", ""),  # noqa: RUF001 - a Cyrillic letter that looks like ours
        ("K", "k"),
        ("<b>", ""),
        ("\ud800", ""),
    ],
)
def test_names(given, name):
    assert normalize_username(given) == name
    if name:
        assert account_name(given) == name
    else:
        with pytest.raises(ValueError, match="1 to 64 letters"):
            account_name(given)


@pytest.mark.parametrize(
    ("given", "owner", "found"),
    [(None, True, None), (None, False, None), (["b", "a", "b"], False, frozenset("ab"))],
)
def test_organizations(given, owner, found):
    assert chosen_organizations(given, owner=owner) == found


@pytest.mark.parametrize(
    ("given", "owner", "why"),
    [
        (["a"], True, "an owner administers the whole gateway"),
        ([], False, "at least one"),
        (["", "a"], False, "at least one"),
        (map(str, range(1001)), False, "more than 1000"),
    ],
)
def test_organizations_that_cannot_be(given, owner, why):
    with pytest.raises(ValueError, match=why):
        chosen_organizations(given, owner=owner)


def test_refusing_tells_everything():
    refuse([])
    errors = [FieldError("name", "is bad"), FieldError("password", "is short")]
    with pytest.raises(AccountError, match="name: is bad; password: is short") as caught:
        refuse(errors)
    assert (caught.value.why, caught.value.errors) == (AccountErrorKind.INPUT, tuple(errors))


@pytest.mark.parametrize(("given", "found"), [("abc", "abc"), ("abcde", "abcd"), ("a\ud800b", "a?b"), ("", "")])
def test_what_is_kept_of_a_text(given, found):
    assert cleaned(given, 4) == found
