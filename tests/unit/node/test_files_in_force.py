from __future__ import annotations

import pytest
from support.exhaustion import no_descriptors

from gatepost.analysis.checks import named_files
from gatepost.net.anchors import SYSTEM, AnchorsError
from gatepost.net.identity import IdentityError
from gatepost.node import files_in_force
from gatepost.node.files_in_force import FilesInForce, UnusableFiles
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.dkim_keys import made_key
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.policy.connectors.values import DkimAlgorithm

RESOURCES = """
[organization.contoso]
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.inbound_connector]]
name = "from bank"
sender_domains = ["bank.example"]
trust_anchors = "{0}/bank.pem"
[[organization.contoso.outbound_connector]]
name = "to bank"
recipient_domains = ["bank.example"]
client_certificate = {{ chain = "{0}/mx.pem", key = "{0}/mx.key" }}
[[organization.contoso.dkim_key]]
name = "a._domainkey.contoso.example"
algorithm = "ed25519-sha256"
key_file = "{0}/dkim.pem"
"""


class World:
    def __init__(self, home, directory):
        self.home, self.directory = home, directory
        self.bank, self.dkim = home.path / "bank.pem", home.path / "dkim.pem"
        self.bank.write_bytes(Authority("Bank").certificate_pem)
        self.dkim.touch(0o600)
        self.dkim.write_bytes(made_key(DkimAlgorithm.ED25519_SHA256))
        self.files = FilesInForce(str(home.anchors))
        self.use()

    def use(self, resources=RESOURCES):
        organizations = self.directory(resources.format(self.home.path)).organizations
        self.files.use(self.files.newly_named(organizations))

    def held(self):
        """All that is in force."""
        files, home = self.files, self.home
        pair = files.identity(str(home.chain), str(home.key))
        return (
            files.anchors(str(home.anchors)).identity,
            files.anchors(str(self.bank)).identity,
            pair,
            files.key(self.dkim),
        )


@pytest.fixture
def world(home, directory):
    return World(home, directory)


FILES = {
    "anchors.pem": "tls.trust_anchors: ",
    "bank.pem": "organization.contoso.inbound_connector[0] 'from bank'.trust_anchors: ",
    "mx.pem": "organization.contoso.outbound_connector[0] 'to bank'.client_certificate: ",
    "mx.key": "organization.contoso.outbound_connector[0] 'to bank'.client_certificate: ",
    "dkim.pem": "organization.contoso.dkim_key[0] 'a._domainkey.contoso.example'.key_file: ",
}
BREAK = {
    "gone": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "half": lambda file: file.write_bytes(file.read_bytes()[:60]),
}


@pytest.mark.parametrize("way", list(BREAK))
@pytest.mark.parametrize("name", list(FILES))
def test_a_file_that_breaks_is_named_and_nothing_of_it_or_of_the_others_is_lost(world, name, way):
    before, other = world.held(), Authority("Other").certificate_pem
    file, good = world.home.path / name, (world.home.path / name).read_bytes()
    BREAK[way](file)
    (world.home.anchors if file == world.bank else world.bank).write_bytes(other)
    for _ in range(2):
        with pytest.raises(UnusableFiles) as failure:
            world.files.read_again()
        assert str(failure.value).startswith(FILES[name])
        assert "\n" not in str(failure.value)
        assert world.held() == before
        world.use()
        world.use(RESOURCES + 'comment = "other resources"\n')
        assert world.held() == before
    file.touch(0o600)
    file.write_bytes(good)
    world.files.renew(world.files.read_again())
    assert world.held() != before, "the renewed one counts, once all can be used"


def test_a_key_of_dkim_that_became_another_s_is_refused_and_one_that_others_may_read(world):
    public = "cHVibGlj"
    world.use(RESOURCES + f'public_key = "{public}"\n')
    before = world.held()
    assert world.files.read_again().contents, "as it was read, it is not looked at again: that takes its time"
    world.dkim.write_bytes(made_key(DkimAlgorithm.ED25519_SHA256))
    with pytest.raises(UnusableFiles, match="not the counterpart of public_key"):
        world.files.read_again()
    world.dkim.write_bytes(before[3])
    world.dkim.chmod(0o644)
    with pytest.raises(UnusableFiles, match="mode 0644 lets others use it"):
        world.files.read_again()
    assert world.held() == before


def test_for_want_of_descriptors_nothing_is_lost(world):
    before = world.held()
    with no_descriptors(), pytest.raises(UnusableFiles, match="Too many open files"):
        world.files.read_again()
    assert world.held() == before


def test_what_could_never_be_read_holds_nothing_back_and_counts_once_it_can_be(home, world):
    for file in (world.bank, world.home.key, world.dkim):
        file.rename(f"{file}.away")
    world.files = FilesInForce(str(home.anchors))
    world.use()
    files = world.files
    files.renew(files.read_again())
    for failure, ask in (
        (AnchorsError, lambda: files.anchors(str(world.bank))),
        (IdentityError, lambda: files.identity(str(home.chain), str(home.key))),
        (CertificateFileError, lambda: files.key(world.dkim)),
    ):
        with pytest.raises(failure, match="No such file"):
            ask()
    for file in (world.bank, world.home.key, world.dkim):
        file.with_name(f"{file.name}.away").rename(file)
    before = world.held()
    world.bank.unlink()
    assert world.held() == before, "from then on it is in force"


def test_what_nothing_names_any_more_is_forgotten(world):
    world.held()
    world.bank.unlink()
    world.use("[organization.contoso]\n")
    world.files.renew(world.files.read_again())
    with pytest.raises(AnchorsError, match="No such file"):
        world.files.anchors(str(world.bank))


def test_the_system_s_bundle_is_read_when_it_is_needed_and_kept_then(world, monkeypatch):
    read, real = [], named_files.read_source

    def read_source(source):
        read.append(source[1])
        if source[1] == SYSTEM and len(read) > 1:
            raise AnchorsError("system: gone")
        return real(source)

    monkeypatch.setattr(files_in_force, "read_source", read_source)
    world.use()
    world.files.read_again()
    assert SYSTEM not in read
    read.clear()
    held = world.files.anchors(SYSTEM)
    with pytest.raises(UnusableFiles, match=r"system: gone"):
        world.files.read_again()
    assert world.files.anchors(SYSTEM) is held


def test_anchors_that_are_written_there_are_in_no_file(world):
    text = world.bank.read_text()
    world.use(RESOURCES.replace('"{0}/bank.pem"', "'''" + text + "'''"))
    assert world.files.anchors(text) is world.files.anchors(text)
    assert all("BEGIN" not in part for source in world.files.read_again().contents for part in source)
