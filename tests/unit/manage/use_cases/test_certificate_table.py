from __future__ import annotations

import json
import os

import pytest
from tests.unit.manage.calls import add_entry, run

from gatepost.manage.use_cases.certificate_import import add_certificate
from gatepost.manage.use_cases.certificate_table import (
    base_url,
    get_certificate_table,
    published_table,
    write_table,
)
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.certificates.authority import Authority

NAME = "mx.gate.example"

# what is given -> the URL of the directory
URLS = [
    ("", ""),
    ("https://gate.example", "https://gate.example/"),
    ("https://gate.example/", "https://gate.example/"),
    ("https://gate.example/tls", "https://gate.example/tls/"),
    ("http://127.0.0.1:8080/tls/", "http://127.0.0.1:8080/tls/"),
    ("https://[2001:db8::1]/tls", "https://[2001:db8::1]/tls/"),
]


@pytest.mark.parametrize(("given", "expected"), URLS)
def test_the_address_of_a_directory(given, expected):
    assert base_url(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        "gate.example",
        "/tls/",
        "//gate.example/",
        "ftp://gate.example/",
        "javascript:alert(1)",
        "https://",
        "https:///tls",
        "https://[::1",
        "https://gate.example/?a=b",
        "https://gate.example/?",
        "https://gate.example/#a",
        "https://gate.example/#",
        "https://gate.example:port/",
        "https://gate.example:99999/",
        "https://gate .example/",
        "https://gate.example/a\nb",
        "https://ann:word@gate.example/",
        'https://gate.example/"><script>',
        "https://gate.example\\x/",
        " https://gate.example/",
    ],
)
def test_what_is_no_address_of_a_directory(given):
    with pytest.raises(Refusal) as refused:
        base_url(given)
    assert (refused.value.kind, [one.path for one in refused.value.errors]) == (RefusalKind.INPUT, ["base_url"])
    assert refused.value.text.isprintable()


def test_nothing_is_published_where_there_is_nothing(sealed, tmp_path):
    found = published_table(sealed)
    assert found.table.rows == ()
    with pytest.raises(Refusal) as refused:
        write_table(run(sealed, get_certificate_table), tmp_path / "out")
    assert refused.value.kind is RefusalKind.CONFLICT
    assert not (tmp_path / "out").exists()


def test_what_is_current_and_next_is_published_and_client_identities_are_not(sealed, root, tmp_path):
    current, following = add_entry(sealed, root), add_entry(sealed, root)
    client = add_entry(sealed, root, "c.example", client=True, organization="contoso", label="to-bank")
    found = published_table(sealed)
    assert {one.columns.facts.sha256 for one in found.table.rows} == {current.leaf.sha256, following.leaf.sha256}
    done = write_table(run(sealed, get_certificate_table, base_url="https://gate.example/tls"), tmp_path / "out")
    texts = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert b"PRIVATE KEY" not in texts
    assert client.leaf.sha256.encode() not in texts
    assert {one["state"] for one in done["files"]} == {"written"}
    assert done["certificates"] == 2
    assert {one["name"]: one["size"] for one in done["files"]} == {
        path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()
    }
    json.dumps(done)


def test_what_says_the_same_is_not_written_again(sealed, root, tmp_path):
    add_entry(sealed, root)
    table = run(sealed, get_certificate_table)
    write_table(table, tmp_path / "out")
    again = write_table(table, tmp_path / "out")
    assert {one["state"] for one in again["files"]} == {"unchanged"}


def test_a_root_that_is_not_known_is_said(sealed):
    stranger = Authority("Stranger Root")
    chain, key = stranger.issue([NAME])
    run(sealed, add_certificate, chain=chain.decode(), key=key.decode())
    found = published_table(sealed)
    (note,) = [one for one in found.notes if "root was not found" in one]
    assert "Stranger Root" in note
    assert "tls.trust_anchors" in note


def test_an_entry_or_a_chain_that_is_lost(sealed, root):
    entry = add_entry(sealed, root)
    with sealed.config() as store:
        store.apply({}, author="test", content={f"certificate/{entry.id}/chain": None})
    assert published_table(sealed).notes == (f"certificate {entry.id} is left out: its chain cannot be read",)
    with sealed.config() as store:
        store.apply({"certificate": {entry.id: {"state": "unheard-of"}}}, author="test")
    with pytest.raises(Refusal) as refused:
        published_table(sealed)
    assert refused.value.kind is RefusalKind.UNREADABLE


def test_a_directory_that_cannot_be_written(sealed, root, tmp_path):
    add_entry(sealed, root)
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(Refusal) as refused:
        write_table(run(sealed, get_certificate_table), tmp_path / "file")
    assert refused.value.kind is RefusalKind.INPUT
    assert str(tmp_path / "file") in refused.value.text
    assert os.listdir(tmp_path / "data")  # noqa: PTH208 - the store is where it was


def test_a_store_that_cannot_be_read(gateway):
    gateway.data.mkdir()
    (gateway.data / "config.db").write_bytes(b"no database, but long enough to be read as one " * 100)
    with pytest.raises(Refusal) as refused:
        published_table(gateway)
    assert refused.value.kind is RefusalKind.UNREADABLE


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", ".hidden", "", "a/b", "x" * 101, "a b"])
def test_a_name_that_leads_elsewhere_is_not_written(sealed, root, tmp_path, name):
    """Another gateway says what the files are called."""
    add_entry(sealed, root)
    table = run(sealed, get_certificate_table)
    table.files[0].name = name
    with pytest.raises(Refusal, match="is not a name of a file of the table") as refused:
        write_table(table, tmp_path / "out")
    assert refused.value.kind is RefusalKind.UNREADABLE
    assert not (tmp_path / "out").exists()
