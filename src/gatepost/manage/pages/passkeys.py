"""Passkeys (WebAuthn level 3): one is made on one's own account, and logs in without a name or password.

The library `webauthn` checks what an authenticator signed: challenge, origin, relying party, and that the person was
verified by it. A challenge is good for one success. Without the library (the extra `sso`) there are no passkeys.
"""

from __future__ import annotations

import secrets
import threading
import time
from base64 import urlsafe_b64decode
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gatepost.manage.access.records import Actor, LogInRefused, Outcome, Passkey
from gatepost.manage.pages import tickets
from gatepost.manage.pages.account_forms import octets
from gatepost.manage.pages.confirmation import ask_again
from gatepost.manage.pages.entrance import entered, local_target
from gatepost.manage.pages.guard import accounts_of, context_of, not_there
from gatepost.manage.pages.pages import see_other
from gatepost.manage.pages.relying_party import origin, rp_id
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.own_account import AddOwnPasskey, RemoveOwnPasskey, add_own_passkey, remove_own_passkey
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.web.record import address_of, note_throttled

if TYPE_CHECKING:
    from starlette.requests import Request

    from gatepost.manage.access.records import Session


_LOG_IN: Final = "__Host-gatepost-passkey"
_MAKE: Final = "__Host-gatepost-passkey-new"
_GOOD_FOR: Final = 300.0
_AT_ONCE: Final = 10_000  # log-ins within that time
_LONGEST: Final = 20_000  # characters of an answer
_REFUSED: Final = "The passkey was not accepted."
# What the parsers of JSON and CBOR raise for what no browser sends; RecursionError for what is nested too deep.
_MALFORMED: Final = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


class _Challenge(msgspec.Struct, frozen=True):
    """What an authenticator has to sign. user: for whom one is made, "" for a log-in. at: seconds since 1970."""

    challenge: bytes
    user: str
    at: float


