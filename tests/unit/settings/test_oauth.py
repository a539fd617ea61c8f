from __future__ import annotations

import pytest
from pydantic import ValidationError

from gatepost.settings.oauth import Oauth


def test_defaults() -> None:
    own = Oauth()
    assert (own.private_issuers, own.timeout, own.keys_kept) == (False, 10, 86400)


@pytest.mark.parametrize("fields", [{"timeout": 0}, {"timeout": "2m"}, {"keys_kept": "1m"}, {"private_issuers": "yes"}])
def test_what_is_out_of_range(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Oauth.model_validate(fields)
