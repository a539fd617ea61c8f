from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.rsa_keys import rsa_key

from gatepost.net.identity import ServerIdentity, read_identity
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import Origin, Purpose, State, document_of, entry_id, entry_of
from gatepost.pki.certificates.inventory import Inventory, entry_from
from gatepost.pki.certificates.presented import presented, settings_identities
from gatepost.pki.certificates.watch import FileWatch
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreBusy
from gatepost.values import replace

AUTHORITY = Authority("Watch Root")
NAME = "mx.a.example"
BEGUN = datetime.now(UTC).timestamp()


def issued(*names, **how):
    return ServerIdentity(*AUTHORITY.issue(names or (NAME,), **how))


def number(identity):
    return entry_id(read_identity(identity).leaf)


class Scene:
    """Files of the settings, and what a gateway that runs makes of them. Time goes on only by `look`."""

    def __init__(self, path):
        self.path = path
        self.store = ConfigStore(path / "data" / "config.db")
        self.now = BEGUN
        self.pair = (path / "fullchain.pem", path / "privkey.pem")
        self.start()

    def start(self, *, named=True):
        self.inventory = Inventory(self.store, None)
        self.watch = FileWatch(self.inventory, [self.pair] if named else [])

    def write(self, identity, *, chain=True, key=True, pair=None):
        for wanted, path, content in zip(
            (chain, key), pair or self.pair, (identity.chain_pem, identity.key_pem), strict=True
        ):
            if wanted:
                new = path.with_suffix(".new")
                new.write_bytes(content)
                new.chmod(0o600)
                new.replace(path)

    def look(self, seconds=2.0):
        self.now += seconds
        self.watch.look(self.now)
        return self.states()

    def states(self):
        _, entries = self.inventory.entries()
        return {one.id: str(one.state) for one in entries.values()}

    def entry(self, identity):
        return self.inventory.find(number(identity))

    def presented(self):
        """What a worker presents, by the ids of the certificates."""
        found = presented(self.inventory, settings_identities(self.inventory, self.watch._settings))
        return [number(one) for one in found]


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path)
    yield scene
    scene.store.close()


def test_what_the_settings_name_is_recorded_once(scene):
    first = issued()
    scene.write(first)
    assert scene.look() == {number(first): "current"}
    entry = scene.entry(first)
    assert (entry.origin, entry.chain_file, entry.key_file) == (Origin.SETTINGS, *map(str, scene.pair))
    assert entry.current_from == scene.now
    assert scene.inventory.chain_pem(entry) == first.chain_pem
    version = scene.store.version()
    scene.look()
    scene.start()
    scene.look()
    assert scene.store.version() == version


def test_a_renewal_takes_the_place_with_dates_for_the_table(scene):
    first, second = issued(), issued(NAME, "mx2.a.example")
    scene.write(first)
    scene.look()
    begun = scene.now
    scene.presented()
    scene.write(second)
    assert scene.presented() == [number(first)]  # not before it is recorded
    assert scene.look(1000.0) == {number(first): "deprecated", number(second): "current"}
    assert scene.presented() == [number(second)]
    old, new = scene.entry(first), scene.entry(second)
    assert (old.current_from, old.current_until, new.current_from) == (begun, scene.now, scene.now)
    assert (old.key_file, old.chain_file, new.replaces) == ("", "", (old.id,))
    notes = [(one.author, one.note) for one in scene.store.history("certificate")]
    assert notes[0] == ("gatepost", f"renewed in {scene.pair[0]}")


def test_other_intermediates_of_the_same_certificate_are_taken(scene):
    first, other = issued(), issued()
    scene.write(first)
    scene.look()
    before = scene.entry(first)
    more = ServerIdentity(first.chain_pem + other.chain_pem, first.key_pem)
    scene.write(more, key=False)
    assert scene.look() == {number(first): "current"}
    after = scene.entry(first)
    assert (after.chain != before.chain, replace(after, chain="")) == (True, before)
    assert scene.inventory.chain_pem(after) == more.chain_pem
    version = scene.store.version()
    scene.start()
    scene.look()
    assert scene.store.version() == version
    assert entry_of(after.id, document_of(after)) == after


def test_half_a_renewal_is_waited_for(scene, caplog):
    first, second = issued(), issued()
    scene.write(first)
    scene.look()
    scene.presented()
    scene.write(second, key=False)
    for _ in range(10):
        assert scene.look() == {number(first): "current"}
    assert scene.presented() == [number(first)]
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []
    scene.write(second, chain=False)
    assert scene.look()[number(second)] == "current"


