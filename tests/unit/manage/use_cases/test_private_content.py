from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path

import pytest

from gatepost.analysis.checks.records import VALIDATIONS, CheckRecords
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions, Edit, change
from gatepost.manage.use_cases.context import Gateway
from gatepost.manage.use_cases.explain_live import login_of
from gatepost.manage.use_cases.private_content import keys_lacking, orphaned, secrets_lacking
from gatepost.manage.use_cases.resources import apply_document
from gatepost.policy.connectors.model import parse
from gatepost.policy.decisions.routes import SmartHosts
from gatepost.store.changes import ConfigStore

NAME = "{}._domainkey.o.example"


def test_what_belongs_to_what_goes_goes_with_it(tmp_path: Path) -> None:
    before = {"organization": {"o": {"mailbox": [{"address": "Ann@o.example"}], "dkim_key": [{"name": "k"}]}}}
    with closing(ConfigStore(tmp_path / "config.db")) as store:
        assert orphaned(store, before, {"organization": {"o": None}}) == {
            "password/ann@o.example": None,
            "dkim/o/k": None,
            "domain-verification/o": None,
        }
        assert orphaned(store, before, {"organization": before["organization"]}) == {}
        assert orphaned(store, {}, {"organization": before["organization"]}) == {}


LOGS_IN = {"name": "Relay", "authentication": {"username": "u"}}
ASKS = {"name": "o.example", "recipient_directory": {"bind_dn": "cn=gatepost"}}
ASKS_GRAPH = {"name": "o.example", "recipient_graph": {"client_id": "c"}}
TAKEN_AWAY = {
    "a connector": (
        {"outbound_connector": [LOGS_IN]},
        {"outbound_connector": [{"name": "Relay"}]},
        {"outbound_connector": [LOGS_IN | {"name": "relay"}]},
        "login/o/relay",
    ),
    "a directory": (
        {"accepted_domain": [ASKS]},
        {"accepted_domain": [ASKS | {"recipient_directory": {"bind_dn": "cn=x", "password_file": "/etc/s"}}]},
        {"accepted_domain": [ASKS | {"recipient_directory": {"bind_dn": "cn=other"}}]},
        "directory/o/o.example",
    ),
    "Microsoft Graph": (
        {"accepted_domain": [ASKS_GRAPH]},
        {"accepted_domain": [{"name": "o.example"}]},
        {"accepted_domain": [ASKS_GRAPH, {"name": "b.example"}]},
        "graph/o/o.example",
    ),
    "a DKIM key": (
        {"dkim_key": [{"name": "k"}, {"name": "l"}]},
        {"dkim_key": [{"name": "l"}]},
        {"dkim_key": [{"name": "l"}, {"name": "k"}]},
        "dkim/o/k",
    ),
}


@pytest.mark.parametrize(("before", "without", "still", "place"), TAKEN_AWAY.values(), ids=TAKEN_AWAY)
def test_a_secret_goes_with_what_needs_it(
    tmp_path: Path, before: dict[str, object], without: dict[str, object], still: dict[str, object], place: str
) -> None:
    stored = {"organization": {"o": before}}
    with closing(ConfigStore(tmp_path / "config.db")) as store:
        assert orphaned(store, stored, {"organization": {"o": without}}) == {place: None}
        assert orphaned(store, stored, {"organization": {"o": still}}) == {}
        assert orphaned(store, stored, {"organization": {"p": before}}) == {}
        assert place in orphaned(store, stored, {"organization": {"o": None}})


HOSTILE = "it's $(id) -x"
LOGIN = {
    "name": HOSTILE,
    "recipient_domains": ["b.example"],
    "smart_hosts": ["relay.example:587"],
    "tls_settings": "domain-validation",
    "tls_domain": "relay.example",
    "authentication": {"username": "u"},
}


def test_the_name_of_a_connector_is_one_word_of_the_command_that_enters_its_secret(gateway: Gateway) -> None:
    resources = parse({"organization": {"contoso": {"outbound_connector": [LOGIN]}}})
    (connector,) = resources.organizations[0].outbound_connectors
    with gateway.config() as store:
        (lacking,) = secrets_lacking(store, resources.organizations)
    route = SmartHosts(connector, (), connector_owner="contoso")
    explained = login_of(gateway, route)
    assert explained is not None
    for text in (lacking, explained.missing):
        command = text[text.index("gatepost ") :]
        assert shlex.split(command) == ["gatepost", "connector", "secret", HOSTILE]


