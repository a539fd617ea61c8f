from __future__ import annotations

import pytest
from tests.unit.manage.calls import ANN, run

from gatepost.manage.use_cases.acme_renewal import (
    AcmeState,
    acme_state,
    get_acme_status,
    issuer_of,
    order_of,
    renewal_source,
)
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.acme.challenges import AcmeFailed
from gatepost.pki.acme.issuer import RenewalStatus
from gatepost.pki.acme.schedule import Progress
from gatepost.settings.loader import load

NAMES = ("mx.gate.example",)
URL = "https://acme.example/directory"


@pytest.fixture
def ordering(tmp_path):
    """A gateway that has its certificates from an authority, which nobody asks here."""

    def make(**acme):
        (tmp_path / "master").write_bytes(bytes(range(32)))
        (tmp_path / "master").chmod(0o600)
        lines = [
            f"{name} = {value}" for name, value in ({"agree_tos": "true", "directory_url": f'"{URL}"'} | acme).items()
        ]
        (tmp_path / "gatepost.toml").write_text(
            '[server]\nhostname = "mx.gate.example"\ndata_dir = "data"\n'
            f'[store]\nmaster_key = "file:{tmp_path / "master"}"\n[acme]\n' + "\n".join(lines)
        )
        return Gateway(load(str(tmp_path / "gatepost.toml"), {}))

    return make


def standing(entry, names=NAMES, renew_at=0.0, **progress):
    return RenewalStatus(names, entry, Progress(**progress), renew_at)


def test_where_acme_is_off(gateway):
    with pytest.raises(Refusal, match="agree_tos = true") as refused:
        acme_state(gateway, ANN)
    assert refused.value.kind is RefusalKind.INPUT


def test_what_there_shall_be_before_anybody_asked(ordering):
    status = run(ordering(), get_acme_status)
    assert (status.directory, status.account, status.ok) == (URL, "", False)
    (one,) = status.certificates
    assert one.names == ["mx.gate.example"]
    assert {one.not_after, one.renew_at, one.tried, one.succeeded, one.not_before} == {None}
    assert {one.certificate, one.state, one.renew_at_from, one.error} == {""}
    assert one.failures == 0


def test_hosts_that_serve_policies_are_ordered_too(ordering):
    gateway = ordering()
    domain = {"name": "contoso.example", "mta_sts": "testing"}
    with gateway.config() as store:
        store.apply({"organization": {"contoso": {"accepted_domain": [domain]}}}, author="ann")
    with issuer_of(gateway, ANN) as (_, hosts):
        assert hosts in ([], ["mta-sts.contoso.example"])
    names = {name for one in acme_state(gateway, ANN).orders for name in one.names}
    assert "mx.gate.example" in names


def test_another_authority_may_be_asked(ordering):
    with issuer_of(ordering(), ANN, "https://other.example/dir") as (issuer, _):
        assert issuer.url == "https://other.example/dir"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [(AcmeFailed("refused by the authority"), RefusalKind.INPUT), (ValueError("odd"), RefusalKind.UNREADABLE)],
)
def test_what_goes_wrong_while_asking(ordering, raised, kind):
    with pytest.raises(Refusal) as refused, issuer_of(ordering(), ANN):
        raise raised
    assert refused.value.kind is kind
    assert str(raised) in refused.value.text


def test_a_store_that_cannot_be_read(ordering):
    gateway = ordering()
    gateway.data.mkdir()
    (gateway.data / "config.db").write_bytes(b"no database, but long enough to be read as one " * 100)
    with pytest.raises(Refusal) as refused:
        acme_state(gateway, ANN)
    assert refused.value.kind is RefusalKind.UNREADABLE


def test_who_says_when_it_is_renewed(entry):
    mine = entry("mine")
    cases = [
        (standing(None, renew_at=5.0), ""),
        (standing(mine), "lifetime"),
        (standing(mine, renew_at=7.0, certificate=mine.id), "lifetime"),
        (standing(mine, certificate="an older one"), "lifetime"),
    ]
    for one, expected in cases:
        assert renewal_source(one) == expected
    told = RenewalStatus(NAMES, mine, Progress(renew_at=7.0, certificate=mine.id), 7.0)
    assert renewal_source(told) == "authority"
    older = RenewalStatus(NAMES, mine, Progress(renew_at=7.0, certificate="an older one"), 9.0)
    assert renewal_source(older) == "lifetime"


def test_all_is_well_if_all_are_there_and_nothing_went_wrong(entry):
    mine = entry("mine")
    good, lacking, failed = standing(mine), standing(None), standing(mine, error="rate limited", failures=3)
    for orders, ok in (((good,), True), ((good, lacking), False), ((good, failed), False), ((), True)):
        assert AcmeState(URL, "", orders).ok is ok
    one = order_of(failed)
    assert (one.error, one.failures, one.certificate) == ("rate limited", 3, mine.id)
    assert (one.state, one.not_after) == (str(mine.state), 1e11)
