from __future__ import annotations

import pwd
import ssl

import asyncpg
import pytest

from gatepost.store.interface import StoreFailure
from gatepost.store.postgres.connecting import connect_failure, first_line, given_to_library
from gatepost.store.postgres.server import failure_of
from gatepost.store.postgres.timelines import OlderPrimaryError
from gatepost.testing.pki import Pki


def test_without_a_service_the_library_is_given_the_address():
    assert given_to_library("postgresql://a@127.0.0.1/a") == ("postgresql://a@127.0.0.1/a", {})


def test_a_service_is_one_of_the_file_that_is_named_or_at_home(tmp_path, monkeypatch):
    monkeypatch.delenv("PGSERVICEFILE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("named", ".pg_service.conf"):
        (tmp_path / name).write_text(f"[{name}]\nhost=127.0.0.1\n", encoding="utf-8")
    named = f"postgresql:///?service=named&servicefile={tmp_path}/named"
    assert given_to_library(named) == ("postgresql:///?service=named", {"servicefile": f"{tmp_path}/named"})
    file = str(tmp_path / ".pg_service.conf")
    assert given_to_library("postgresql:///?service=.pg_service.conf")[1] == {"servicefile": file}
    with pytest.raises(StoreFailure, match=r"\.pg_service\.conf has no service \[named\]"):
        given_to_library("postgresql:///?service=named")


@pytest.mark.parametrize(
    ("url", "service", "variables", "away"),
    [
        ("?service=a", "host=db.example", {}, "db.example"),
        ("?service=a", "host=127.0.0.1,192.0.2.1:5432", {}, "192.0.2.1"),
        ("?service=a", "host=db.example\nsslmode=require", {}, "db.example"),
        ("?service=a", "host=db.example\nsslmode=verify-full", {}, ""),
        ("?service=a&sslmode=verify-full", "host=db.example", {}, ""),
        ("?service=a&sslmode=prefer", "host=db.example\nsslmode=verify-full", {}, "db.example"),
        ("?service=a", "host=db.example", {"PGSSLMODE": "verify-full"}, ""),
        ("?service=a", "port=1", {"PGHOST": "db.example"}, "db.example"),
        ("?service=a", "host=/run/postgresql", {"PGHOST": "db.example"}, ""),
        ("db.example/b?service=a", "host=/run/postgresql", {}, "db.example"),
        ("/b", "", {"PGHOST": "db.example"}, "db.example"),
        ("/b", "", {"PGHOST": "db.example", "PGSSLMODE": "verify-full"}, ""),
        ("/b?host=/run/postgresql", "", {"PGHOST": "db.example"}, ""),
        ("/b", "", {}, ""),
    ],
)
def test_a_server_that_is_not_proven_is_not_even_asked(url, service, variables, away, tmp_path, monkeypatch):
    for name in ("PGHOST", "PGSSLMODE", "PGSERVICEFILE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".pg_service.conf").write_text(f"[a]\n{service}\n", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    if away:
        with pytest.raises(StoreFailure, match=rf"the server {away} would not be verified: add sslmode=verify-full"):
            given_to_library(f"postgresql://x@{url}")
    else:
        given_to_library(f"postgresql://x@{url}")


def test_an_account_without_a_home_has_to_name_the_file(monkeypatch):
    monkeypatch.delenv("PGSERVICEFILE", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    with pytest.raises(StoreFailure, match=r"this account has no home directory: name the servicefile"):
        given_to_library("postgresql:///?service=a")


@pytest.mark.parametrize(
    ("error", "summary"),
    [
        (asyncpg.InvalidPasswordError("no"), "PostgreSQL does not let the gateway in"),
        (
            asyncpg.InvalidAuthorizationSpecificationError("no pg_hba.conf entry"),
            "PostgreSQL does not let the gateway in",
        ),
        (
            ssl.SSLCertVerificationError(1, "unable to get local issuer certificate"),
            "the certificate of PostgreSQL is not the right one",
        ),
        (ssl.SSLError(1, "tlsv1 alert unknown ca"), "no TLS with PostgreSQL"),
        (ConnectionRefusedError("refused"), "PostgreSQL cannot be reached"),
        (OlderPrimaryError(1, 2), "PostgreSQL is read-only"),
    ],
)
def test_what_is_said_where_no_names_are_shown(error, summary):
    assert connect_failure(error, "postgresql://g@db1/gatepost").summary == summary


def test_an_older_primary_is_named_with_what_to_do():
    failure = connect_failure(OlderPrimaryError(1, 2), "postgresql://g@db1/gatepost")
    assert not failure.final
    assert "PostgreSQL at db1 is not used: another server took over from it (timeline 2, it has 1)" in str(failure)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is"), "the connection ended"),
        (ConnectionError("unexpected connection_lost() call"), "the connection ended"),
        (asyncpg.DiskFullError("no room\nHINT:  Check free disk space."), "no room"),
        (TimeoutError(), "no answer in time"),
        (EOFError(), "EOFError"),
    ],
)  # fmt: skip
def test_an_error_is_told_on_one_line_and_in_our_words(error, text):
    assert first_line(error) == text
    assert str(failure_of(error, "read")) == f"PostgreSQL: read: {text}"


def certificate_error(code: int, text: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, text)
    error.verify_code, error.verify_message = code, f"{text}."
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (certificate_error(9, "certificate is not yet valid"), "not yet valid. Compare the clocks"),
        (certificate_error(10, "certificate has expired"), "certificate has expired. Renew it on the server"),
        (certificate_error(62, "Hostname mismatch"), "Hostname mismatch. Write the host into store.url"),
        (certificate_error(64, "IP address mismatch"), "IP address mismatch. Write the host into store.url"),
        (certificate_error(20, "no issuer"), "no issuer. Give the authority of the server with sslrootcert"),
        (ssl.SSLError(1, "tlsv1 alert unknown ca"), "no TLS with PostgreSQL at db1: tlsv1 alert unknown ca. Look into"),
        (asyncpg.InvalidAuthorizationSpecificationError("connection requires a valid client certificate"),
         "Name a certificate for this role with sslcert and sslkey (now: none)"),
        (PermissionError(1, "Operation not permitted"), "cannot be reached: Operation not permitted"),
    ],
)  # fmt: skip
def test_each_fault_of_tls_has_its_cure(error, text):
    assert text in str(connect_failure(error, "postgresql://g@db1/gatepost"))


def test_a_file_of_the_address_that_cannot_be_used_is_named(tmp_path):
    url = f"postgresql://g@db1/gatepost?sslrootcert={tmp_path}"
    for error in (IsADirectoryError(21, "Is a directory"), FileNotFoundError(2, "no such file"), ssl.SSLError(1, "x")):
        failure = connect_failure(error, url)
        assert failure.final
        assert f"sslrootcert {tmp_path}: Is a directory; name the right file" in str(failure)
    text = str(connect_failure(FileNotFoundError(2, "no such file"), "postgresql:///gatepost?host=/nowhere"))
    assert "the socket, or a file that store.url names, is not there" in text


def test_a_server_that_hangs_up_may_not_take_our_certificate(tmp_path):
    for chain, text in ((pki_chain(tmp_path), " ended at 20"), (tmp_path / "none", " in its log whether it takes")):
        url = f"postgresql://g@db1/gatepost?sslcert={chain}&sslkey=/key"
        failure = connect_failure(asyncpg.ConnectionDoesNotExistError("closed"), url)
        assert (failure.final, text in str(failure)) == (False, True), failure


def pki_chain(folder):
    return Pki(folder / "pki").expired("gatepost").chain
