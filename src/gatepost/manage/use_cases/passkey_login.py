"""Passkeys (WebAuthn level 3): keep one of one's own, and log in with it. Only pages have it.

The library `webauthn` checks what an authenticator signed: challenge, origin, relying party, and that the person was
verified by it. A challenge is good for one success; the page keeps it in the browser, signed. The library is an extra.
"""

from __future__ import annotations

import threading
import time
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.decoding import from_json
from gatepost.manage.access.records import LogInRefused, Passkey
from gatepost.manage.use_cases.declaration import Visibility, use_cases
from gatepost.manage.use_cases.entrance import SessionStarted, attempt
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.users import PasskeyNamed

if TYPE_CHECKING:
    from gatepost.manage.use_cases.context import Context
    from gatepost.settings.model import Settings


use_case = use_cases(scope=None, visibility=Visibility.SEEN, tag="users")
GOOD_FOR: Final = 300.0
"""Seconds for which a challenge can be answered."""
_AT_ONCE: Final = 10_000  # log-ins within that time
# What the parsers of JSON and CBOR raise for what no browser sends; RecursionError for what is nested too deep.
_MALFORMED: Final = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


class PasskeyAnswer(msgspec.Struct, kw_only=True):
    """Signed answer of a browser, and the challenge that it answers.

    credential: JSON. challenge: that was given, b"" if none is known. party: the relying party's id, a host name.
    origin: of our pages.
    """

    credential: str
    challenge: bytes
    party: str
    origin: str


class UsedChallenges:
    """Challenges that were answered well: none twice. Only successes are kept, so strangers fill nothing."""

    def __init__(self, _: Settings | None = None) -> None:
        self._lock = threading.Lock()
        self._known: dict[bytes, float] = {}

    def take(self, challenge: bytes, now: float) -> bool:
        """Whether nobody had it before."""
        with self._lock:
            self._known = {known: at for known, at in self._known.items() if now - at < GOOD_FOR}
            if challenge in self._known or len(self._known) >= _AT_ONCE:
                return False
            self._known[challenge] = now
            return True


class AddOwnPasskey(PasskeyAnswer, kw_only=True):
    """name: what the person calls it. generation: of the user, as the session has it."""

    name: str
    generation: int


@use_case(requires_reauth=True, action="passkey-add", self_audited=True)
def add_own_passkey(context: Context, request: AddOwnPasskey) -> PasskeyNamed:
    """Keep a passkey with which one logs in."""
    import webauthn  # noqa: PLC0415 - an extra
    from webauthn.helpers.exceptions import WebAuthnException  # noqa: PLC0415 - an extra

    name = context.principal.name
    context.audit.describe(subject=name)
    try:
        if not request.challenge:
            raise ValueError
        registration = webauthn.verify_registration_response(
            credential=request.credential,
            expected_challenge=request.challenge,
            expected_rp_id=request.party,
            expected_origin=request.origin,
            require_user_verification=True,
        )
    except (WebAuthnException, *_MALFORMED):
        raise Refusal(RefusalKind.INPUT, "the passkey was not accepted; try again") from None
    made = Passkey(
        registration.credential_id,
        name,
        request.name,
        registration.credential_public_key,
        registration.sign_count,
        created=0.0,
        last_used=0.0,
    )
    return PasskeyNamed(context.accounts.add_passkey(made, actor=context.actor, generation=request.generation).name)


class LogInWithPasskey(PasskeyAnswer, kw_only=True):
    """agent: what the browser is."""

    agent: str = ""


@use_case(action="log-in", self_audited=True)
def log_in_with_passkey(context: Context, request: LogInWithPasskey) -> SessionStarted:
    """Log in with a passkey, without a name or password."""
    with attempt(context):
        passkey, count = _verified(context, request)
        context.audit.describe(passkey=passkey.name)
        return SessionStarted(context.accounts.log_in_by_passkey(passkey, count, context.address, request.agent))


def _verified(context: Context, answer: PasskeyAnswer) -> tuple[Passkey, int]:
    """The passkey that signed, and its counter. Raises LogInRefused."""
    import webauthn  # noqa: PLC0415 - an extra
    from webauthn.helpers.exceptions import WebAuthnException  # noqa: PLC0415 - an extra

    passkey = None
    try:
        passkey = context.accounts.passkey(_credential_id(answer.credential))
        if not answer.challenge or passkey is None:
            raise ValueError
        # Its counter is compared where it is written, in one transaction: `manage.access.passkey_rows.used`.
        authentication = webauthn.verify_authentication_response(
            credential=answer.credential,
            expected_challenge=answer.challenge,
            expected_rp_id=answer.party,
            expected_origin=answer.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
        if not context.kept(UsedChallenges).take(answer.challenge, time.time()):
            raise ValueError
    except (WebAuthnException, *_MALFORMED):
        why = "a passkey that is not known, or a signature that is not right"
        raise LogInRefused(name=passkey.user if passkey else "", why=why) from None
    return passkey, authentication.new_sign_count


def _credential_id(text: str) -> bytes:
    """Raises ValueError."""
    credential = from_json(text, dict[str, Any]).get("id")
    if not isinstance(credential, str) or len(credential) > 2048:
        raise ValueError("no id")
    return urlsafe_b64decode(credential + "=" * (-len(credential) % 4))
