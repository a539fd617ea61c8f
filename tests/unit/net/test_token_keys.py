"""What says that a key in a token failed. Its use is tested in `tests/system/test_tokens.py`, with a token."""

from __future__ import annotations

import pytest

from gatepost.net import token_keys
from gatepost.net.token_access import TokenKeys
from gatepost.net.token_keys import note_failure

AWAY = "Some problem has occurred with the token and/or slot"


@pytest.mark.parametrize(
    ("reasons", "in_doubt"),
    [
        ([("pkcs11", "", AWAY), ("pkcs11", "", AWAY), ("SSL routines", "", "EVP lib")], True),  # behind p11-kit
        ([("digital envelope routines", "", "provider signature failure"), ("SSL routines", "", "EVP lib")], True),
        ([("SSL routines", "", "http request")], False),
        ([("SSL routines", "", "no shared cipher")], False),
        ([], False),
    ],
)
def test_a_failure_of_the_token_is_told_from_one_of_the_peer(
    monkeypatch: pytest.MonkeyPatch, reasons: list[tuple[str, ...]], in_doubt: bool
) -> None:
    keys = TokenKeys()
    monkeypatch.setattr(token_keys, "TOKEN_KEYS", keys)
    note_failure(reasons)
    assert keys.in_doubt is in_doubt
