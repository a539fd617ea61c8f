from __future__ import annotations

import pytest

from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.differences import FieldChange
from gatepost.manage.use_cases.history import (
    HistoryEntry,
    change_summary,
    differences_of,
    history,
    history_entry,
    version_changes,
)
from gatepost.manage.use_cases.name_lookup import MAILBOX
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resources import PartName, add_part, apply_document

from .calls import remove_organization, set_organization, version_record

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("liz", frozenset({Scope.READ}), frozenset({"fabrikam", "gone"}))
NOBODY = Principal("eve", frozenset({Scope.READ}), frozenset())
CONNECTOR = {"name": "it's", "recipient_domains": ["bank.example"]}


@pytest.fixture
def changed(gateway):
    both = {
        "contoso": {"accepted_domain": [{"name": "contoso.example"}]},
        "fabrikam": {"outbound_connector": [CONNECTOR]},
        "gone": {},
    }
    apply_document(gateway, OWNER, {"organization": both}, ChangeOptions("ann", "all new"))
    add_part(gateway, OWNER, PartName(MAILBOX, "contoso", "a.b@contoso.example"), {}, ChangeOptions("ann"))
    fabrikam = {"outbound_connector": [CONNECTOR | {"priority": 5, "comment": "x"}], "cleartext": "never"}
    apply_document(gateway, OWNER, {"organization": {"fabrikam": fabrikam}}, ChangeOptions("liz", "as the bank asks"))
    set_organization(gateway, OWNER, "contoso", {"display_name": "C"}, ChangeOptions("ann"))
    remove_organization(gateway, OWNER, "gone", ChangeOptions("ann"))
    return gateway


LISTS = [
    (OWNER, {}, [(5, "gone"), (4, "contoso"), (3, "fabrikam"), (2, "contoso"), (1, "gone"), (1, "fabrikam")]),
    (OWNER, {"organization": "contoso", "limit": 2}, [(4, "contoso"), (2, "contoso")]),
    (OWNER, {"before": 4, "limit": 2}, [(3, "fabrikam"), (2, "contoso")]),
    (OWNER, {"organization": "nobody"}, []),
    (TENANT, {}, [(5, "gone"), (3, "fabrikam"), (1, "fabrikam"), (1, "gone")]),
    (TENANT, {"limit": 2}, [(5, "gone"), (3, "fabrikam")]),
    (TENANT, {"organization": "contoso"}, []),
    (NOBODY, {}, []),
]


@pytest.mark.parametrize(("who", "asked", "rows"), LISTS)
def test_the_newest_changes_come_first_of_what_is_seen(changed, who, asked, rows):
    assert [(one.version, one.name) for one in history(changed, who, **asked)][: len(rows) or None] == rows


def test_a_change_in_words(changed):
    found = {one.version: one for one in history(changed, OWNER)}
    assert change_summary(found[5]) == "removed"
    assert change_summary(found[3]) == 'cleartext changed; outbound connector "it\'s" changed'
    assert change_summary(found[2]) == "mailbox 'a.b@contoso.example' added"
    assert change_summary(found[1]) == "added"
    assert [str(one) for one in differences_of(found[4])] == ['+ organization.contoso.display_name: "C"']
    assert history_entry(found[3]) == HistoryEntry(
        version=3,
        at=found[3].at,
        author="liz",
        organization="fabrikam",
        note="as the bank asks",
        changes=3,
        summary='cleartext changed; outbound connector "it\'s" changed',
    )


def test_one_version_with_each_field_before_and_after(changed):
    record = version_record(changed, TENANT, 3)
    assert (record.version, record.author, record.note) == (3, "liz", "as the bank asks")
    assert record.changes[0] == FieldChange("+", "organization.fabrikam.cleartext", None, "never")
    _, fields = version_changes(changed, TENANT, 1)
    assert {one.path.split(".")[1] for one in fields} == {"fabrikam", "gone"}
    _, fields = version_changes(changed, OWNER, 1)
    assert fields[0].path == "organization.contoso"  # as they were applied


@pytest.mark.parametrize(("who", "version"), [(OWNER, 9), (TENANT, 2), (OWNER, 0), (OWNER, -1), (TENANT, 0)])
def test_a_version_that_is_not_there(changed, who, version):
    with pytest.raises(Refusal, match=f"there is no version {version}") as refused:
        version_changes(changed, who, version)
    assert refused.value.kind is RefusalKind.MISSING


def test_a_version_that_changed_certificates_alone_is_told_from_none(changed):
    with changed.config() as store:
        version = store.apply({"certificate": {"4f1c": {}}}, author="gatepost")
    with pytest.raises(Refusal, match=f"version {version} changed certificates, not resources: see their history"):
        version_changes(changed, OWNER, version)
    for who, asked in ((TENANT, version), (OWNER, version + 1), (TENANT, version + 1), (OWNER, 0)):
        with pytest.raises(Refusal, match=f"there is no version {asked}; `gatepost history` lists"):
            version_changes(changed, who, asked)
