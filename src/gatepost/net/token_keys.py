"""Use certificates and keys in a TLS context: a key in a token by OpenSSL's PKCS#11 provider. A part of `net.engine`.

The provider logs in with the PIN when a key is loaded, and never for a handshake: no peer can make a token count wrong
PINs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Final

from OpenSSL import SSL

from gatepost.net import openssl_private as private
from gatepost.net.identity import Credentials, IdentityError
from gatepost.net.token_access import TOKEN_KEYS, TokenError, check_pin
from gatepost.protocols.tls.token_uri import TokenUri, token_pem

_OTHER_KEY: Final = frozenset({"key values mismatch", "no certificate assigned"})  # the latter: of another kind
_NO_SIGNATURE: Final = "provider signature failure"  # of our own key: OpenSSL itself always can
_PROVIDER: Final = "pkcs11"  # the name by which OpenSSL's errors have the provider


def present(context: SSL.Context, credentials: Credentials) -> None:
    """Use a certificate and its key, which may be in a token. Raises IdentityError.

    Only the call that reads a file keeps a chain for each kind of key.
    """
    try:
        with tempfile.NamedTemporaryFile(prefix="gatepost-", suffix=".pem") as file:
            file.write(credentials.chain_pem)
            file.flush()
            context.use_certificate_chain_file(file.name)
        if isinstance(credentials.key, TokenUri):
            _use_token_key(context, credentials, credentials.key)
        else:
            context.use_privatekey(credentials.key)
        context.check_privatekey()
    except SSL.Error as failure:
        why = reasons_of(failure)
        raise IdentityError(f"the certificate {credentials.leaf.subject} cannot be used: {why}") from failure


def _use_token_key(context: SSL.Context, credentials: Credentials, uri: TokenUri) -> None:
    """Use a key in a token, beside its certificate, which OpenSSL compares with it. Raises IdentityError.

    Logs in once at most, and never with a PIN that the token refused.
    """
    TOKEN_KEYS.note(str(uri), credentials.chain_pem)
    access = TOKEN_KEYS.access
    if access is None:
        raise IdentityError(f"the key {uri} is in a token: set pkcs11.module in the settings of this machine")
    private.never_ask(context)
    try:
        check_pin(access)
        with tempfile.NamedTemporaryFile(prefix="gatepost-", suffix=".pem") as file:
            file.write(token_pem(uri, access.pin_file))
            file.flush()
            context.use_privatekey_file(file.name)
            context.check_privatekey()
    except TokenError as failure:
        raise IdentityError(f"the key {uri}: {failure}") from failure
    except SSL.Error as failure:
        TOKEN_KEYS.in_doubt = True
        why = reasons_of(failure)
        if why in _OTHER_KEY:
            text = f"the key {uri} does not belong to the certificate {credentials.leaf.subject}"
            raise IdentityError(text) from failure
        raise IdentityError(f"the token does not give the key {uri} ({why})") from failure


def note_failure(reasons: Sequence[tuple[str, ...]]) -> None:
    """A handshake failed. reasons: as OpenSSL says them: library, function, text. A peer cannot bring these about."""
    if any(reason[0] == _PROVIDER or reason[-1] == _NO_SIGNATURE for reason in reasons):
        TOKEN_KEYS.in_doubt = True


def reasons_of(failure: SSL.Error) -> str:
    """The reasons that OpenSSL gives for a failure; its queue of errors is empty then."""
    private.clear_errors()
    return "; ".join(reason[-1] for reason in failure.args[0])
