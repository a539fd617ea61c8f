from __future__ import annotations

from inspect import signature

import pytest
from asyncpg.connect_utils import _parse_connect_dsn_and_args

from gatepost.settings.store_url import role_of, secret_files, store_url, without_secrets, worker_url

VERIFIED = "sslmode=verify-full&sslrootcert=/etc/gatepost/database-ca.pem"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:",
        "postgresql://gatepost@127.0.0.1/gatepost",
        "postgres://gatepost@localhost:5433/gatepost?passfile=/etc/gatepost/pgpass",
        "postgresql://gatepost@[::1]:5432/gatepost",
        "postgresql:///gatepost?host=/run/postgresql",
        "postgresql://%2Frun%2Fpostgresql/gatepost",
        f"postgresql://gatepost@db1.example,db2.example:5433/gatepost?{VERIFIED}&target_session_attrs=read-write",
        "postgresql:///?service=gatepost",
        "postgresql://gatepost@127.0.0.1/gatepost?target_session_attrs=primary",
    ],
)
def test_what_is_safe_is_taken(url: str) -> None:
    assert store_url(url) == url


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("mysql://a/b", "'mysql' is not a store; write"),
        ("sqlite:/tmp/x", "is not a store"),
        ("postgresql://a:secret@127.0.0.1/b", "has a password in it"),
        ("postgresql://a@127.0.0.1/b?password=secret", "has a password in it"),
        ("postgresql://a@127.0.0.1/b?colour=red", "unknown parameter 'colour'"),
        ("postgresql://a@127.0.0.1:abc/b", "has the port 'abc'; write a number"),
        ("postgresql://a@[::1]:99999/b", "has the port '99999'"),
        ("postgresql://a@127.0.0.1:5432,127.0.0.1:0/b", "has the port '0'"),
        (
            "postgresql://a@127.0.0.1/b?target_session_attrs=any",
            "write target_session_attrs=read-write, or leave it out",
        ),
        ("postgresql://a@127.0.0.1/b?port=5432,x", "has the port 'x'"),
        ("postgresql://a@db.example/b", "does not verify the server db.example"),
        ("postgresql://a@db.example/b?sslmode=require", "does not verify the server db.example"),
        ("postgresql://a@127.0.0.1,192.0.2.1/b", "does not verify the server 192.0.2.1"),
        ("postgresql://a@/b?host=db.example", "does not verify the server db.example"),
        ("postgresql://a@db.example/b?host=/run/postgresql", "names the server twice, as 'db.example' and with host="),
        ("postgresql://a@db.example/b?host=/run&service=c", "names the server twice"),
        ("postgresql://a@[2001:db8::1]:5432/b", "does not verify the server 2001:db8::1"),
    ],
)
def test_what_is_not_says_what_to_do(url: str, text: str) -> None:
    with pytest.raises(ValueError, match=text) as refused:
        store_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "role"),
    [
        ("postgresql://a%20b@127.0.0.1/c", "a b"),
        ("postgresql:///c?user=a&host=/run/postgresql", "a"),
        ("postgresql://b@127.0.0.1/c?user=a", "b"),
        ("postgresql:///c", ""),
    ],
)
def test_the_role_of_an_address(url: str, role: str) -> None:
    assert role_of(url) == role
    if role:
        options = dict.fromkeys(signature(_parse_connect_dsn_and_args).parameters) | {"dsn": url, "ssl": False}
        assert _parse_connect_dsn_and_args(**options)[1].user == role  # of asyncpg, which connects


def test_workers_have_an_address_with_a_role() -> None:
    assert worker_url("") == ""
    assert worker_url("postgresql://w@127.0.0.1/c") == "postgresql://w@127.0.0.1/c"
    for url, text in (
        ("sqlite:", "leave it out"),
        ("postgresql:///c?host=/run", "names no role"),
        ("x:", "not a store"),
    ):
        with pytest.raises(ValueError, match=text):
            worker_url(url)


def test_the_secrets_of_an_address_are_files() -> None:
    url = "postgresql://a@127.0.0.1/c?passfile=/p&sslkey=/k&sslcert=/c&sslmode=disable"
    assert secret_files(url) == {"passfile": "/p", "sslkey": "/k"}
    assert secret_files("postgresql:///?service=a&servicefile=/s") == {"servicefile": "/s"}
    assert without_secrets(url, "/none") == "postgresql://a@127.0.0.1/c?passfile=%2Fnone&sslmode=disable"
