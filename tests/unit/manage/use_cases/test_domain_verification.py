"""Domains are proved by their TXT records; what the DNS says to real look-ups is in tests/system."""

from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.name_lookup import DOMAIN
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind
from gatepost.manage.use_cases.resources import PartName, add_part, apply_document, put_part, set_part

from .calls import get_verification, set_mailbox_password, verify

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("liz", frozenset({Scope.READ, Scope.CONNECTORS}), frozenset({"fabrikam"}))
NEW = PartName(DOMAIN, "fabrikam", "new.test")
WISH = ChangeOptions("ann")


@pytest.fixture
def base(sealed):
    """Nothing answers where its DNS server should be."""
    apply_document(sealed, OWNER, {"organization": {"fabrikam": {"accepted_domain": [{"name": "f.test"}]}}}, WISH)
    return sealed


def refusal(function, *given):
    with pytest.raises(Refusal) as refused:
        function(*given)
    return refused.value


@pytest.mark.parametrize("how", [add_part, put_part])
def test_a_tenants_domain_is_pending_and_the_note_has_its_record(base, how):
    outcome = how(base, TENANT, NEW, {"type": "internal-relay", "verified": True}, WISH)
    found = get_verification(base, TENANT, "NEW.test")
    assert (found.verified, found.record.name) == (False, "_gatepost.new.test")
    assert any(found.zone in note for note in outcome.notes)
    assert any("it is pending" in text for text in outcome.warnings)
    assert not base.directory().accepts("fabrikam", "new.test")
    assert refusal(set_mailbox_password, base, TENANT, "x@new.test", None, "fabrikam").kind is RefusalKind.MISSING


def test_whose_organizations_it_is_not_finds_nothing(base):
    assert refusal(get_verification, base, TENANT, "contoso.example").kind is RefusalKind.MISSING
    assert refusal(verify, base, TENANT, "contoso.example", "fabrikam", WISH).kind is RefusalKind.MISSING


def test_what_cannot_be_looked_up_is_not_verified_and_is_slowed_down(base):
    add_part(base, TENANT, NEW, {}, WISH)
    for _ in range(6):
        failed = refusal(verify, base, TENANT, "new.test", "fabrikam", WISH)
        assert (failed.kind, failed.text.startswith("TXT _gatepost.new.test could not")) == (
            RefusalKind.UNREADABLE,
            True,
        )
    slowed = refusal(verify, base, TENANT, "new.test", "fabrikam", WISH)
    assert isinstance(slowed, BusyRefusal)
    assert slowed.again > 0
    assert not base.directory().accepts("fabrikam", "new.test")


def test_the_owner_writes_it_and_who_verified_a_verified_one_changes_nothing(base):
    add_part(base, TENANT, NEW, {}, WISH)
    set_part(base, OWNER, NEW, {"verified": True}, WISH)
    assert base.directory().accepts("fabrikam", "new.test")
    version = base.directory().version
    assert verify(base, TENANT, "new.test", "fabrikam", WISH).changes == []
    assert base.directory().version == version


@pytest.mark.parametrize("name", ["com", "*.com", "test"])
def test_a_top_level_domain_is_for_the_owner(base, name):
    fields = {"type": "internal-relay"}
    (error,) = refusal(add_part, base, TENANT, PartName(DOMAIN, "fabrikam", name), fields, WISH).errors
    assert (error.path, "top-level domain" in error.message) == ("name", True)
    document = {"organization": {"fabrikam": {"accepted_domain": [{"name": name, **fields}]}}}
    assert "top-level domain" in str(refusal(apply_document, base, TENANT, document, WISH).errors[0])
    if name == "com":
        add_part(base, OWNER, PartName(DOMAIN, "fabrikam", name), fields, WISH)
