"""Statements for a PostgreSQL server by its own library: psql does the same, but is a process each time."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from ctypes import c_char_p, c_int, c_void_p
from functools import cache

_SECONDS = 60  # for a connection, and for a statement
_OPTIONS = {
    "connect_timeout": str(_SECONDS),
    "options": f"-c client_min_messages=error -c statement_timeout={_SECONDS}s",
}
_FUNCTIONS = {
    "PQping": (c_int, [c_char_p]),
    "PQconnectdb": (c_void_p, [c_char_p]),
    "PQfinish": (None, [c_void_p]),
    "PQerrorMessage": (c_char_p, [c_void_p]),
    "PQsendQuery": (c_int, [c_void_p, c_char_p]),
    "PQgetResult": (c_void_p, [c_void_p]),
    "PQresultStatus": (c_int, [c_void_p]),
    "PQresultErrorMessage": (c_char_p, [c_void_p]),
    "PQntuples": (c_int, [c_void_p]),
    "PQnfields": (c_int, [c_void_p]),
    "PQgetvalue": (c_char_p, [c_void_p, c_int, c_int]),
    "PQclear": (None, [c_void_p]),
}
_OK = 0  # of PQping
_DONE = range(3)  # an empty statement, one without rows, one with rows


class StatementError(Exception):
    """What the server said instead."""


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libpq.so.5")
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _address(**words: str) -> bytes:
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in words.items()}
    return " ".join(f"{name}='{value}'" for name, value in quoted.items()).encode()


def answers(**address: str) -> bool:
    """Whether a server takes connections, as pg_isready finds out."""
    return bool(_library().PQping(_address(**address, connect_timeout="10")) == _OK)


def unaligned_rows(statements: str, **address: str) -> str:
    """Run statements, in one transaction if there are several; their rows, the fields with | between them.

    Raises StatementError, also where nobody answers.
    """
    library = _library()
    connection = library.PQconnectdb(_address(**address, **_OPTIONS))
    try:
        if not library.PQsendQuery(connection, statements.encode()):
            raise StatementError(library.PQerrorMessage(connection).decode(errors="replace"))
        return "\n".join(_rows(library, connection))
    finally:
        library.PQfinish(connection)


def _rows(library: ctypes.CDLL, connection: int) -> Iterator[str]:
    while (result := library.PQgetResult(connection)) is not None:
        try:
            if library.PQresultStatus(result) not in _DONE:
                raise StatementError(library.PQresultErrorMessage(result).decode(errors="replace"))
            fields = range(library.PQnfields(result))
            for row in range(library.PQntuples(result)):
                yield "|".join(library.PQgetvalue(result, row, field).decode() for field in fields)
        finally:
            library.PQclear(result)
