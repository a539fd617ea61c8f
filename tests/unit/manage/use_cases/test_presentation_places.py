from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.unit.manage.calls import add_entry

from gatepost.manage.use_cases.nodes import known_nodes
from gatepost.manage.use_cases.presentation_places import PresentationPlaces, presentation_places
from gatepost.pki.certificates.entry import State
from gatepost.store.nodes import (
    CertificateObservation,
    ListenerObservation,
    NodeFigures,
    NodeIdentity,
    UnusableKey,
)
from gatepost.values import replace

NOWHERE = PresentationPlaces()


@pytest.fixture
def settled(sealed, root):
    """A certificate that is current for an hour."""
    entry = add_entry(sealed, root)
    return replace(entry, since=entry.since - 3600, current_from=entry.current_from - 3600)


def beat(gateway, name, *certificates, observed=None):
    registry = gateway.storage.nodes()
    node = NodeIdentity(name, f"start of {name}", f"data of {name}", "host", "1.0")
    registry.enter(node)
    registry.beat(node, 0, 71, 1, NodeFigures(certificates=certificates, observed=observed))
    registry.close()


def places(gateway, entry):
    return presentation_places(gateway, entry, known_nodes(gateway))


def test_until_a_node_looked_settings_say_it(sealed, root, settled):
    where = places(sealed, settled).where
    assert len(where) == len(sealed.settings.listeners)
    assert not [one for one in where if one.startswith("internal")]
    beat(sealed, "mx1", settled.leaf.sha256)
    assert places(sealed, settled) == PresentationPlaces(where)


def test_a_client_certificate_is_used_by_connectors(sealed, root):
    client = add_entry(sealed, root, "c.example", client=True, organization="contoso", label="to-bank")
    assert places(sealed, client).where == ("connector out",)
    assert places(sealed, replace(client, label="other")) == NOWHERE
    assert places(sealed, replace(client, organization="gone")) == NOWHERE
    assert places(sealed, replace(client, state=State.NEXT)) == NOWHERE


def test_what_listeners_of_several_nodes_showed_is_said_with_the_time(sealed, settled):
    now, ours = time.time(), settled.leaf.sha256
    shown = ListenerObservation("mx 0.0.0.0:25", (ours,))
    beat(sealed, "mx1", ours, observed=CertificateObservation(now, (shown, ListenerObservation("submission :587"))))
    assert places(sealed, settled)[:2] == (("mx 0.0.0.0:25",), ())
    beat(sealed, "mx2", ours, observed=CertificateObservation(now - 9, (shown,)))
    found = places(sealed, settled)
    assert found.where == ("mx1: mx 0.0.0.0:25", "mx2: mx 0.0.0.0:25")
    assert found.checked == pytest.approx(now - 9, abs=2)
    assert places(sealed, replace(settled, state=State.NEXT)) == NOWHERE


def test_what_is_wrong_is_said(sealed, settled):
    beat(sealed, "mx1", "ab" * 32)
    assert places(sealed, settled) == PresentationPlaces((), ("node mx1: missing in 1 of 1 worker",))
    lost = UnusableKey(settled.id, "key.pem: gone")
    beat(sealed, "mx1", settled.leaf.sha256, observed=CertificateObservation(time.time(), (), (lost,)))
    assert places(sealed, settled)[:2] == ((), ("node mx1: key.pem: gone",))
    assert places(sealed, replace(settled, state=State.NEXT)).problems == ("node mx1: key.pem: gone",)


def test_a_file_that_is_missing_is_said_where_nothing_runs(sealed, settled, tmp_path):
    (tmp_path / "chain.pem").touch()
    named = replace(settled, chain_file=str(tmp_path / "chain.pem"), key_file=str(tmp_path / "key.pem"))
    assert places(sealed, named) == PresentationPlaces((), (f"{tmp_path / 'key.pem'} is missing",))
    Path(named.key_file).touch()
    assert places(sealed, named).problems == ()
