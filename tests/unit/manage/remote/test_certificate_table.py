from __future__ import annotations

import pytest

from gatepost.manage.remote.certificate_table import table_files
from gatepost.manage.use_cases import certificate_table as here
from gatepost.manage.use_cases.certificate_intake import add_certificate
from gatepost.manage.use_cases.refusal import Kind, Refusal

from .conftest import OWNER, new_certificate


def test_the_files_are_the_same(safe, sealed, tmp_path):
    add_certificate(sealed, OWNER, new_certificate())
    base = "https://gate.example/c/"
    found = table_files(safe, base)
    assert found == here.table_files(sealed, OWNER, base)
    done = here.published_record(here.write_table(found, tmp_path / "www"))
    assert (done["certificates"], {one["state"] for one in done["files"]}) == (1, {"written"})
    again = here.published_record(here.write_table(table_files(safe, base), tmp_path / "www"))
    assert {one["state"] for one in again["files"]} == {"unchanged"}


def test_nothing_to_publish(safe, tmp_path):
    with pytest.raises(Refusal, match="nothing was written") as refused:
        here.write_table(table_files(safe), tmp_path)
    assert refused.value.kind is Kind.CONFLICT


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "", ".profile", "a\nb"])
def test_a_file_leads_nowhere_else(safe, monkeypatch, name):
    bad = {"name": name, "type": "text/html", "lasting": False, "content": ""}
    answer = {"files": [bad], "notes": [], "version": "", "changed": None, "certificates": 1}
    monkeypatch.setattr(safe, "get", lambda *_, **__: type("A", (), {"value": answer}))
    with pytest.raises(Refusal, match="no name of a file"):
        table_files(safe)
