from __future__ import annotations

from contextlib import closing
from pathlib import Path

from gatepost.node.site_secrets import prepare_site, srs_keys_of
from gatepost.settings.model import Settings
from gatepost.store.srs_keys import load_srs_keys
from gatepost.store.storage import Storage


def test_one_node_has_its_keys_in_a_file(tmp_path: Path) -> None:
    server = {"hostname": "mx.contoso.example", "data_dir": str(tmp_path)}
    settings = Settings(server=server)
    prepare_site(settings)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [], "nothing is made before it is needed"
    with closing(Storage.of(settings).configuration()) as store:
        assert store.content("password-secret"), "sessions may not write it"
        assert srs_keys_of(settings, store) == load_srs_keys(tmp_path)
        assert store.content("srs/keys") is None
