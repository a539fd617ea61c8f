"""What a person reads; the commands as a whole are `test_check_chain.py`'s."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from support.chains import pem
from support.status_authority import NOW, StatusAuthority

from gatepost.analysis.checks.chain_file import parse_file
from gatepost.analysis.checks.chain_stores import RootStores
from gatepost.analysis.checks.roots import check_roots
from gatepost.manage.cli.check_chain import print_roots
from gatepost.net.anchors import TrustAnchors

ROOT, NEW = StatusAuthority("Root"), StatusAuthority("New \N{RIGHT-TO-LEFT OVERRIDE}\x07")


@pytest.fixture
def check():
    anchors = TrustAnchors([ROOT.certificate.public_bytes(Encoding.DER)], "own")
    stores = RootStores("own.pem", anchors, "none on this machine", "no copy\x1b[2J of it")
    content = pem(ROOT.certificate, NEW.certificate, NEW.certificate, NEW.certificate)
    return check_roots(parse_file(content, "bundle\x1b.pem"), stores, now=NOW.timestamp())


def test_what_is_missing_comes_first(check, capsys):
    print_roots(check, verbose=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "bundle?.pem: are these authorities trusted here (own.pem)?  NO: 1 of 2 are not"
    marks = [line[2] for line in lines if line[:2] == "  " and line[2] != " "]
    assert marks == ["✗", "!", "·", "·", "·"]
    assert "  · trust store this machine's store could not be read: none on this machine" in lines
    assert "  · trust store Mozilla's list could not be read: no copy?[2J of it" in lines
    assert "  · file        2 certificates are in it more than once" in lines


def test_nothing_in_a_bundle_reaches_the_terminal(check, capsys):
    print_roots(check, verbose=True)
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.splitlines())
    assert out.splitlines()[-1] == check.last_line
