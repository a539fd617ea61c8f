from __future__ import annotations

import pytest
from msgspec.structs import asdict

from gatepost.analysis.checks.dkim_record import DkimObservation, RecordCheck
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import dkim
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.dkim import KeySelection, dkim_key, dkim_keys, signing_key, with_dns_checks
from gatepost.manage.use_cases.dns_checks import DnsChecks
from gatepost.manage.use_cases.name_lookup import DKIM
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resources import PartName, set_part
from gatepost.pki.certificates.dkim_keys import made_key
from gatepost.policy.connectors.values import DkimAlgorithm

from .calls import import_key, make_key

ANN = Principal("ann", frozenset({Scope.OWNER}))
WISH = ChangeOptions("ann")
ED = DkimAlgorithm.ED25519_SHA256
PEM = made_key(ED)
NAME = "a._domainkey.contoso.example"


@pytest.fixture
def seen(monkeypatch):
    """Names that were looked up; those with a b are published."""
    asked = []

    async def dns_check(_, name, __):
        asked.append(name)
        return (
            RecordCheck(DkimObservation.PUBLISHED)
            if name.startswith("b.")
            else RecordCheck(DkimObservation.MISSING, "nothing")
        )

    monkeypatch.setattr(dkim, "seen_record", dns_check)
    return asked


def add(gateway, selector, domain="contoso.example", **more):
    return make_key(gateway, ANN, domain, WISH, "contoso", selector=selector, **more)


def test_keys_come_in_the_order_of_domain_state_and_name(sealed):
    for selector, more in (("c", {"current": True}), ("b", {}), ("a", {})):
        add(sealed, selector, **more)
    add(sealed, "z", "a.contoso.example")
    assert [row.key.selector for row in dkim_keys(sealed, ANN)] == ["z", "a", "b", "c"]
    chosen = dkim_keys(sealed, ANN, KeySelection("contoso", "EXAMPLE", domain="Contoso.example", state="next"))
    assert [row.key.selector for row in chosen] == ["a", "b"]
    assert [row.key.selector for row in dkim_keys(sealed, ANN, KeySelection(selector="C"))] == ["c"]
    with pytest.raises(Refusal) as refused:
        dkim_keys(sealed, ANN, KeySelection("nobody"))
    assert refused.value.kind is RefusalKind.MISSING
    assert dkim_keys(sealed, Principal("eve", frozenset({Scope.READ}), frozenset())) == []


def test_a_look_says_what_is_published_and_since_when(sealed, seen):
    add(sealed, "a")
    add(sealed, "b")
    before = {row.key.selector: row for row in dkim_keys(sealed, ANN, check=True)}
    assert before["a"].dns_check == RecordCheck(DkimObservation.MISSING, "nothing")
    assert before["b"].dns_check == RecordCheck(DkimObservation.PUBLISHED)
    assert sorted(seen) == [NAME, "b._domainkey.contoso.example"]
    assert before["a"].since <= before["b"].since
    set_part(sealed, ANN, PartName(DKIM, "contoso", NAME), {"comment": "spare"}, WISH)
    assert dkim_key(sealed, ANN, NAME, check=True).since == before["a"].since, "a comment is no state"
    set_part(sealed, ANN, PartName(DKIM, "contoso", NAME), {"state": "current"}, WISH)
    assert dkim_key(sealed, ANN, NAME, check=True).since > before["b"].since
    assert with_dns_checks(sealed, ANN, []) == []


def test_what_was_long_ago_has_no_time(sealed, seen):
    add(sealed, "a")
    with sealed.config() as store:
        for number in range(120):
            _, found = store.load()
            table = found["organization"]["contoso"] | {"display_name": f"Contoso {number}"}
            store.apply({"organization": {"contoso": table}}, author="ann")
    assert dkim_key(sealed, ANN, NAME, check=True).since is None


def test_a_key_whose_public_half_is_not_known_is_not_looked_up(sealed, seen):
    with sealed.config() as store:
        _, found = store.load()
        table = found["organization"]["contoso"] | {"dkim_key": [{"name": NAME}]}
        store.apply({"organization": {"contoso": table}}, author="ann")
    row = dkim_key(sealed, ANN, NAME, check=True)
    assert (row.private, row.dns_check.seen) == ("missing", DkimObservation.UNKNOWN)
    assert signing_key(row).zone == ""
    assert seen == []


def test_as_a_record(sealed):
    add(sealed, "a")
    record = asdict(signing_key(dkim_key(sealed, ANN, NAME)))
    assert record["zone"] == f'{NAME}. IN TXT "{record["text"]}"'
    assert record["text"].startswith("v=DKIM1; k=ed25519; p=")
    del record["zone"], record["text"], record["public_key"]
    assert record == {
        "organization": "contoso",
        "name": NAME,
        "domain": "contoso.example",
        "selector": "a",
        "state": "next",
        "algorithm": "ed25519-sha256",
        "service_type": "*",
        "since": None,
        "private_key": "sealed",
        "record": None,
        "why": "",
    }


def test_a_private_key_that_fits_is_brought_in(sealed):
    public = dkim.signer_of(PEM).public_key
    with sealed.config() as store:
        _, found = store.load()
        keys = [{"name": NAME, "algorithm": str(ED), "public_key": public}]
        store.apply({"organization": {"contoso": found["organization"]["contoso"] | {"dkim_key": keys}}}, author="ann")
    with pytest.raises(Refusal, match="is not the private key") as refused:
        import_key(sealed, ANN, "contoso.example", "a", made_key(ED))
    assert [error.path for error in refused.value.errors] == ["key"]
    with pytest.raises(
        Refusal, match=r"the key cannot be used: there is no private key in PEM form.*nothing was changed"
    ):
        import_key(sealed, ANN, "contoso.example", "a", b"x")
    assert import_key(sealed, ANN, "contoso.example", "a", PEM, dry_run=True).name == NAME
    assert dkim_key(sealed, ANN, NAME).private == "missing"
    assert import_key(sealed, ANN, "contoso.example", "a", PEM).name == NAME
    assert dkim_key(sealed, ANN, NAME).private == "sealed"


def test_only_so_many_looks_run_at_a_time(sealed, seen, monkeypatch):
    add(sealed, "a")
    monkeypatch.setattr("gatepost.manage.use_cases.dns_checks._PATIENCE", 0.01)
    held = [sealed.kept(DnsChecks).slot(Principal(name, frozenset())) for name in "abcd"]
    for one in held:
        one.__enter__()
    with pytest.raises(Refusal) as refused:
        dkim_keys(sealed, ANN, check=True)
    assert refused.value.kind is RefusalKind.CONFLICT
    for one in held:
        one.__exit__(None, None, None)
    assert dkim_keys(sealed, ANN, check=True)
