from __future__ import annotations

import pytest

from gatepost.mail.inbound.credentials import Credential, content_name
from gatepost.manage.remote.mailbox_passwords import set_mailbox_password
from gatepost.manage.use_cases import mailbox_passwords as here
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.policy.logins.passwords import verify

from .conftest import OWNER

ANN = "ann@contoso.example"
WORD = "correct horse"


def stored(there):
    with there.api.gateway.config() as store:
        return Credential.decode(store.content(content_name(ANN)))


def test_it_is_set_and_removed_there(there):
    assert set_mailbox_password(there, ANN.upper(), WORD) == ANN
    assert verify(WORD, stored(there).argon2)
    assert WORD not in str(there.calls)
    assert set_mailbox_password(there, ANN, None, "contoso") == ANN
    assert stored(there) is None


@pytest.mark.parametrize(
    "words", [("joe@contoso.example", WORD), (ANN, "short"), (ANN, None, "fabrikam"), ("liz@fabrikam.example", "x")]
)
def test_what_is_refused_is_refused_alike(there, words):
    refusals = []
    for ask in (
        lambda: set_mailbox_password(there, *words),
        lambda: here.set_mailbox_password(there.api.gateway, OWNER, *words),
    ):
        with pytest.raises(Refusal) as refused:
            ask()
        refusals.append((refused.value.kind, refused.value.text, [error.path for error in refused.value.errors]))
    assert refusals[0] == refusals[1]
