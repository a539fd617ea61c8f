"""What the tests of the published certificate table share: entries, tables and changes in one line."""

from __future__ import annotations

import time

import pytest
from support.table_scene import HOST, ROOTS

from gatepost.net.certificate import certificate_facts
from gatepost.pki.certificates.entry import Entry, State, document_of, entry_id
from gatepost.pki.certificates.inventory import Listed
from gatepost.pki.certificates.published import published
from gatepost.protocols.tls.profile import PROFILES
from gatepost.store.changes import Change
from gatepost.values import replace


@pytest.fixture(scope="session")
def entry():
    """entry(made, state, ...): a certificate of `support.chains` in the inventory."""

    def make(made, state=State.CURRENT, **fields):
        leaf = certificate_facts(made.der)
        return replace(Entry(entry_id(leaf), leaf, state=state, added=100.0, since=100.0), **fields)

    return make


@pytest.fixture(scope="session")
def table():
    """table((entry, chain PEM), ...): what is published of them."""

    def make(*pairs, roots=ROOTS, changes=(), hostname=HOST, profile="default"):
        found = Listed(1, {one.id: one for one, _ in pairs}, {one.id: chain for one, chain in pairs})
        return published(found, roots, changes, hostname=hostname, profile=PROFILES[profile], now=time.time())

    return make


@pytest.fixture(scope="session")
def change():
    """change(at, after, before): as the store tells it; None for new or removed."""

    def make(at, after, before=None):
        documents = [document_of(one) if one else None for one in (before, after)]
        return Change(1, at, "ann", "a note for us alone", "certificate", (after or before).id, *documents)

    return make
