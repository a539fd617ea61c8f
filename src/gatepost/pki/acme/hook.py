"""Run the program that publishes TXT records for dns-01 (RFC 8555 section 8.4): without a shell, bounded.

Used by `pki.acme.challenges`, in the thread that asks for certificates. The program gets its own arguments,
then "present" or "remove", the name of the record, and its value; it says by its exit status whether it is done.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence


_SHOWN: Final = 500  # characters of what it wrote
_READ: Final = 4096
_PIPE: Final = 65536  # octets that a pipe holds
_LOOK_MILLISECONDS: Final = 50
_PASSED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "CREDENTIALS_DIRECTORY")


class HookFailed(Exception):  # noqa: N818 - it names what happened
    """The program did not do it; the text says what became of it, and the end of what it wrote."""


def run_hook(command: Sequence[str], action: str, name: str, value: str, *, timeout: float) -> None:
    """Run it and wait, for at most `timeout` seconds; then it is killed with all that it started. Raises HookFailed.

    Of what it writes the end is kept, for the error. Of our environment it gets where programs and credentials are, and
    no secret of ours.
    """
    try:
        child = subprocess.Popen(  # noqa: S603 - the operator's own program, from the settings; no shell
            [*command, action, name, value],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={key: os.environ[key] for key in _PASSED if key in os.environ},
            start_new_session=True,
        )
    except OSError as error:
        raise HookFailed(f"{command[0]} cannot be run: {error.strerror}; see acme.dns_hook") from error
    with child:
        said = _follow(child, time.monotonic() + timeout)
        if child.returncode is None:
            _kill(child)
            raise HookFailed(f"{command[0]} {action} did not end within {timeout:g} s, and was killed")
    if child.returncode:
        said = said or "it said nothing"
        raise HookFailed(f"{command[0]} {action} {name} ended with {child.returncode}: {said}")


def _follow(child: subprocess.Popen[bytes], deadline: float) -> str:
    """Read until it has ended or the time is over; the end of what it said. What it left running is not waited for."""
    assert child.stdout is not None  # noqa: S101 - it was asked for
    file = child.stdout.fileno()
    os.set_blocking(file, False)
    poller, ended, kept = select.poll(), False, b""
    poller.register(file, select.POLLIN)
    while not ended and time.monotonic() < deadline:
        ended = child.poll() is not None  # what it wrote before is read once more
        data = os.read(file, _PIPE) if poller.poll(0 if ended else _LOOK_MILLISECONDS) else None
        if data == b"":  # it closed its end, and may work on
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
            break
        kept = (kept + (data or b""))[-_READ:]
    shown = "".join(char if char.isprintable() else " " for char in kept.decode("utf-8", "replace"))
    return " ".join(shown.split())[-_SHOWN:]


def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # its own group, of which it is the first
    child.wait()