def test_a_broken_renewal_keeps_what_was_and_is_told_once(scene, caplog):
    first, second = issued(), issued()
    scene.write(first)
    scene.look()
    scene.presented()
    scene.write(second, key=False)
    for _ in range(40):
        scene.look()
    assert scene.presented() == [number(first)]
    errors = [one.message for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(errors) == 1
    assert "the private key does not belong to the certificate" in errors[0]
    assert errors[0].endswith("the gateway goes on presenting the previous certificate")
    scene.pair[1].unlink()
    for _ in range(40):
        scene.look()
    assert "No such file or directory" in caplog.text
    scene.write(second)
    assert scene.look()[number(second)] == "current"


@pytest.mark.parametrize(
    ("names", "how", "why"),
    [
        (("other.a.example",), {}, f"does not bear {NAME} any more"),
        ((NAME,), {"not_before": datetime.fromtimestamp(BEGUN, UTC) - timedelta(days=100)}, "has expired"),
        ((NAME,), {"not_before": datetime.fromtimestamp(BEGUN, UTC) + timedelta(days=1)}, "is not valid yet"),
    ],
)
def test_what_is_not_taken_and_why(scene, caplog, names, how, why):
    first, second = issued(), issued(*names, **how)
    scene.write(first)
    scene.look()
    scene.presented()
    scene.write(second)
    for _ in range(3):
        assert scene.look() == {number(first): "current"}
    assert scene.presented() == [number(first)]
    assert len([one for one in caplog.records if why in one.message]) == 1


def test_one_that_is_not_valid_yet_is_taken_when_it_is(scene):
    first = issued()
    second = issued(not_before=datetime.fromtimestamp(BEGUN, UTC) + timedelta(hours=2))
    scene.write(first)
    scene.look()
    scene.write(second)
    scene.look()
    assert scene.look(7200.0)[number(second)] == "current"


def test_a_wildcard_covers_the_name_that_went(scene):
    first, second = issued(), issued("*.a.example")
    scene.write(first)
    scene.look()
    scene.write(second)
    assert scene.look()[number(second)] == "current"


def test_an_administrator_may_let_names_go(scene):
    first, second = issued(), issued("other.a.example")
    scene.write(first)
    scene.look()
    scene.write(second)
    scene.look()
    scene.watch.accept()
    assert scene.look() == {number(first): "deprecated", number(second): "current"}


def test_what_was_renewed_while_nothing_ran(scene):
    first, second = issued(), issued()
    scene.write(first)
    scene.look()
    scene.write(second)
    scene.start()
    assert scene.presented() == [number(second)]  # there is nothing else by then
    assert scene.look() == {number(first): "deprecated", number(second): "current"}


def test_what_the_settings_do_not_name_any_more(scene):
    first = issued()
    scene.write(first)
    scene.look()
    scene.start(named=False)
    assert scene.look() == {number(first): "deprecated"}
    assert scene.entry(first).current_until == scene.now
    scene.start()
    assert scene.look() == {number(first): "current"}


def test_a_changeover_has_the_last_word_on_a_file(scene):
    first, second = issued(), issued()
    scene.write(first)
    scene.look()
    scene.inventory.change([replace(scene.entry(first), state=State.DEPRECATED)], author="ann")
    scene.start()
    assert scene.look() == {number(first): "deprecated"}
    scene.write(second)
    assert scene.look() == {number(first): "deprecated", number(second): "next"}
    third = issued()
    scene.write(third)
    assert scene.look() == {number(first): "deprecated", number(second): "retired", number(third): "next"}


def test_files_that_were_added_are_watched(scene):
    pair = (scene.path / "added.pem", scene.path / "added.key")
    first, second = issued("b.example"), issued("b.example")
    scene.write(first, pair=pair)
    files = {"origin": Origin.FILES, "chain_file": str(pair[0]), "key_file": str(pair[1])}
    client = {"purpose": Purpose.CLIENT, "organization": "contoso", "label": "to-bank", "state": State.CURRENT}
    scene.inventory.add(replace(entry_from(first, now=BEGUN), **files, **client), first, author="ann")
    scene.write(issued())
    scene.look()
    scene.write(second, pair=pair)
    scene.look()
    entry = scene.entry(second)
    assert (entry.purpose, entry.organization, entry.label) == (Purpose.CLIENT, "contoso", "to-bank")
    assert (entry.state, entry.origin, scene.entry(first).state) == (State.CURRENT, Origin.FILES, State.DEPRECATED)


def test_a_directory_is_watched(scene, caplog):
    live = scene.path / "live"
    scene.inventory.directories.add(live, author="ann")
    scene.write(issued())
    scene.look()
    scene.look()
    assert caplog.text.count("No such file or directory") == 1
    (live / "b.example").mkdir(parents=True)
    pair = (live / "b.example" / "fullchain.pem", live / "b.example" / "privkey.pem")
    first, second, same = issued("b.example"), issued("b.example"), issued()
    scene.write(first, pair=pair)
    assert scene.look()[number(first)] == "current"
    scene.write(second, pair=pair)
    assert scene.look()[number(second)] == "current"
    scene.write(same, pair=(live / "mx.crt", live / "mx.key"))
    assert scene.look()[number(same)] == "next"  # another one bears its name


def test_what_is_in_the_inventory_by_itself_is_left_alone(scene):
    first = issued()
    uploaded = replace(entry_from(first, now=BEGUN), state=State.DEPRECATED, chain_file="c", key_file="k")
    scene.inventory.add(uploaded, first, author="ann")
    scene.write(first)
    assert scene.look() == {number(first): "deprecated"}


def test_a_conflict_is_tried_again(scene, monkeypatch):
    first = issued()
    scene.write(first)
    changed = []

    def meanwhile(*_args, **_options):
        if not changed:
            changed.append(scene.store.apply({"organization": {"contoso": {}}}, author="ann"))
        return entry_from(first, now=BEGUN)

    monkeypatch.setattr("gatepost.pki.certificates.watch.entry_from", meanwhile)
    assert scene.look() == {}
    assert scene.look() == {number(first): "current"}


def test_what_no_listener_could_present_is_not_taken(scene, caplog):
    first = issued()
    scene.write(first)
    scene.look()
    scene.presented()
    key = rsa_key(1024)
    (leaf,) = x509.load_pem_x509_certificates(first.chain_pem)
    builder = x509.CertificateBuilder().subject_name(leaf.subject).issuer_name(leaf.issuer).serial_number(9)
    builder = builder.not_valid_before(leaf.not_valid_before_utc).not_valid_after(leaf.not_valid_after_utc)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
    weak = builder.public_key(key.public_key()).sign(key, SHA256()).public_bytes(Encoding.PEM)
    scene.write(ServerIdentity(weak, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())))
    for _ in range(3):
        assert scene.look() == {number(first): "current"}
    assert caplog.text.count("key too small") == 1
    assert scene.presented() == [number(first)]


