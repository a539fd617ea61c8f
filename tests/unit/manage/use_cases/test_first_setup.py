"""The first organization is made once, whole, with what its owner has to write into the settings."""

from __future__ import annotations

import pytest
from tests.unit.manage.calls import ANN, run

from gatepost.manage.access.accounts import Accounts
from gatepost.manage.access.principal import ROLES, Principal, Role
from gatepost.manage.access.records import AuditFilter
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.first_setup import set_up_gateway
from gatepost.manage.use_cases.history import list_history
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resources import apply_document
from gatepost.settings.loader import load
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage

GIVEN = {"domains": ["contoso.example", "contoso.test"], "upstream": "192.0.2.10", "nameservers": ["127.0.0.1"]}


@pytest.fixture
def made(tmp_path):
    def make(settings="", key=bytes(range(32))):
        (tmp_path / "master").touch(0o600)
        (tmp_path / "master").write_bytes(key)
        file = tmp_path / "gatepost.toml"
        server = f'[server]\nhostname = "mx.gate.example"\ndata_dir = "{tmp_path}/data"\n'
        file.write_text(server + (settings or f'[store]\nmaster_key = "file:{tmp_path}/master"\n'))
        return Gateway(load(str(file), {}))

    return make


def names(gateway):
    return [organization.name for organization in gateway.directory().resources.organizations]


def test_with_a_master_key_each_domain_gets_a_dkim_key_that_does_not_sign_yet(made):
    gateway = made()
    accounts = Accounts(Storage(SQLITE, gateway.data))
    setup = run(gateway, set_up_gateway, accounts=accounts, **GIVEN)
    assert (setup.settings, setup.signs, setup.makes_key) == ("", True, False)
    (contoso,) = gateway.directory().resources.organizations
    assert [(key.domain, str(key.state)) for key in contoso.dkim_keys] == [
        ("contoso.example", "next"),
        ("contoso.test", "next"),
    ]
    events = [(event.action, event.who, event.organization) for event in accounts.audit_events(ANN, AuditFilter())]
    assert events == [("dkim-add", "ann", "contoso")] * 2
    notes = [change.note for change in run(gateway, list_history, accounts=accounts).items]
    assert "quickstart" in notes
    accounts.close()


def test_a_dry_run_says_the_same_and_makes_nothing(made):
    gateway = made()
    setup = run(gateway, set_up_gateway, dry_run=True, **GIVEN)
    assert 'smart_hosts = ["192.0.2.10"]' in setup.resources
    assert (setup.signs, names(gateway), gateway.directory().version) == (True, [], 0)


def test_what_the_settings_lack_is_said(made):
    gateway = made("[dns]\nnameservers = ['127.0.0.1:53', '127.0.0.2']\n")
    same = GIVEN | {"nameservers": ["127.0.0.2:53", "127.0.0.1"]}
    setup = run(gateway, set_up_gateway, dry_run=True, hostname="MX.gate.example.", **same)
    assert setup.settings == '[store]\nmaster_key = "file:/etc/gatepost/secrets/master.key"\n'
    assert (setup.makes_key, setup.signs) == (True, False)
    setup = run(gateway, set_up_gateway, hostname="mx2.gate.example", **GIVEN | {"nameservers": []})
    assert setup.settings.startswith('[server]\nhostname = "mx2.gate.example"\n\n[dns]\nvalidate = "local"\n')
    assert names(gateway) == ["contoso"]


def test_resolving_locally_is_kept(made):
    gateway = made("[dns]\nvalidate = 'local'\n[store]\nmaster_key = 'env:KEY'\n")
    with pytest.raises(Refusal) as refused:  # and a master key that is not there keeps all from being made
        run(gateway, set_up_gateway, **GIVEN | {"nameservers": []})
    assert "store.master_key" in refused.value.text
    assert names(gateway) == []


def test_a_gateway_with_an_organization_is_left_alone(made):
    gateway = made()
    apply_document(gateway, ANN, {"organization": {"other": {}}}, ChangeOptions("root"))
    before = gateway.directory().version
    for dry_run in (True, False):
        with pytest.raises(Refusal) as refused:
            run(gateway, set_up_gateway, dry_run=dry_run, **GIVEN)
        assert (refused.value.kind, "other" in refused.value.text) == (RefusalKind.CONFLICT, True)
    assert (names(gateway), gateway.directory().version) == (["other"], before)


@pytest.mark.parametrize(
    "principal",
    [
        Principal("administrator", ROLES[Role.ADMINISTRATOR]),
        Principal("tenant", ROLES[Role.OWNER], frozenset({"contoso"})),
    ],
    ids=lambda principal: principal.name,
)
def test_it_is_the_owners_alone(made, principal):
    gateway = made()
    with pytest.raises(Refusal) as refused:
        run(gateway, set_up_gateway, principal=principal, **GIVEN)
    assert refused.value.kind is RefusalKind.FORBIDDEN
    assert names(gateway) == []
