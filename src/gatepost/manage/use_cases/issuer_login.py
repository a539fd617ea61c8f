"""Log in at an issuer of OpenID Connect: authorization code with PKCE, state and nonce. Only pages have it.

What must be the same when the person comes back is in a ticket, which the caller keeps in the browser and signs. Blocks
while the issuer is asked; few may ask at a time.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import time
from base64 import urlsafe_b64encode
from contextlib import contextmanager
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec

from gatepost.manage.access.principal import Role
from gatepost.manage.access.slots import Slots
from gatepost.manage.access.user_rows import IssuerIdentity
from gatepost.manage.use_cases.declaration import Visibility, use_cases
from gatepost.manage.use_cases.entrance import LogInDenied, SessionStarted, attempt
from gatepost.manage.use_cases.refusal import BusyRefusal, RefusalKind
from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.lookups.configured import configured_resolver
from gatepost.net.lookups.openid import OpenId, OpenIdFailed, Provider
from gatepost.net.lookups.validator import ValidatorError
from gatepost.pki.certificates.vault import VaultError, read_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from gatepost.manage.use_cases.context import Context
    from gatepost.settings.model import Settings
    from gatepost.settings.sections import Oidc


use_case = use_cases(scope=None, visibility=Visibility.SEEN, tag="users")
_SLOTS: Final = Slots(4)
_GOOD_FOR: Final = 600.0  # seconds that a person has at the issuer
_FRESH: Final = 300.0  # seconds since a person proved it there, where that was asked for
_LONGEST: Final = 4096
_METADATA_FOR: Final = 300.0  # seconds that the issuer's metadata serve for beginnings
_ERRORS: Final = frozenset(
    {
        *("invalid_request", "unauthorized_client", "access_denied", "unsupported_response_type", "invalid_scope"),
        *("server_error", "temporarily_unavailable", "interaction_required", "login_required"),
        *("account_selection_required", "consent_required"),
    }
)
"""Of RFC 6749 section 4.1.2.1 and OpenID Connect Core section 3.1.2.6. No other text of a browser is kept."""
_FAILED_FOR: Final = 10.0  # seconds after which an issuer that gave none is asked again
_metadata: Final[dict[str, tuple[float, Provider | None]]] = {}  # by issuer, with when they were asked for
_asking: Final = Lock()
_anchors: Final[dict[str, TrustAnchors]] = {}  # by the name in the settings, as they could be read last

_log = logging.getLogger(__name__)


class _Failed(Exception):  # noqa: N818 - it names what happened
    """Nobody came in. The text is for the audit and the log, not for the person."""


class Ticket(msgspec.Struct, frozen=True):
    """A log-in that was begun.

    target: page to go to in the end. again: the person must prove it anew. at: seconds since 1970.
    """

    state: str
    nonce: str
    verifier: str
    redirect: str
    target: str
    again: bool
    at: float


class IssuerLogin(msgspec.Struct, frozen=True):
    """A completed log-in. proved: time of the proof at the issuer, seconds since 1970; 0 if it does not say."""

    person: Any
    proved: float


class BeginIssuerLogIn(msgspec.Struct, kw_only=True):
    """redirect: where the issuer sends the person back to. target, again: as in `Ticket`."""

    redirect: str
    target: str
    again: bool


class IssuerLogInBegun(msgspec.Struct):
    """url: where the person is sent."""

    url: str
    ticket: Ticket


@use_case(action="log-in", self_audited=True)
def begin_issuer_log_in(context: Context, request: BeginIssuerLogIn) -> IssuerLogInBegun:
    """Begin to log in at the issuer; the audit has it only if that cannot be."""
    with _denying(context):
        return IssuerLogInBegun(*_begin(context.settings, request, time.time()))


class EndIssuerLogIn(msgspec.Struct, kw_only=True):
    """answer: what the issuer sent the person back with. ticket: of their browser. agent: what it is."""

    answer: dict[str, str]
    ticket: Ticket | None
    agent: str = ""


@use_case(action="log-in", self_audited=True)
def end_issuer_log_in(context: Context, request: EndIssuerLogIn) -> SessionStarted:
    """Log in who comes back from the issuer."""
    accounts = context.accounts
    with attempt(context) as counted, _denying(context):
        try:
            login = _end(context.settings, request.ticket, request.answer, time.time())
        except BusyRefusal:
            accounts.forgive(counted)
            raise
        return SessionStarted(
            accounts.log_in_by_issuer(login.person, context.address, request.agent, proved=login.proved)
        )


@contextmanager
def _denying(context: Context) -> Iterator[None]:
    """Tell the person no more than that it failed, and the audit and the log why."""
    issuer = context.settings.oidc.issuer
    context.audit.describe(issuer=issuer)
    try:
        yield
    except _Failed as failed:
        _log.warning("log-in at %s failed: %s", issuer, failed)
        raise LogInDenied(str(failed)) from failed


def _begin(settings: Settings, request: BeginIssuerLogIn, now: float) -> tuple[str, Ticket]:
    """Where the person is sent, and the ticket. Raises _Failed, Busy."""
    oidc = settings.oidc
    provider = _provider(settings)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    query = {
        "response_type": "code",
        "client_id": oidc.client_id,
        "redirect_uri": request.redirect,
        "scope": " ".join(dict.fromkeys(["openid", *oidc.scopes])),
        "state": state,
        "nonce": nonce,
        "code_challenge": urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    if request.again:
        query |= {"prompt": "login", "max_age": "0"}
    between = "&" if "?" in provider.authorization_url else "?"
    url = f"{provider.authorization_url}{between}{urlencode(query)}"
    return url, Ticket(state, nonce, verifier, request.redirect, request.target, request.again, now)


def _provider(settings: Settings) -> Provider:
    """The issuer's metadata, some minutes old at most. Raises _Failed, Busy.

    Whoever reaches the port may begin, and as often as they like: that neither takes the places of those who come back,
    nor floods the issuer, or the audit while it is down.
    """
    issuer = settings.oidc.issuer
    if not _asking.acquire(timeout=1.0):
        raise _too_many()
    try:
        at, provider = _metadata.get(issuer, (-_METADATA_FOR, None))
        if provider is None and time.monotonic() < at + _FAILED_FOR:
            raise BusyRefusal(
                "the log-in of your organization did not work some seconds ago", kind=RefusalKind.FORBIDDEN
            )
        if provider is None or time.monotonic() >= at + _METADATA_FOR:
            try:
                provider = _with_client(settings, lambda openid: openid.provider())
            except _Failed:
                _metadata[issuer] = time.monotonic(), None
                raise
            _metadata[issuer] = time.monotonic(), provider
        return provider
    finally:
        _asking.release()


def _too_many() -> BusyRefusal:
    return BusyRefusal("too many others log in just now", kind=RefusalKind.FORBIDDEN)


def _end(settings: Settings, ticket: Ticket | None, answer: Mapping[str, str], now: float) -> IssuerLogin:
    """Who came back. Raises _Failed, Busy."""
    oidc = settings.oidc
    if ticket is None:
        raise _Failed("it was not started in this browser, or too long ago")
    if not hmac.compare_digest(answer.get("state", "").encode(), ticket.state.encode()):
        raise _Failed("the answer is of another log-in (state)")
    if not 0 <= now - ticket.at < _GOOD_FOR:
        raise _Failed("it took longer than ten minutes")
    if answer.get("iss", oidc.issuer) != oidc.issuer:
        raise _Failed("the answer is of another issuer (RFC 9207)")
    code = answer.get("code", "")
    if not 0 < len(code) <= _LONGEST:
        error = answer.get("error", "")
        raise _Failed(f"the issuer did not let the person in{f': {error}' if error in _ERRORS else ''}")

    async def exchanged(openid: OpenId) -> dict[str, Any]:
        provider = await openid.provider()
        if provider.says_issuer and "iss" not in answer:
            raise OpenIdFailed("the answer does not say of which issuer it is (RFC 9207)")
        return await openid.claims(provider, code, ticket.verifier, ticket.redirect, ticket.nonce)

    claims = _with_client(settings, exchanged)
    proved = claims.get("auth_time", 0)
    proved = float(proved) if isinstance(proved, int | float) and 0 < proved <= now + 60 else 0.0
    if ticket.again and now - proved > _FRESH:
        raise _Failed("the person did not prove anew who they are (auth_time)")
    person: IssuerIdentity | str = map_claims(oidc, claims)
    if isinstance(person, str):
        raise _Failed(person)
    return IssuerLogin(person, min(proved, now))


def _read_anchors(name: str) -> TrustAnchors:
    """Trust anchors as they are now, or as they were while the file cannot be used. Raises AnchorsError."""
    try:
        _anchors[name] = TrustAnchors.load(name)
    except AnchorsError as error:
        if name not in _anchors:
            raise
        _log.error("log-ins at the issuer go by the trust anchors that were read last: %s", error)
    return _anchors[name]


def _with_client[T](settings: Settings, ask: Callable[[OpenId], Coroutine[Any, Any, T]]) -> T:
    async def work() -> T:
        reference = settings.oidc.client_secret
        secret = read_secret(reference, what="client secret", gone="").decode().strip() if reference else ""
        resolver = configured_resolver(settings.dns)
        try:
            return await ask(OpenId(resolver, settings.oidc, secret, settings.tls.trust_anchors, _read_anchors))
        finally:
            await resolver.close()

    if not _SLOTS.acquire("", 1.0):
        raise _too_many()
    try:
        return asyncio.run(work())
    except (OpenIdFailed, VaultError, ValidatorError, ValueError) as failed:
        raise _Failed(str(failed)) from None
    finally:
        _SLOTS.release("")


def map_claims(oidc: Oidc, claims: Mapping[str, Any]) -> IssuerIdentity | str:
    """The person; or why nobody comes in, for the record: nothing of the claims is in it but names of claims."""
    subject, name, groups = claims.get("sub"), claims.get(oidc.name_claim), claims.get(oidc.groups_claim)
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        return "the token has no claim sub with a text"
    if not isinstance(name, str) or not name:
        return f"the issuer tells no claim {oidc.name_claim} with a text"
    if not isinstance(groups, list):
        return f"the issuer tells no claim {oidc.groups_claim} with a list"
    for group in oidc.groups:
        if group.name in groups:
            return IssuerIdentity(
                oidc.issuer, subject, name, Role(group.role.value), frozenset(group.organizations) or None
            )
    return f"none of the person's groups ({oidc.groups_claim}) is in the settings"
