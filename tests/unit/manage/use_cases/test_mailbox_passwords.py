from __future__ import annotations

import pytest

from gatepost.mail.inbound.credentials import Credential, content_name
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resources import apply_document
from gatepost.policy.logins.passwords import verify

from .calls import set_mailbox_password

OWNER = Principal("ann", frozenset({Scope.OWNER}))
STRANGER = Principal("sid", frozenset({Scope.CONNECTORS}), frozenset({"fabrikam"}))
BASE = {
    "contoso": {"accepted_domain": [{"name": "contoso.example"}], "mailbox": [{"address": "Ann@contoso.example"}]},
    "fabrikam": {"accepted_domain": [{"name": "fabrikam.example"}]},
}
WORD = "correct horse"


@pytest.fixture
def base(gateway):
    apply_document(gateway, OWNER, {"organization": BASE}, ChangeOptions("ann"))
    return gateway


def stored(base):
    with base.config() as store:
        return Credential.decode(store.content(content_name("ann@contoso.example")))


def test_it_is_set_changed_and_removed(base):
    assert set_mailbox_password(base, OWNER, "ANN@contoso.example", WORD).address == "Ann@contoso.example"
    assert stored(base).organization == "contoso"
    assert verify(WORD, stored(base).argon2)
    set_mailbox_password(base, OWNER, "ann@contoso.example", "another word", "contoso")
    assert verify("another word", stored(base).argon2)
    assert set_mailbox_password(base, OWNER, "ann@contoso.example", None).address == "Ann@contoso.example"
    assert stored(base) is None


@pytest.mark.parametrize(
    ("who", "address", "password", "kind"),
    [
        (OWNER, "eve@contoso.example", WORD, RefusalKind.MISSING),
        (STRANGER, "ann@contoso.example", WORD, RefusalKind.MISSING),
        (STRANGER, "ann@contoso.example", None, RefusalKind.MISSING),
        (OWNER, "ann@contoso.example", "short", RefusalKind.INPUT),
        (OWNER, "ann@contoso.example", "x" * 300, RefusalKind.INPUT),
        (OWNER, "ann@contoso.example", "correct\x00horse", RefusalKind.INPUT),
    ],
)
def test_what_is_refused_changes_nothing(base, who, address, password, kind):
    with pytest.raises(Refusal) as refused:
        set_mailbox_password(base, who, address, password)
    assert refused.value.kind is kind
    if kind is RefusalKind.INPUT:
        assert [error.path for error in refused.value.errors] == ["password"]
        assert password not in str(refused.value.errors[0])
    assert stored(base) is None
