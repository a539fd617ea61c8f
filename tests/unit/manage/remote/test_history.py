from __future__ import annotations

from gatepost.manage.remote import history
from gatepost.manage.use_cases import history as here

from .conftest import OWNER


def test_the_history_is_the_same(there):
    gateway = there.api.gateway
    for wanted in ({}, {"limit": 1}, {"organization": "fabrikam"}):
        assert history.history_records(there, **wanted) == here.history_records(gateway, OWNER, **wanted)
    assert history.version_records(there, 1) == here.version_records(gateway, OWNER, 1)
