from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from gatepost.manage.use_cases.private_content import keys_lacking, orphaned
from gatepost.policy.connectors.model import parse
from gatepost.store.changes import ConfigStore

if TYPE_CHECKING:
    from pathlib import Path

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
