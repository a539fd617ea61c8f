"""Try keys in tokens in a process of its own: say what is wrong with each, or nothing.

`try_keys` starts it and waits; run as a module, this file is that process. It finds out by PKCS#11 whether module,
token, PIN and key are there, which logs in once at most, and shakes hands with itself by OpenSSL's provider, which
proves that key and certificate belong together. A module that hangs or crashes harms nobody, and a process that lost
the token is not asked.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from gatepost.decoding import from_json
from gatepost.net import token_access
from gatepost.net.token_module import PinRefused, TokenModule
from gatepost.net.token_provider import configuration_file, is_loaded, load
from gatepost.protocols.tls.token_uri import TokenUri, parse_token_uri

_SECONDS: Final = 60.0
_MOST: Final = 100_000  # octets of an answer


class _Question(msgspec.Struct):
    access: token_access.TokenAccess
    keys: dict[str, bytes]


def try_keys(access: token_access.TokenAccess, keys: Mapping[str, bytes]) -> dict[str, str]:
    """Try each key, and say by its URI what is wrong with it, "" if it can be used.

    keys: chains (PEM) of certificates by URI. Waits for another process, a minute at most. PIN
    and keys are not in its command line.
    """
    question = msgspec.json.encode(_Question(access, dict(keys)))
    # Root that acts as the gateway's account must be it altogether, or OpenSSL reads no configuration.
    other = {} if os.getuid() == os.geteuid() else {"user": os.geteuid(), "group": os.getegid()}
    try:
        done = subprocess.run(  # noqa: S603 - our own file
            [sys.executable, "-P", "-m", __name__],
            input=question,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            start_new_session=True,  # a module that asks for a PIN finds no terminal
            check=False,
            **other,  # type: ignore[call-overload] # subprocess has them
        )
        return from_json(done.stdout[:_MOST], dict[str, str])
    except subprocess.TimeoutExpired:
        return dict.fromkeys(keys, f"the token did not answer within {_SECONDS:.0f} seconds")
    except msgspec.DecodeError:
        return dict.fromkeys(keys, f"the PKCS#11 module ended its process (exit status {done.returncode})")
    except OSError as error:
        return dict.fromkeys(keys, f"the key cannot be tried: {error.strerror}")


def _answers(question: _Question) -> dict[str, str]:
    access = question.access
    uris = {uri: parse_token_uri(uri) for uri in question.keys}
    try:
        with token_access.one_at_a_time(access):
            problems = _look(access, uris)
        if all(problems.values()):
            return problems
        _load_provider(access)
    except token_access.TokenError as error:
        return dict.fromkeys(question.keys, str(error))
    return {uri: problems[uri] or handshake_problem(uri, chain) for uri, chain in question.keys.items()}


def _look(access: token_access.TokenAccess, uris: Mapping[str, TokenUri]) -> dict[str, str]:
    """What PKCS#11 says of each. Raises TokenError for what concerns all."""
    if not Path(access.module).is_file():
        raise token_access.TokenError(
            f"pkcs11.module: {access.module} is not there; install the module of the token's vendor"
        )
    pin = token_access.check_pin(access)
    problems = {}
    with closing(TokenModule(access.module)) as module:
        for text, uri in uris.items():
            problems[text] = ""
            try:
                slot, flags = module.find_token(uri)
                with module.session(slot) as session:
                    module.log_in(session, flags, pin)
                    module.find_key(session, uri)
            except PinRefused as error:
                token_access.remember_refused(access, pin)
                raise token_access.TokenError(
                    f"{error}; it is not tried again: write the right one into {access.pin_file}"
                ) from error
            except token_access.TokenError as error:
                problems[text] = str(error)
    if not all(problems.values()):
        token_access.forget_refused(access)
    return problems


def _load_provider(access: token_access.TokenAccess) -> None:
    check_provider(access)
    load(f"/proc/self/fd/{configuration_file(access)}")
    if not is_loaded(access):
        raise token_access.TokenError(not_loaded(access))
    token_access.TOKEN_KEYS.access = access


def check_provider(access: token_access.TokenAccess) -> None:
    """Raises TokenError if the provider is not there."""
    if not Path(access.provider).is_file():
        raise token_access.TokenError(
            f"pkcs11.provider: {access.provider} is not there; install OpenSSL's PKCS#11 provider (Debian: "
            "pkcs11-provider), or name it"
        )


def not_loaded(access: token_access.TokenAccess) -> str:
    """The text for a provider that OpenSSL left out."""
    return (
        f"pkcs11.provider: the OpenSSL of the Python package cryptography does not load {access.provider}; it must be "
        "the PKCS#11 provider, for this architecture"
    )


def handshake_problem(uri: str, chain_pem: bytes) -> str:
    """Explain why this very process cannot shake hands with itself by a key, "" if it can. Takes milliseconds."""
    from gatepost.net.engine import TlsFailure, client_context, server_context, shake_hands  # noqa: PLC0415 - after the provider
    from gatepost.net.identity import IdentityError, ServerIdentity  # noqa: PLC0415 - as above
    from gatepost.protocols.tls.profile import PROFILES  # noqa: PLC0415 - as above

    profile = PROFILES["default"]
    try:
        identity = ServerIdentity(chain_pem, uri.encode())
        theirs = server_context([identity], profile, ask_client_certificate=False).engine()
        ours = client_context(profile).engine()
        shake_hands(ours, theirs)
    except IdentityError as error:
        return str(error)
    except TlsFailure as failure:
        return f"the token cannot sign with this key: {failure}"
    return ""


if __name__ == "__main__":
    answers = _answers(from_json(sys.stdin.buffer.read(), _Question))
    sys.stdout.buffer.write(msgspec.json.encode(answers))
    sys.stdout.flush()
    os._exit(0)  # modules and providers that end badly do it here