@pytest.fixture
def tries(scene, monkeypatch):
    """When a change was tried; there are none while the configuration is away."""
    apply, tries = scene.store.apply, []

    def busy(*_words, **_how):
        tries.append(scene.now)
        raise StoreBusy("away")

    def is_away(away):
        monkeypatch.setattr(scene.store, "apply", busy if away else apply)

    is_away(True)
    scene.is_away = is_away
    return tries


@pytest.mark.parametrize("named", [True, False])
def test_what_cannot_be_stored_is_tried_again_soon_and_then_seldom(scene, caplog, request, named):
    """Each try may wait for another process; who was busy for a moment keeps no certificate back for a minute."""
    first, second = issued(), issued()
    scene.write(first)
    scene.look()
    if named:
        scene.write(second)
    else:
        scene.start(named=False)
    tries = request.getfixturevalue("tries")
    for _ in range(200):
        scene.look()
    assert [round(later - earlier) for earlier, later in pairwise(tries)][:6] == [6, 10, 20, 40, 60, 60]
    assert ("is not recorded yet: away" if named else "are not withdrawn yet: away") in caplog.text
    scene.is_away(False)
    scene.look(60.0)
    assert scene.entry(first).state is State.DEPRECATED
    assert [str(one.state) for one in scene.inventory.entries()[1].values()].count("current") == named
    if named:
        scene.is_away(True)
        scene.write(issued())
        del tries[:]
        for _ in range(4):
            scene.look()
        assert len(tries) == 2, "from the beginning"


def test_only_one_of_many_waits_for_who_is_busy(scene, request):
    """Each try may hold the event loop of a worker for two seconds."""
    pairs = [(scene.path / f"chain{number}.pem", scene.path / f"key{number}.pem") for number in range(4)]
    for pair in pairs:
        scene.write(issued(), pair=pair)
    scene.watch = FileWatch(scene.inventory, pairs)
    tries = request.getfixturevalue("tries")
    for _ in range(20):
        scene.look()
    assert [round(later - earlier) for earlier, later in pairwise(tries)] == [6, 10, 20]
    assert scene.watch.changed(scene.now) == [], "nothing is read for nothing"
    scene.is_away(False)
    for _ in range(30):
        scene.look()
    assert list(scene.states().values()) == ["current"] * 4