def test_keys_without_their_private_half_are_named(tmp_path: Path) -> None:
    keys = [
        {"name": NAME.format("sealed")},
        {"name": NAME.format("missing")},
        {"name": NAME.format("file"), "key_file": "/x"},
        {"name": NAME.format("retired"), "state": "retired"},
    ]
    resources = parse({"organization": {"o": {"accepted_domain": [{"name": "o.example"}], "dkim_key": keys}}})
    with closing(ConfigStore(tmp_path / "config.db")) as store:
        store.apply({}, author="a", content={f"dkim/o/{NAME.format('sealed')}": b"x"})
        (said,) = keys_lacking(store, resources.organizations)
    assert said.startswith(f"DKIM key {NAME.format('missing')} of o: its private key is not in this store")


CONNECTORS = {
    "inbound_connector": [{"name": "bank", "sender_domains": ["bank.example"]}],
    "outbound_connector": [
        {"name": name, "recipient_domains": [f"{name.lower()}.example"]} for name in ("Bank", "old")
    ],
}
LESS = CONNECTORS | {"outbound_connector": [CONNECTORS["outbound_connector"][0] | {"name": "BANK"}]}
ALL = [("inbound", "bank"), ("outbound", "bank"), ("outbound", "old")]


@pytest.mark.parametrize(
    ("after", "dry_run", "left"),
    [
        ({"contoso": LESS, "fabrikam": CONNECTORS}, False, [ALL[:2], ALL]),
        ({"contoso": LESS, "fabrikam": CONNECTORS}, True, [ALL, ALL]),
        ({"contoso": CONNECTORS | {"display_name": "C"}, "fabrikam": CONNECTORS}, False, [ALL, ALL]),
        ({"fabrikam": CONNECTORS}, False, [[], ALL]),
    ],
)
def test_validations_go_with_their_connectors(gateway: Gateway, after, dry_run, left) -> None:
    owner = Principal("ann", frozenset({Scope.OWNER}))
    apply_document(
        gateway, owner, {"organization": {"contoso": CONNECTORS, "fabrikam": CONNECTORS}}, ChangeOptions("ann")
    )
    kept = [CheckRecords(gateway.storage, VALIDATIONS, name) for name in ("contoso", "fabrikam")]
    for records in kept:
        for key in ALL:
            records.keep(*key, {"at": 1})

    def step(_, draft):
        edit = Edit(tuple(draft))
        draft.clear()
        draft.update(after)
        return edit

    change(gateway, owner, step, ChangeOptions("ann", dry_run=dry_run), whole=True)
    assert [[key for key in ALL if records.last(*key)] for records in kept] == left


def test_validations_of_organizations_that_an_earlier_version_removed_go_with_the_next_change(gateway: Gateway) -> None:
    owner, options = Principal("ann", frozenset({Scope.OWNER})), ChangeOptions("ann")
    apply_document(gateway, owner, {"organization": {"contoso": CONNECTORS}}, options)
    kept = [CheckRecords(gateway.storage, VALIDATIONS, name) for name in ("contoso", "fabrikam & sons")]
    for records in kept:
        records.keep(*ALL[0], {"at": 1})
    apply_document(gateway, owner, {"organization": {"contoso": CONNECTORS | {"display_name": "C"}}}, options)
    assert [records.last(*ALL[0]) is not None for records in kept] == [True, False]


def test_a_validation_that_cannot_be_removed_holds_up_no_change(gateway: Gateway, caplog) -> None:
    owner, options = Principal("ann", frozenset({Scope.OWNER})), ChangeOptions("ann")
    apply_document(gateway, owner, {"organization": {"contoso": CONNECTORS}}, options)
    (gateway.data / VALIDATIONS / "contoso" / "outbound-old.json").mkdir(parents=True)
    assert apply_document(gateway, owner, {"organization": {"contoso": LESS}}, options).version == 2
    assert "results of validations cannot be removed" in caplog.text