class _Used:
    """Challenges that were answered well: none twice. Only successes are kept, so strangers fill nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[bytes, float] = {}

    def take(self, challenge: bytes, now: float) -> bool:
        """Whether nobody had it before."""
        with self._lock:
            self._known = {one: at for one, at in self._known.items() if now - at < _GOOD_FOR}
            if challenge in self._known or len(self._known) >= _AT_ONCE:
                return False
            self._known[challenge] = now
            return True


_used: Final = _Used()


def _make_options(request: Request) -> Response:
    session, party = _own(request), _party(request)
    if asked := ask_again(request, "/account"):
        return asked
    import webauthn  # noqa: PLC0415 - an extra
    from webauthn.helpers.structs import (  # noqa: PLC0415 - an extra
        AuthenticatorSelectionCriteria,
        PublicKeyCredentialDescriptor,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    challenge = secrets.token_bytes(32)
    options = webauthn.generate_registration_options(
        rp_id=party,
        rp_name="Gatepost",
        user_name=session.user.name,
        user_id=session.user.name.encode(),
        challenge=challenge,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=[
            PublicKeyCredentialDescriptor(id=one.id) for one in accounts_of(request).passkeys_of(session.user.name)
        ],
    )
    return _challenged(webauthn.options_to_json(options), _MAKE, _Challenge(challenge, session.user.name, time.time()))


def _make(request: Request) -> Response:
    session, party = _own(request), _party(request)
    if asked := ask_again(request, "/account"):
        return asked
    import webauthn  # noqa: PLC0415 - an extra
    from webauthn.helpers.exceptions import WebAuthnException  # noqa: PLC0415 - an extra

    form, name = request.state.form, session.user.name
    challenge = _challenge(request, _MAKE, name)
    try:
        if challenge is None:
            raise LogInRefused  # noqa: TRY301 - one way out
        found = webauthn.verify_registration_response(
            credential=form.get("credential", "")[:_LONGEST],
            expected_challenge=challenge,
            expected_rp_id=party,
            expected_origin=origin(request),
            require_user_verification=True,
        )
    except (WebAuthnException, LogInRefused, *_MALFORMED):
        answer = see_other(request, "/account", f"{_REFUSED} Try again.", "fail")
    else:
        made = AddOwnPasskey(
            id=found.credential_id,
            name=form.get("passkey_name", ""),
            public_key=found.credential_public_key,
            sign_count=found.sign_count,
        )
        answer = _kept(request, made)
    tickets.forget(answer, _MAKE)
    return answer


def _kept(request: Request, passkey: AddOwnPasskey) -> Response:
    try:
        made = execute(add_own_passkey, context_of(request), passkey)
    except Refusal as refusal:
        text = "; ".join(one.message for one in refusal.errors) or refusal.text
        return see_other(request, "/account", f"The passkey was not added: {text}.", "fail")
    return see_other(request, "/account", f"The passkey {made.name} was added.")


def _remove(request: Request) -> Response:
    _own(request)
    if asked := ask_again(request, "/account"):
        return asked
    passkey = octets(request.state.form.get("passkey", ""))
    removed = execute(remove_own_passkey, context_of(request), RemoveOwnPasskey(passkey=passkey))
    return see_other(request, "/account", f"The passkey {removed.name} was removed.")


def _log_in_options(request: Request) -> Response:
    party = _party(request)
    import webauthn  # noqa: PLC0415 - an extra
    from webauthn.helpers.structs import UserVerificationRequirement  # noqa: PLC0415 - an extra

    challenge = secrets.token_bytes(32)
    options = webauthn.generate_authentication_options(
        rp_id=party, challenge=challenge, user_verification=UserVerificationRequirement.REQUIRED
    )
    return _challenged(webauthn.options_to_json(options), _LOG_IN, _Challenge(challenge, "", time.time()))


def _log_in(request: Request) -> Response:
    """Answers the script: where to go, or what to say."""
    party, accounts, address = _party(request), accounts_of(request), address_of(request.scope)
    try:
        attempt = accounts.admit(address)
        passkey, count = _verified(request, party)
        secret = accounts.log_in_by_passkey(passkey, count, address, request.headers.get("user-agent", ""))
        accounts.forgive(attempt)
    except LogInRefused as refused:
        answer: Response = JSONResponse(*_told(request, refused))
    else:
        target = local_target(request.query_params.get("next", "/"))
        answer = entered(request, secret, JSONResponse({"target": target}))
    tickets.forget(answer, _LOG_IN)
    return answer


def _told(request: Request, refused: LogInRefused) -> tuple[dict[str, str], HTTPStatus]:
    if refused.wait:
        note_throttled(request.scope)
        return {"error": f"{str(refused).capitalize()}."}, HTTPStatus.TOO_MANY_REQUESTS
    return {"error": _REFUSED}, HTTPStatus.UNPROCESSABLE_ENTITY


def _verified(request: Request, party: str) -> tuple[Passkey, int]:
    """The passkey that signed, and its counter. Raises LogInRefused, with an audit event."""
    import webauthn  # noqa: PLC0415 - an extra
    from webauthn.helpers.exceptions import WebAuthnException  # noqa: PLC0415 - an extra

    accounts, text = accounts_of(request), request.state.form.get("credential", "")[:_LONGEST]
    passkey = None
    try:
        challenge = _challenge(request, _LOG_IN, "")
        passkey = accounts.passkey(_credential_id(text))
        if challenge is None or passkey is None:
            raise ValueError
        # Its counter is compared where it is written, in one transaction: `manage.access.passkey_rows.used`.
        found = webauthn.verify_authentication_response(
            credential=text,
            expected_challenge=challenge,
            expected_rp_id=party,
            expected_origin=origin(request),
            credential_public_key=passkey.public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        )
        if not _used.take(challenge, time.time()):
            raise ValueError
    except (WebAuthnException, *_MALFORMED):
        by = Actor(passkey.user if passkey else "", address_of(request.scope))
        detail = {"why": "unknown passkey or wrong signature"}
        accounts.record(by, "log-in", outcome=Outcome.REFUSED, detail=detail)
        raise LogInRefused from None
    return passkey, found.new_sign_count


def _credential_id(text: str) -> bytes:
    """Raises ValueError."""
    found = msgspec.json.decode(text, type=dict[str, Any]).get("id")
    if not isinstance(found, str) or len(found) > 2048:
        raise ValueError("no id")
    return urlsafe_b64decode(found + "=" * (-len(found) % 4))


def _challenged(options: str, name: str, challenge: _Challenge) -> Response:
    answer = Response(options, media_type="application/json")
    tickets.give(answer, name, challenge)
    return answer


def _challenge(request: Request, name: str, user: str) -> bytes | None:
    found = tickets.shown(request, name, _Challenge)
    if found is None or found.user != user or not 0 <= time.time() - found.at < _GOOD_FOR:
        return None
    return found.challenge


def _party(request: Request) -> str:
    if party := rp_id(request):
        return party
    raise not_there(
        "Passkeys are not available: open the admin centre by a host name, and install the extra gatepost[sso]."
    )


def _own(request: Request) -> Session:
    session: Session | None = request.state.session
    if session is None or session.user.issuer:
        raise not_there("Your account has no passkeys here: you log in with your organization.")
    return session


ROUTES = [
    Route("/account/passkeys/options", _make_options, methods=["POST"]),
    Route("/account/passkeys", _make, methods=["POST"]),
    Route("/account/passkeys/remove", _remove, methods=["POST"]),
    Route("/login/passkey/options", _log_in_options, methods=["POST"]),
    Route("/login/passkey", _log_in, methods=["POST"]),
]
