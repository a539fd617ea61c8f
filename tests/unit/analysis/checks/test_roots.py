"""Bundles of authorities against stores: what is trusted, what is missing, what has ended."""

from __future__ import annotations

import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.chains import pem, server
from support.rsa_keys import rsa_key
from support.status_authority import NOW, StatusAuthority

from gatepost.analysis.checks.chain_file import ChainFileError, parse_file
from gatepost.analysis.checks.chain_stores import RootStores
from gatepost.analysis.checks.roots import check_roots, roots_record
from gatepost.net.anchors import TrustAnchors
from gatepost.net.certificate import CertificateError

TIME = NOW.timestamp()
OWN = "this machine's store"
CA = [(x509.BasicConstraints(ca=True, path_length=None), True)]
KNOWN, NEW = StatusAuthority("Known"), StatusAuthority("New")
WEAK = StatusAuthority("Weak", key=rsa_key(1024))
BELOW, BELOW_NEW = StatusAuthority("Below", parent=KNOWN), StatusAuthority("Below new", parent=NEW)


def again(authority, days):
    """Another certificate of a root: the same name and key."""
    return authority.issue(authority.name, authority.key, CA, ca=True, days=days)


LASTING, RENEWED = again(KNOWN, (-9, 4000)), again(KNOWN, (-9, 2000))
ENDED, COMING = again(NEW, (-90, -1)), again(NEW, (2, 90))
STRAY = server(KNOWN)


def stores():
    anchors = TrustAnchors([one.public_bytes(Encoding.DER) for one in (LASTING, WEAK.certificate)], "system")
    listed = TrustAnchors([NEW.certificate.public_bytes(Encoding.DER)], "mozilla")
    return RootStores(OWN, anchors, anchors, listed)


def look(*certificates):
    return check_roots(parse_file(pem(*certificates), "roots.pem"), stores(), now=TIME)


# certificate -> kind, trusted, verdict, words of the text
ROWS = {
    "in the store": (LASTING, "root", True, "pass", f"in {OWN}"),
    "in another": (NEW.certificate, "root", False, "fail", f"it is not in {OWN}; it is in Mozilla's list"),
    "nowhere": (StatusAuthority("X").certificate, "root", False, "fail", f"it is not in {OWN}"),
    "same key": (
        RENEWED,
        "root",
        True,
        "info",
        "not by this thumbprint, but this machine's store has the same authority",
    ),
    "same name": (StatusAuthority("Known").certificate, "root", False, "fail", f"it is not in {OWN}"),
    "weak": (WEAK.certificate, "root", False, "fail", "its key RSA-1024 is too weak"),
    "ended": (ENDED, "root", None, "warn", "expired on"),
    "to come": (COMING, "root", None, "warn", "begins on"),
    "below": (BELOW.certificate, "intermediate", True, "pass", "leads to CN=Known"),
    "below a new one": (BELOW_NEW.certificate, "intermediate", False, "fail", "CN=New"),
    "of a server": (STRAY.certificate, "leaf", True, "warn", "it is no authority's and need not be in a bundle"),
}


@pytest.mark.parametrize("case", ROWS)
def test_rows(case):
    certificate, kind, trusted, verdict, text = ROWS[case]
    found = look(certificate)
    (row,) = found.rows
    assert (row.kind, row.trusted, row.verdict) == (kind, trusted, verdict), row.text
    assert text in row.text
    assert bool(row.fix) == (verdict in {"fail", "warn"} and kind != "leaf")
    assert found.outcome == (trusted is not False)


def test_a_root_that_ends_soon():
    soon = TrustAnchors([KNOWN.certificate.public_bytes(Encoding.DER)], "system")
    file = parse_file(pem(KNOWN.certificate), "roots.pem")
    (row,) = check_roots(file, RootStores(OWN, soon, soon, "not here"), now=TIME).rows
    assert (row.trusted, row.verdict) == (True, "warn")
    assert "; ends on " in row.text


def test_a_bundle():
    found = look(LASTING, BELOW.certificate, NEW.certificate, ENDED, BELOW.certificate)
    assert found.last_line == "verdict=not-trusted certificates=4 trusted=2 missing=1 ended=1 warnings=1"
    assert found.repeated == 1
    assert look(LASTING, ENDED).last_line == "verdict=trusted certificates=2 trusted=1 missing=0 ended=1 warnings=1"


def test_an_intermediate_may_need_another_one_of_the_bundle():
    lower = StatusAuthority("Lower", parent=BELOW)
    assert look(lower.certificate).outcome is False
    assert look(lower.certificate, BELOW.certificate).outcome is True


def test_many_of_one_name_have_an_end():
    many = [again(StatusAuthority("Twin"), (-1, 9)) for _ in range(60)]
    below = server(StatusAuthority("Twin"))
    found = look(below.certificate, *many)
    assert len(found.rows) == 61
    assert found.rows[0].trusted is False


def test_bounds(monkeypatch):
    monkeypatch.setattr("gatepost.analysis.checks.roots.MAX_CERTIFICATES", 1)
    with pytest.raises(ChainFileError, match="more than 1 certificates; divide the file"):
        look(LASTING, NEW.certificate)


def test_a_certificate_that_turns_out_to_be_unreadable(monkeypatch):
    def fail(*_):
        raise CertificateError("not this one")

    monkeypatch.setattr("gatepost.analysis.checks.roots.link", fail)
    with pytest.raises(ChainFileError, match=r"roots\.pem: a certificate that cannot be read: not this one"):
        look(LASTING)


def test_json():
    record = json.loads(json.dumps(roots_record(look(LASTING, NEW.certificate, ENDED))))
    assert [record[key] for key in ("file", "kind", "verdict", "store")] == ["roots.pem", "roots", "not-trusted", OWN]
    assert [record[key] for key in ("trusted", "missing", "ended", "repeated")] == [1, 1, 1, 0]
    known, new, ended = record["certificates"]
    assert (known["trusted"], new["trusted"], ended["trusted"]) == (True, False, None)
    assert known["stores"] == {OWN: True, "Mozilla's list": False}
    assert (new["kind"], new["verdict"], new["subject"]) == ("root", "fail", "CN=New")
