from __future__ import annotations

import pytest

from gatepost.manage.remote.certificate_removal import remove
from gatepost.manage.use_cases.certificate_intake import add_certificate, watch_directory
from gatepost.manage.use_cases.certificate_requests import request_certificate
from gatepost.manage.use_cases.certificates import everything
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.pki.certificates.request import Wish

from .conftest import OWNER, new_certificate


def test_each_kind_goes(safe, sealed, tmp_path):
    old, new = (add_certificate(sealed, OWNER, new_certificate()).entry.id for _ in range(2))
    waiting, _ = request_certificate(sealed, OWNER, Wish(("mx.gate.example",)))
    (tmp_path / "live").mkdir()
    watch_directory(sealed, OWNER, tmp_path / "live")
    assert remove(safe, waiting.id.upper()) == f"request {waiting.id}: removed"
    assert remove(safe, str(tmp_path / "live")) == f"{tmp_path / 'live'}: not watched any more"
    assert remove(safe, new[:8], note="not needed") == f"{new}: removed"
    with pytest.raises(Refusal, match="is needed"):
        remove(safe, old)
    assert remove(safe, old, force="a drill") == f"{old}: removed"
    left = everything(sealed, OWNER)
    assert (left.entries, left.requests, left.directories) == ((), (), ())
    with pytest.raises(Refusal):
        remove(safe, "/no/such/directory")
