from __future__ import annotations

import pytest
from pydantic import ValidationError

from gatepost.policy.connectors.dkim_key import DkimKey
from gatepost.policy.connectors.values import DkimState

NAME = "S1._domainkey.Contoso.example"


def test_a_key_knows_its_selector_its_domain_and_its_record() -> None:
    key = DkimKey(name=NAME, public_key="QUJD", algorithm="ed25519-sha256", service_type="tlsrpt")
    assert (key.name, key.selector, key.domain) == ("s1._domainkey.contoso.example", "s1", "contoso.example")
    assert key.state is DkimState.NEXT
    assert key.record.text == "v=DKIM1; k=ed25519; s=tlsrpt; p=QUJD"
    assert DkimKey(name=NAME, public_key="QUJD").record.text == "v=DKIM1; k=rsa; p=QUJD"
    assert DkimKey(name=NAME, public_key="").record.public_key == ""


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"name": "s1.contoso.example"}, "write SELECTOR._domainkey.DOMAIN"),
        ({"public_key": "QU JD"}, "this is not base64"),
        ({"public_key": "ü"}, "this is not base64"),
        ({"state": "new"}, "'next', 'current' or 'retired'"),
    ],
)
def test_what_cannot_be_meant(fields: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        DkimKey(**{"name": NAME, **fields})  # type: ignore[arg-type] # what a document says
