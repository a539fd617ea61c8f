from __future__ import annotations

import shlex
import time

import pytest
from tests.unit.manage.calls import add_entry, run

from gatepost.manage.use_cases import changeover_steps as steps
from gatepost.manage.use_cases.certificate_import import watch_directory
from gatepost.manage.use_cases.certificate_removal import needed, remove_certificate, remove_directory
from gatepost.manage.use_cases.certificate_requests import remove_certificate_request, request_certificate
from gatepost.manage.use_cases.certificates import certificate_listing
from gatepost.manage.use_cases.inventory import history, inventory_of
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.watch import FileWatch
from gatepost.values import replace

NAME = "mx.gate.example"


def client(gateway, root, name="c.example", label="to-bank", **more):
    return add_entry(gateway, root, name, client=True, organization="contoso", label=label, **more)


def remove(gateway, number, **more):
    return run(gateway, remove_certificate, certificate=number, **more).text


def refusal(gateway, number, **more):
    with pytest.raises(Refusal) as refused:
        remove(gateway, number, **more)
    return refused.value


def found_in_files(gateway):
    """What a running gateway finds in a directory that is watched."""
    with inventory_of(gateway) as inventory:
        FileWatch(inventory, []).look(time.time())
    return certificate_listing(gateway).entries


@pytest.mark.parametrize("number", ["", ".", "/", "..", "none", "0" * 16, "a\0b", "*", "%2e", "' or 1=1"])
def test_what_is_not_there(sealed, root, number):
    add_entry(sealed, root)
    assert refusal(sealed, number).kind is RefusalKind.MISSING
    assert refusal(sealed, number, force="really").kind is RefusalKind.MISSING
    assert len(certificate_listing(sealed).entries) == 1


def test_one_that_is_next_is_not_missed(sealed, root):
    add_entry(sealed, root)
    new = add_entry(sealed, root)
    assert remove(sealed, new.id.upper(), note="a mistake") == f"{new.id}: removed"
    assert [(one.author, one.note, one.after) for one in history(sealed, 1, new.id)] == [("ann", "a mistake", None)]
    assert refusal(sealed, new.id).kind is RefusalKind.MISSING


def test_the_last_that_bears_a_name_is_needed(sealed, root):
    first = add_entry(sealed, root, NAME, "mail.gate.example")
    second = add_entry(sealed, root, "mail.gate.example")
    assert (first.state, second.state) == (State.CURRENT, State.NEXT)
    refused = refusal(sealed, first.id)
    assert (refused.kind, NAME in refused.text) == (RefusalKind.CONFLICT, True)
    run(sealed, steps.switch_certificate, certificate=second.id, force="x")
    assert remove(sealed, first.id, force="x") == f"{first.id}: removed"
    text = refusal(sealed, second.id).text
    assert ("mail.gate.example" in text, NAME in text) == (True, False)
    first = second
    assert remove(sealed, first.id, force="a drill") == f"{first.id}: removed"
    assert history(sealed, 1)[0].note == "forced: a drill"


def test_a_switch_that_can_be_taken_back_needs_the_old_key(sealed, root):
    old, new = add_entry(sealed, root), add_entry(sealed, root)
    run(sealed, steps.switch_certificate, certificate=new.id, force="x")
    text = refusal(sealed, old.id).text
    assert f"its key is needed to roll back the switch to {new.id}" in text
    assert remove(sealed, old.id, force="stolen") == f"{old.id}: removed"


# label of a client certificate -> who misses it
@pytest.mark.parametrize(
    ("label", "why"), [("to-bank", "outbound connectors use it: out"), ("of nobody", ""), ("TO-BANK", "")]
)
def test_a_client_identity_is_needed_by_connectors_that_name_it(sealed, root, label, why):
    entry = client(sealed, root, label=label)
    assert needed(entry, [entry], sealed) == why
    if not why:
        assert remove(sealed, entry.id)


def test_another_current_one_of_the_same_label_will_do(sealed, root):
    entry = client(sealed, root)
    other = client(sealed, root, "d.example", current=True)
    entries = certificate_listing(sealed).entries
    standing = {one.id: one.state for one in entries}
    assert standing[other.id] is State.CURRENT
    assert needed(other, [other, replace(other, id="another", replaces=())], sealed) == ""
    older = next(one for one in entries if one.id == entry.id)
    assert ("needed to roll back" in needed(older, entries, sealed)) is (older.state is State.DEPRECATED)
    with sealed.config() as store:
        store.apply({"organization": {"contoso": None}}, author="ann")
    assert needed(other, [other], sealed) == "", "its organization is gone"


def test_a_request_that_waits(sealed):
    waiting = run(sealed, request_certificate, names=[NAME]).request
    removed = run(sealed, remove_certificate_request, request=waiting.id.upper())
    assert removed.text == f"request {waiting.id}: removed"
    assert certificate_listing(sealed).requests == ()


def test_a_directory_is_not_watched_any_more_and_its_files_stay(sealed, root, tmp_path):
    folder, empty = tmp_path / "live", tmp_path / "empty"
    folder.mkdir()
    empty.mkdir()
    run(sealed, watch_directory, directory=str(empty))
    chain, key = root.issue([NAME])
    (folder / "fullchain.pem").write_bytes(chain)
    (folder / "privkey.pem").touch(0o600)
    (folder / "privkey.pem").write_bytes(key)
    run(sealed, watch_directory, directory=str(folder))
    (entry,) = found_in_files(sealed)
    refused = refusal(sealed, entry.id, force="really")
    assert (refused.kind, f"certificate remove {shlex.quote(str(folder))}" in refused.text) == (RefusalKind.INPUT, True)
    removed = run(sealed, remove_directory, directory=f"{folder}/")
    assert removed.text == f"{folder}: no longer watched"
    assert certificate_listing(sealed).directories == (str(empty),)
    assert (folder / "privkey.pem").read_bytes() == key
    with pytest.raises(Refusal) as again:
        run(sealed, remove_directory, directory=str(folder))
    assert again.value.kind is RefusalKind.MISSING
    assert remove(sealed, entry.id, force="nothing looks there any more") == f"{entry.id}: removed"


def test_what_comes_from_the_settings_would_come_back(from_settings):
    (entry,) = certificate_listing(from_settings).entries
    refused = refusal(from_settings, entry.id, force="really")
    assert (refused.kind, "remove its [[certificate]] there" in refused.text) == (RefusalKind.INPUT, True)


def test_a_directory_that_cannot_be_read_any_more_keeps_nothing(sealed, root, tmp_path):
    (tmp_path / "live").mkdir()
    run(sealed, watch_directory, directory=str(tmp_path / "live"))
    (tmp_path / "live").rmdir()
    add_entry(sealed, root)
    new = add_entry(sealed, root)
    assert remove(sealed, new.id) == f"{new.id}: removed"
