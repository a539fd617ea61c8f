"""The sets of roots that a certificate is looked for in."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from support.chains import pem
from support.status_authority import StatusAuthority

from gatepost.analysis.checks import chain_stores
from gatepost.analysis.checks.chain_facts import Store
from gatepost.analysis.checks.chain_stores import MOZILLA, OWN, RootStores
from gatepost.net.anchors import AnchorsError, TrustAnchors

ROOTS = [StatusAuthority(name).certificate for name in ("Known", "Listed", "Own", "Nobody's")]
KNOWN, LISTED, GIVEN, NOBODY = (one.public_bytes(Encoding.DER) for one in ROOTS)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "mozilla").mkdir()
    (tmp_path / "mozilla" / "a.crt").write_bytes(pem(ROOTS[0]))
    (tmp_path / "mozilla" / "b.crt").write_bytes(pem(ROOTS[1]))
    (tmp_path / "own.pem").write_bytes(pem(ROOTS[2], ROOTS[0]))
    return tmp_path


@pytest.fixture
def system(monkeypatch):
    """What this machine trusts, or why that cannot be told."""

    def choose(store):
        real = chain_stores._loaded
        monkeypatch.setattr(chain_stores, "_loaded", lambda spec: store if spec == "system" else real(spec))

    choose(TrustAnchors([KNOWN], "system"))
    return choose


def test_this_machine_decides(files, system):
    stores = RootStores.load(mozilla=files / "mozilla")
    assert (stores.name, stores.is_given) == (OWN, False)
    assert stores.holding(KNOWN) == (Store(OWN, True, 1), Store(MOZILLA, True, 2))
    assert stores.holding(LISTED) == (Store(OWN, False, 1), Store(MOZILLA, True, 2))
    assert set(stores.certificates()) == {KNOWN, LISTED}
    assert not stores.is_private(KNOWN)


def test_a_given_store_decides(files, system):
    own = str(files / "own.pem")
    stores = RootStores.load(own, files / "mozilla")
    assert (stores.name, stores.is_given, len(stores.anchors)) == (own, True, 2)
    assert stores.holding(GIVEN) == (Store(OWN, False, 1), Store(MOZILLA, False, 2), Store(own, True, 2))
    assert [stores.is_private(one) for one in (GIVEN, KNOWN, NOBODY)] == [True, False, False]


def test_stores_that_are_not_there(files, system):
    system("system: this machine has none")
    with pytest.raises(AnchorsError, match="this machine has none"):
        RootStores.load()
    stores = RootStores.load(str(files / "own.pem"), files / "none")
    assert stores.holding(GIVEN)[:2] == (
        Store(OWN, missing="system: this machine has none"),
        Store(MOZILLA, missing=f"{files / 'none'} is not on this machine"),
    )
    assert set(stores.certificates()) == {GIVEN, KNOWN}
    assert stores.is_private(GIVEN)
    with pytest.raises(AnchorsError, match="no certificate in it"):
        RootStores.load("/dev/null")


def test_a_list_that_cannot_be_read(files, system):
    (files / "mozilla" / "c.crt").write_bytes(b"junk")
    assert RootStores.load(mozilla=files / "mozilla").holding(KNOWN)[1].missing.endswith("(PEM or DER is expected)")
