from __future__ import annotations

from gatepost.administration import history as here
from gatepost.remote import history

from .conftest import OWNER


def test_the_history_is_the_same(there):
    gateway = there.api.gateway
    for wanted in ({}, {"limit": 1}, {"organization": "fabrikam"}):
        assert history.history_records(there, **wanted) == here.history_records(gateway, OWNER, **wanted)
    assert history.version_records(there, 1) == here.version_records(gateway, OWNER, 1)
