"""Open PKCS#12 files, each in a process of its own.

Called by `analysis.checks.pem_import`. How often a password is hashed may stand within an encrypted part, where nobody
can look first, and OpenSSL holds all threads meanwhile, for hours if the file says so. The process has a limit of CPU
time and memory, and leaves no core file.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from typing import Final

import msgspec
from cryptography.exceptions import InternalError
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

from gatepost.decoding import from_json
from gatepost.net.certificate import MALFORMED, quietly
from gatepost.values import RedactedStruct

CPU_SECONDS: Final = 10
"""Of one file; a file of OpenSSL takes milliseconds."""
_SECONDS: Final = 60.0  # by the clock, on a machine that has other things to do
_MEMORY: Final = 1024**3  # octets of addresses


class Pkcs12Error(ValueError):
    """The file cannot be read, or not with this password; the text is OpenSSL's, or ours."""


class TooSlow(Pkcs12Error):  # noqa: N818 - it names what happened
    """It was not opened with the CPU time that it may take."""


class _Opened(RedactedStruct, frozen=True):
    REDACTED = ("key_pem",)

    certificates: tuple[bytes, ...] = ()
    key_pem: bytes = b""
    failure: str = ""


def open_pkcs12(content: bytes, password: bytes | None, cpu_seconds: int = CPU_SECONDS) -> tuple[list[bytes], bytes]:
    """The certificates (DER) and the key (PEM, unencrypted, b"" if there is none).

    Waits for another process, a minute at most. Raises Pkcs12Error, TooSlow.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own file
            [sys.executable, "-P", "-m", __name__],
            input=msgspec.json.encode((content, password, cpu_seconds)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
        opened = from_json(done.stdout, _Opened)
    except subprocess.TimeoutExpired as failure:
        raise TooSlow from failure
    except OSError as failure:
        raise Pkcs12Error(f"no process can be started: {failure.strerror}") from failure
    except msgspec.DecodeError as failure:
        if -done.returncode in {signal.SIGXCPU, signal.SIGKILL}:
            raise TooSlow from failure
        raise Pkcs12Error(f"exit status {done.returncode}") from failure
    if opened.failure:
        raise Pkcs12Error(opened.failure)
    return list(opened.certificates), opened.key_pem


def _opened(content: bytes, password: bytes | None) -> _Opened:
    try:
        with quietly():
            bundle = pkcs12.load_pkcs12(content, password)
            bags = [*([bundle.cert] if bundle.cert else []), *bundle.additional_certs]
            certificates = tuple(bag.certificate.public_bytes(Encoding.DER) for bag in bags)
            key = bundle.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) if bundle.key else b""
    except (*MALFORMED, InternalError, MemoryError) as failure:
        return _Opened(failure=str(failure) or type(failure).__name__)
    return _Opened(certificates, key)


if __name__ == "__main__":
    question = from_json(sys.stdin.buffer.read(), tuple[bytes, bytes | None, int])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (question[2], question[2]))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    os.nice(10)  # mail comes first
    sys.stdout.buffer.write(msgspec.json.encode(_opened(*question[:2])))
    sys.stdout.flush()
    os._exit(0)
