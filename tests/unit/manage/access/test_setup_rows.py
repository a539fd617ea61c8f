from __future__ import annotations

import pytest

from gatepost.manage.access import secret, setup_rows
from gatepost.manage.access.records import AccountError, AccountErrorKind
from gatepost.pki.certificates.vault import Vault

NOW = 1_000_000.0
VAULT, OTHER_VAULT = Vault(b"a" * 32), Vault(b"b" * 32)


@pytest.mark.parametrize(
    ("after", "fits"), [(0, True), (1799, True), (1800, False), (-59, True), (-61, False), (86_400, False)]
)
def test_for_half_an_hour(rows, after, fits):
    code = setup_rows.renew(rows, NOW)
    assert setup_rows.fits(rows, code, NOW + after) is fits


def test_only_the_newest(rows):
    assert not setup_rows.fits(rows, secret.fresh(), NOW)
    first, second = setup_rows.renew(rows, NOW), setup_rows.renew(rows, NOW)
    assert [setup_rows.fits(rows, one, NOW) for one in (first, second, "", "x", secret.fresh())] == [
        *(False, True, False, False, False)
    ]
    assert second not in repr(rows.rows("SELECT * FROM setup"))
    setup_rows.demand(rows, second, NOW)
    setup_rows.forget(rows)
    with pytest.raises(AccountError, match="is not valid") as caught:
        setup_rows.demand(rows, second, NOW)
    assert caught.value.why is AccountErrorKind.CONFLICT


def test_not_beside_an_owner(place):
    code = place.accounts.setup_code(by=place.root)
    place.user()
    with place.accounts._database.changing() as connection:
        connection.execute(
            "INSERT INTO setup (id, hash, made) VALUES (1, ?, ?)", (secret.hash_of(code), place.clock.now)
        )
        assert not setup_rows.fits(connection, code, place.clock.now)
        with pytest.raises(AccountError, match="an owner already"):
            setup_rows.renew(connection, NOW)


@pytest.mark.parametrize(
    ("seals", "opens", "is_known", "is_said"),
    [
        (VAULT, VAULT, False, True),
        (None, None, True, True),
        (VAULT, None, True, True),
        (VAULT, None, False, False),
        (None, VAULT, False, False),
        (VAULT, OTHER_VAULT, False, False),
    ],
)
def test_the_valid_code_is_said_again_where_it_can_be(rows, seals, opens, is_known, is_said):
    assert setup_rows.valid(rows, NOW, opens, "") is None
    assert not setup_rows.open_until(rows, NOW)
    code = setup_rows.renew(rows, NOW, seals)
    assert code.encode() not in b"".join(bytes(cell) for cell in rows.rows("SELECT hash, sealed FROM setup")[0] if cell)
    said = setup_rows.valid(rows, NOW + 60, opens, code if is_known else secret.fresh())
    assert said == (setup_rows.ValidSetupCode(code, NOW + 1800) if is_said else None)
    assert setup_rows.open_until(rows, NOW + 60) == NOW + 1800
    assert setup_rows.valid(rows, NOW + 1800, opens, code) is None
    assert not setup_rows.open_until(rows, NOW + 1800)


def test_a_code_sealed_before_a_newer_one_is_not_said(rows):
    """A node of the version before renews the hash alone."""
    setup_rows.renew(rows, NOW, VAULT)
    rows.execute("UPDATE setup SET hash = ?", (secret.hash_of(secret.fresh()),))
    assert setup_rows.valid(rows, NOW, VAULT, "") is None
