from __future__ import annotations

import pwd
import ssl

import asyncpg
import pytest

from gatepost.store.interface import StoreFailure
from gatepost.store.postgres.connecting import connect_failure, first_line, given_to_library
from gatepost.store.postgres.server import failure_of
from gatepost.store.postgres.timelines import OlderPrimaryError


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
            ssl.SSLError(1, "unable to get local issuer certificate"),
            "the certificate of PostgreSQL is not the right one",
        ),
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
