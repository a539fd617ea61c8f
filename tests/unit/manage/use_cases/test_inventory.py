from __future__ import annotations

import pytest
from tests.unit.manage.calls import add_entry

from gatepost.manage.use_cases.inventory import (
    check_client,
    choose_certificate,
    inventory_for_look,
    inventory_of,
    listed_certificates,
    settings_files,
)
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.certificates.entry import Origin, Purpose
from gatepost.pki.certificates.files import CertificateFileError

NAME = "mx.gate.example"


@pytest.mark.parametrize(("keys", "seals"), [(True, True), (False, False)])
def test_keys_are_there_for_who_wants_them(sealed, keys, seals):
    with inventory_of(sealed, keys=keys) as inventory:
        assert inventory.seals is seals


def test_who_may_not_read_the_master_key_may_look(sealed, tmp_path):
    with inventory_for_look(sealed) as inventory:
        assert inventory.seals
    (tmp_path / "master").unlink()
    with inventory_for_look(sealed) as inventory:
        assert not inventory.seals
    with pytest.raises(Refusal, match="master_key"), inventory_of(sealed):
        pass


def test_what_is_wrong_with_files_is_input(sealed):
    with pytest.raises(Refusal) as refused, inventory_of(sealed, keys=False):
        raise CertificateFileError("the chain a.pem: is empty")
    assert (refused.value.kind, refused.value.text) == (RefusalKind.INPUT, "the chain a.pem: is empty")


def test_certificates_of_the_settings_are_listed_though_the_gateway_never_ran(from_settings, tmp_path):
    assert settings_files(from_settings.settings) == [(tmp_path / "chain.pem", tmp_path / "key.pem")]
    with inventory_of(from_settings, keys=False) as inventory:
        (entry,) = listed_certificates(inventory, from_settings).entries.values()
        assert entry.origin is Origin.SETTINGS
        assert inventory.entries()[1] == {}, "a look stores nothing"
        (tmp_path / "chain.pem").write_text("nonsense")
        assert listed_certificates(inventory, from_settings).trouble


# what is stored of a certificate
@pytest.mark.parametrize("document", [{}, {"state": "unheard-of"}, {"leaf": 7}, {"leaf": {}}, 7])
def test_an_entry_that_this_version_cannot_read(sealed, root, document):
    entry = add_entry(sealed, root)
    with sealed.config() as store:
        stored = store.load("certificate")[1]["certificate"][entry.id]
        changed = stored | document if document and document != 7 else document
        store.apply({"certificate": {entry.id: changed}}, author="test")
    with inventory_of(sealed, keys=False) as inventory, pytest.raises(Refusal) as refused:
        listed_certificates(inventory, sealed)
    assert refused.value.kind is RefusalKind.UNREADABLE


def test_one_goes_by_an_id_a_thumbprint_or_a_label(sealed, root):
    entry = add_entry(sealed, root)
    client = add_entry(sealed, root, "c.example", client=True, organization="contoso", label="to-bank")
    with inventory_of(sealed, keys=False) as inventory:
        found = listed_certificates(inventory, sealed)
    assert choose_certificate(found, entry.id) == entry
    assert choose_certificate(found, entry.leaf.sha256) == entry
    assert choose_certificate(found, entry.id.upper()) == entry
    assert choose_certificate(found, "to-bank") == client
    for number in ("", "none", "0" * 16, entry.id + "x", "../" + entry.id):
        with pytest.raises(Refusal) as refused:
            choose_certificate(found, number)
        assert refused.value.kind is RefusalKind.MISSING


# purpose, organization, label -> the kind of refusal and the fields it names
CLIENTS = [
    (Purpose.SERVER, "", "", None, []),
    (Purpose.SERVER, "", "my own", None, []),
    (Purpose.SERVER, "contoso", "", RefusalKind.INPUT, ["organization"]),
    (Purpose.CLIENT, "", "", RefusalKind.INPUT, ["organization", "label"]),
    (Purpose.CLIENT, "contoso", "", RefusalKind.INPUT, ["label"]),
    (Purpose.CLIENT, "", "x", RefusalKind.INPUT, ["organization"]),
    (Purpose.CLIENT, "contoso", "x" * 65, RefusalKind.INPUT, ["label"]),
    (Purpose.CLIENT, "contoso", "a\nb", RefusalKind.INPUT, ["label"]),
    (Purpose.CLIENT, "nobody", "x", RefusalKind.MISSING, []),
    (Purpose.CLIENT, "contoso", "x" * 64, None, []),
    (Purpose.CLIENT, "contoso", "ä ö", None, []),
    (Purpose.CLIENT, "Contoso", "x", RefusalKind.MISSING, []),
]


@pytest.mark.parametrize(("purpose", "organization", "label", "kind", "fields"), CLIENTS)
def test_whose_client_identity_it_is_has_to_be_said(sealed, purpose, organization, label, kind, fields):
    if kind is None:
        check_client(sealed, purpose, organization, label)
        return
    with pytest.raises(Refusal) as refused:
        check_client(sealed, purpose, organization, label)
    assert (refused.value.kind, [one.path for one in refused.value.errors]) == (kind, fields)
