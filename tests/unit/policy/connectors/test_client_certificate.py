from __future__ import annotations

import pytest
from pydantic import ValidationError

from gatepost.policy.connectors.client_certificate import ClientCertificate
from gatepost.policy.connectors.fields import Access
from gatepost.policy.connectors.record_base import owned_marker


def test_a_client_certificate_has_a_label_of_64_characters_at_most() -> None:
    assert ClientCertificate.model_validate({"label": "x" * 64}).label == "x" * 64
    with pytest.raises(ValidationError):
        ClientCertificate.model_validate({"label": "x" * 65})


def test_files_are_the_owners_and_a_label_is_not() -> None:
    markers = {name: owned_marker(info) for name, info in ClientCertificate.model_fields.items()}
    assert markers["label"] is None
    for name in ("chain", "key"):
        marker = markers[name]
        assert marker is not None
        assert (marker.access("/x.pem"), marker.access("")) == (Access.MACHINE, None)
        assert "label" in marker.instead
