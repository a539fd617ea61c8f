from __future__ import annotations

import pytest

from gatepost.manage.access import secret, setup_rows
from gatepost.manage.access.records import AccountError, AccountErrorKind

NOW = 1_000_000.0


@pytest.fixture
def rows(place):
    with place.accounts._database.changing() as connection:
        yield connection


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
