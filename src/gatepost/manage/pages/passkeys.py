"""Passkeys (WebAuthn level 3): one is made on one's own account, and logs in without a name or password.

What an authenticator signed is checked by `manage.use_cases.passkey_login`. Without the library `webauthn` (the extra
`sso`) there are no passkeys.
"""

from __future__ import annotations

import secrets
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.pages import signed_cookies
from gatepost.manage.pages.account_forms import octets
from gatepost.manage.pages.guard import not_there, perform
from gatepost.manage.pages.login import agent_of, as_sentence, ask_again, entered, local_target, origin, rp_id
from gatepost.manage.pages.rendering import see_other
from gatepost.manage.use_cases import own_account
from gatepost.manage.use_cases.entrance import LogInDenied
from gatepost.manage.use_cases.passkey_login import (
    GOOD_FOR,
    AddOwnPasskey,
    LogInWithPasskey,
    add_own_passkey,
    log_in_with_passkey,
)
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.web.problem import note_throttled
from gatepost.sentences import ours
from gatepost.texts import N_

if TYPE_CHECKING:
    from starlette.requests import Request

    from gatepost.manage.access.records import UserSession


_LOG_IN: Final = "__Host-gatepost-passkey"
_MAKE: Final = "__Host-gatepost-passkey-new"
_LONGEST: Final = 20_000  # characters of an answer
_REFUSED: Final = N_("The passkey was not accepted.")


class _Challenge(msgspec.Struct, frozen=True):
    """A challenge that an authenticator signs.

    user: owner of a new passkey, "" for a log-in. at: seconds since 1970.
    """

    challenge: bytes
    user: str
    at: float


def _make_options(request: Request) -> Response:
    session, party = _own(request), _party(request)
    if response := ask_again(request, "/account"):
        return response
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
            PublicKeyCredentialDescriptor(id=passkey.id)
            for passkey in perform(request, own_account.list_own_passkeys, own_account.ListOwnPasskeys()).items
        ],
    )
    return _challenged(webauthn.options_to_json(options), _MAKE, _Challenge(challenge, session.user.name, time.time()))


def _make(request: Request) -> Response:
    session, party = _own(request), _party(request)
    if response := ask_again(request, "/account"):
        return response
    passkey = AddOwnPasskey(
        name=request.state.form.get("passkey_name", ""),
        generation=session.user.generation,
        **_answer(request, party, _challenge(request, _MAKE, session.user.name)),
    )
    try:
        made = perform(request, add_own_passkey, passkey)
    except Refusal as refusal:
        text = "; ".join(ours(error.message) for error in refusal.errors) or ours(refusal.text)
        answer = see_other(request, "/account", _("The passkey was not added: %(text)s.", text=text), "fail")
    else:
        answer = see_other(request, "/account", _("The passkey %(name)s was added.", name=made.name))
    signed_cookies.forget(answer, _MAKE)
    return answer


def _remove(request: Request) -> Response:
    _own(request)
    if response := ask_again(request, "/account"):
        return response
    passkey = octets(request.state.form.get("passkey", ""))
    removed = perform(request, own_account.remove_own_passkey, own_account.RemoveOwnPasskey(passkey=passkey))
    return see_other(request, "/account", _("The passkey %(name)s was removed.", name=removed.name))


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
    values = _answer(request, _party(request), _challenge(request, _LOG_IN, ""))
    try:
        begun = perform(request, log_in_with_passkey, LogInWithPasskey(agent=agent_of(request), **values))
    except LogInDenied as denied:
        answer: Response = JSONResponse(*_refusal_content(request, denied))
    else:
        target = local_target(request.query_params.get("next", "/"))
        answer = entered(request, begun.secret, JSONResponse({"target": target}))
    signed_cookies.forget(answer, _LOG_IN)
    return answer


def _refusal_content(request: Request, denied: LogInDenied) -> tuple[dict[str, str], HTTPStatus]:
    if denied.wait:
        note_throttled(request.scope)
        return {"error": as_sentence(denied.text)}, HTTPStatus.TOO_MANY_REQUESTS
    return {"error": _(_REFUSED)}, HTTPStatus.UNPROCESSABLE_ENTITY


def _answer(request: Request, party: str, challenge: bytes | None) -> dict[str, Any]:
    """The browser's answer and the challenge: fields of `PasskeyAnswer`."""
    credential = request.state.form.get("credential", "")[:_LONGEST]
    return {"credential": credential, "challenge": challenge or b"", "party": party, "origin": origin(request)}


def _challenged(options: str, name: str, challenge: _Challenge) -> Response:
    answer = Response(options, media_type="application/json")
    signed_cookies.give(answer, name, challenge)
    return answer


def _challenge(request: Request, name: str, user: str) -> bytes | None:
    challenge = signed_cookies.shown(request, name, _Challenge)
    if challenge is None or challenge.user != user or not 0 <= time.time() - challenge.at < GOOD_FOR:
        return None
    return challenge.challenge


def _party(request: Request) -> str:
    if party := rp_id(request):
        return party
    raise not_there(
        _("Passkeys are not available: open the admin centre by a host name, and install the extra gatepost[sso].")
    )


def _own(request: Request) -> UserSession:
    session: UserSession | None = request.state.session
    if session is None or session.user.issuer:
        raise not_there(_("Your account has no passkeys here: you log in with your organization."))
    return session


ROUTES = [
    Route("/account/passkeys/options", _make_options, methods=["POST"]),
    Route("/account/passkeys", _make, methods=["POST"]),
    Route("/account/passkeys/remove", _remove, methods=["POST"]),
    Route("/login/passkey/options", _log_in_options, methods=["POST"]),
    Route("/login/passkey", _log_in, methods=["POST"]),
]
