"""An ACME client (RFC 8555, RFC 9773) on certbot's `acme` library: the only module that imports it.

Used by `pki.acme.issuer`, in a thread of its own: everything here blocks, and everything ends. What an authority says
is for our log alone, and bounded. The library is in the extra `gatepost[acme]`: import this module where it is used.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime as dt
import io
import math
import ssl
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import requests
import urllib3.exceptions
from acme import challenges, client, errors, messages
from acme.messages import IDENTIFIER_FQDN
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from josepy.errors import Error as JoseError
from josepy.json_util import field
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from requests.adapters import HTTPAdapter

from gatepost.pki.acme.challenges import AcmeFailed, Proof
from gatepost.settings.acme import Challenge
from gatepost.texts import own
from gatepost.times import read_http_date

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_ANSWER: Final = 1 << 20  # octets of one answer
_CONNECT: Final = 15.0
_READ: Final = 30.0
_POLL: Final = 120.0
_TEXT: Final = 300
_TOO_LONG: Final = "the authority took too long in all"
_PIECE: Final = 65536
_AGENT: Final = "gatepost"
_LEAST_MAC_KEY: Final = 16  # octets
_BASE64URL: Final = str.maketrans("+/", "-_")
_PROBLEM: Final = "urn:ietf:params:acme:error:"
_OF_REPLACES: Final = {"alreadyReplaced", "malformed", "unauthorized"}  # not renewed by us, say: a new order may help
_OF_BINDINGS: Final = {"unauthorized", "malformed", "externalAccountRequired"}  # each authority has its own
_NONCES: Final = 5  # tries, each of which is two of the library's
_ODD: Final = (
    JoseError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)  # by answers that are not ACME


@dataclass(frozen=True, slots=True)
class Order:
    """The content of an order. csr: PEM. replaces: the certificate, PEM, that it renews, b"" if none."""

    names: tuple[str, ...]
    csr: bytes
    profile: str = ""
    replaces: bytes = b""


@dataclass(frozen=True, slots=True)
class ExternalAccount:
    """Proof that an authority knows us as a customer already (RFC 8555 section 7.3.4).

    key_id, mac_key: as the authority shows them; the key in base64url.
    """

    key_id: str
    mac_key: str = dataclasses.field(repr=False)


class _NewOrder(messages.NewOrder):
    """RFC 9773 section 5: a renewal that says what it renews is not counted against limits."""

    replaces: str = field("replaces", omitempty=True)


class _Socket(ssl.SSLSocket):
    """Leave an authority at the deadline, also one that sends a header octet by octet."""

    deadline = math.inf

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Raises TimeoutError past the deadline."""
        if time.monotonic() > self.deadline:
            raise TimeoutError(_TOO_LONG)
        return super().recv_into(*args, **kwargs)


class _Adapter(HTTPAdapter):
    """Every answer is bounded, and all of them together by `deadline` (monotonic).

    status, retry_after: of the last answer if it was a refusal, else 0.
    """

    def __init__(self, context: ssl.SSLContext, deadline: float) -> None:
        context.sslsocket_class = type("_SocketUntil", (_Socket,), {"deadline": deadline})
        self._context = context
        self._deadline = deadline
        self.status = 0
        self.retry_after = 0.0
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """The authority is trusted by our anchors, and no others."""
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Add no other anchors: the context has them."""

    def send(self, request: Any, *_: Any, **__: Any) -> requests.Response:
        """Raises requests' exceptions."""
        self.status, self.retry_after = 0, 0.0
        if time.monotonic() > self._deadline:
            raise requests.exceptions.Timeout(_TOO_LONG)
        response = super().send(request, stream=True, timeout=(_CONNECT, _READ), verify=True)
        try:
            data = self._body(response)
        except urllib3.exceptions.HTTPError as failure:  # requests hides it only where it reads itself
            raise requests.exceptions.ConnectionError(failure) from failure
        finally:
            response.close()
        response.raw = io.BytesIO(data)
        retry_after = response.headers.get("Retry-After", "")
        if not response.ok:
            self.status, self.retry_after = response.status_code, _seconds(retry_after)
        if retry_after and not retry_after.strip("0").isdigit():  # the library compares a date, in UTC, with local time
            del response.headers["Retry-After"]  # without one it waits, where a time that is none or past is at once
            if seconds := math.ceil(_seconds(retry_after)):
                response.headers["Retry-After"] = str(seconds)
        return response

    def _body(self, response: requests.Response) -> bytes:
        data = bytearray()
        while piece := response.raw.read1(_PIECE, decode_content=True):  # what is there, not all that is to come
            data += piece
            if len(data) > _ANSWER:
                raise requests.exceptions.ContentDecodingError(f"a response of more than {_ANSWER} octets")
        return bytes(data)


class _Network(client.ClientNetwork):
    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        """A nonce may be refused at any time, and be it new (RFC 8555 section 6.5)."""
        for _ in range(_NONCES - 1):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as problem:
                if problem.code != "badNonce":
                    raise
        return super().post(*args, **kwargs)


class Authority:
    """One authority, and our account there.

    context: checks its HTTPS server. key_pem: of the account (P-256). account: its address, "" if it is not known yet.
    seconds: for everything. Raises AcmeFailed if its directory cannot be read.
    """

    def __init__(self, url: str, context: ssl.SSLContext, key_pem: bytes, *, account: str = "", seconds: float) -> None:
        self._url = url
        self._deadline = time.monotonic() + seconds
        self._adapter = _Adapter(context, self._deadline)
        key = JWKEC(key=load_pem_private_key(key_pem, None))
        self._key = key
        self._net = _Network(key, alg=ES256, user_agent=_AGENT)
        self._net.session.trust_env = False  # no proxy, no other roots, no passwords of the environment
        self._net.session.max_redirects = 3
        self._net.session.headers["Accept-Encoding"] = "identity"
        self._net.session.mount("https://", self._adapter)
        self._net.session.mount("http://", _NoHttp())
        try:
            directory = self._called(lambda: client.ClientV2.get_directory(url, self._net))
        except AcmeFailed:
            self.close()
            raise
        self._client = client.ClientV2(directory, self._net)
        if account:
            self._net.account = messages.RegistrationResource(body=messages.Registration(), uri=account)

    def close(self) -> None:
        """Close connections."""
        self._net.session.close()

    def register(self, contact: Sequence[str], external: ExternalAccount | None = None) -> str:
        """The account of our key, made if there is none; its address. The terms are agreed to. Raises AcmeFailed."""
        self._net.account = None  # the request names the key, not an account that may be gone
        if external is None and self._client.external_account_required():
            raise AcmeFailed(
                f"{self._url} gives accounts only to customers that it knows (external account binding): get a key "
                "identifier and a MAC key there, and set acme.eab_key_id and acme.eab_mac_key"
            )
        new = messages.NewRegistration(
            contact=tuple(f"mailto:{text}" for text in contact),
            terms_of_service_agreed=True,
            external_account_binding=self._binding(external) if external is not None else None,
        )
        try:
            return str(self._called(lambda: self._client.new_account(new)).uri)
        except _Known as known:
            self._net.account = messages.RegistrationResource(body=messages.Registration(), uri=known.uri)
            return known.uri
        except AcmeFailed as refused:
            if external is None or refused.code not in _OF_BINDINGS:
                raise
            text = f"{refused}; see acme.eab_key_id and acme.eab_mac_key: are both copied in full, and not used up?"
            raise AcmeFailed(text, refused.retry_after) from refused

    def _binding(self, external: ExternalAccount) -> dict[str, Any]:
        """The account's key, signed with the MAC key. Raises AcmeFailed."""
        directory, text = self._client.directory, external.mac_key.translate(_BASE64URL).rstrip("=")
        try:
            octets = len(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        except (binascii.Error, ValueError):
            octets = 0
        if octets < _LEAST_MAC_KEY:
            raise AcmeFailed(
                "acme.eab_mac_key is not a MAC key in base64url: copy it in full, as the authority shows it, "
                "on one line"
            )
        return messages.ExternalAccountBinding.from_data(self._key.public_key(), external.key_id, text, directory)

    def issue(self, order: Order, kind: Challenge, publish: Callable[[Sequence[Proof]], None]) -> bytes:
        """The chain, PEM, leaf first. publish: has proofs found. Raises AcmeFailed, and what `publish` raises."""
        try:
            made = self._called(lambda: self._ordered(order))
        except AcmeFailed as refused:
            if refused.code != "unauthorized":
                raise
            text = f"{refused}; was the account deactivated? Then `gatepost certificate acme forget`, and renew at once"
            raise AcmeFailed(text, refused.retry_after) from refused
        todo = [
            self._answerable(authorization, kind)
            for authorization in made.authorizations
            if authorization.body.status == messages.STATUS_PENDING
        ]
        publish([proof for proof, _ in todo])
        for _, challenge in todo:
            self._called(lambda body=challenge: self._client.answer_challenge(body, body.response(self._key)))  # type: ignore[misc] # binds now
        until = dt.datetime.now() + dt.timedelta(seconds=min(_POLL, max(1.0, self._deadline - time.monotonic())))  # noqa: DTZ005 - the library compares with its own
        checked = self._called(lambda: self._client.poll_authorizations(made, until))
        return str(self._called(lambda: self._client.finalize_order(checked, until)).fullchain_pem).encode()

    def renewal(self, chain_pem: bytes) -> tuple[float, float]:
        """The time at which the authority wants a certificate renewed (0.0 if it names none), and when to ask again.

        The first is chosen at random in the window that the authority suggests (RFC 9773 section 4.2); seconds since
        1970. Raises AcmeFailed.
        """
        try:
            at, again = self._client.renewal_time(chain_pem)
            return at.timestamp() if at is not None else 0.0, again.timestamp()
        except (errors.Error, *_ODD) as failure:
            raise AcmeFailed(f"no renewal information: {_shown(failure.__cause__ or failure)}") from failure

    def _ordered(self, order: Order) -> messages.OrderResource:
        identifiers = [messages.Identifier(typ=IDENTIFIER_FQDN, value=name) for name in order.names]
        replaces = certificate_id(order.replaces) if order.replaces and self._tells_renewals() else ""
        wish = {"identifiers": identifiers, "profile": order.profile}
        try:
            made = self._post(self._client.directory["newOrder"], _NewOrder(**wish, replaces=replaces))
        except (messages.Error, errors.ConflictError) as refused:
            if not replaces or (isinstance(refused, messages.Error) and _code(refused) not in _OF_REPLACES):
                raise
            made = self._post(self._client.directory["newOrder"], _NewOrder(**wish))  # it was replaced already, say
        body = messages.Order.from_json(made.json())
        if len(body.authorizations) > len(order.names):
            raise AcmeFailed(f"{self._url} wants more proofs than there are names in the order")
        return messages.OrderResource(
            body=body,
            uri=made.headers.get("Location"),
            authorizations=[self._authorization(url, order.names) for url in body.authorizations],
            csr_pem=order.csr,
        )

    def _authorization(self, url: str, names: Sequence[str]) -> messages.AuthorizationResource:
        """The authorization of one name.

        Names that were not ordered are refused, or the hook would publish for any zone.
        """
        body = messages.Authorization.from_json(self._post(url, None).json())
        name = str(body.identifier.value)
        if name.lower() not in {text.removeprefix("*.") for text in names}:
            raise AcmeFailed(f"{self._url} wants a proof for {_shown(name)}, which was not ordered: it gets none")
        return messages.AuthorizationResource(body=body, uri=url)

    def _post(self, url: str, body: Any) -> requests.Response:
        return self._net.post(url, body, new_nonce_url=self._client.directory["newNonce"])

    def _tells_renewals(self) -> bool:
        return "renewalInfo" in self._client.directory.to_partial_json()

    def _answerable(self, authorization: Any, kind: Challenge) -> tuple[Proof, Any]:
        name = str(authorization.body.identifier.value)
        challenge = next(
            (challenge for challenge in authorization.body.challenges if challenge.chall.typ == kind), None
        )
        if challenge is None:
            offered = (
                ", ".join(sorted(str(challenge.chall.typ)[:20] for challenge in authorization.body.challenges))
                or "nothing"
            )
            raise AcmeFailed(f"the authority does not take {kind} for {name}, only {offered}; see acme.challenge")
        match challenge.chall:
            case challenges.HTTP01() as http:
                proof = Proof(kind, name, http.path.rpartition("/")[2], http.key_authorization(self._key))
            case dns:
                proof = Proof(kind, name, dns.validation_domain_name(name), dns.validation(self._key))
        return proof, challenge

    def _called[T](self, work: Callable[[], T]) -> T:
        """Call `work` and return its result.

        Raises AcmeFailed with a sentence, whatever exception the libraries raise.
        """
        try:
            return work()
        except errors.ConflictError as conflict:
            raise _Known(str(conflict.location)) from conflict
        except errors.ValidationError as failure:
            raise AcmeFailed("; ".join(dict.fromkeys(map(_refused, failure.failed_authzrs)))) from failure
        except errors.TimeoutError as failure:
            raise AcmeFailed(f"{self._url} did not decide in time; the gateway tries again") from failure
        except messages.Error as problem:
            raise AcmeFailed(self._problem(problem), self._adapter.retry_after, _code(problem)) from problem
        except errors.IssuanceError as failure:
            raise AcmeFailed(self._problem(failure.error)) from failure
        except requests.exceptions.SSLError as failure:
            text = f"the HTTPS server of {self._url} is not trusted: {_cause(failure)}; see acme.trust_anchors"
            raise AcmeFailed(text) from failure
        except requests.exceptions.RequestException as failure:
            text = f"{self._url} cannot be reached: {_cause(failure)}; does a firewall allow connections to its port?"
            raise AcmeFailed(text, self._adapter.retry_after) from failure
        except (errors.Error, *_ODD) as failure:
            raise AcmeFailed(self._odd(failure), self._adapter.retry_after) from failure

    def _odd(self, failure: Exception) -> str:
        """Explain an answer that is not in the form of ACME, or that has no reason."""
        status = self._adapter.status
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            return f"{self._url} answers {status}, and does not say why; the gateway tries again"
        if type(failure) is errors.Error:  # the library's word for an order that became invalid
            return f"{self._url} did not issue the certificate, and does not say why; the gateway tries again"
        return f"{self._url} does not answer as an ACME authority does: {type(failure).__name__} {_shown(failure)}"

    def _problem(self, problem: messages.Error) -> str:
        code, said = _code(problem), _shown(problem.detail or problem.title or "")
        parts = [
            f"{_shown(error.identifier.value)}: {_shown(error.detail or '')}"
            for error in (problem.subproblems or ())[:5]
            if error.identifier
        ]
        advice = _ADVICE.get(code, "")
        return f"{self._url} refuses ({code}): {'; '.join([said, *parts])}{advice}"


_ADVICE: Final = {
    "rateLimited": "; the gateway waits until its limit allows more",
    "userActionRequired": "; its terms have changed: read them at the authority",
    "accountDoesNotExist": "; the account is gone: remove it with `gatepost certificate acme forget`",
    "serverInternal": "; the fault is the authority's: the gateway tries again",
    "unsupportedContact": "; see acme.contact",
    "invalidContact": "; see acme.contact",
    "rejectedIdentifier": "; see acme.names",
    "caa": "; see the CAA records of the names",
    "invalidProfile": "; see acme.profile",
}


class _Known(AcmeFailed):
    """There is an account of this key already."""

    def __init__(self, uri: str) -> None:
        super().__init__(f"the authority has that already: {_shown(uri)}")
        self.uri = uri


class _NoHttp(HTTPAdapter):
    def send(self, *_: Any, **__: Any) -> requests.Response:
        raise requests.exceptions.InvalidSchema("it leads to an address that is not https")


def certificate_id(certificate_pem: bytes) -> str:
    """The identifier of a certificate in a renewal (RFC 9773 section 4.1), "" if it lacks the issuer's key id."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    try:
        issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return ""
    serial = max(0, certificate.serial_number)  # RFC 5280 has no negative ones, and authorities may
    octets = serial.to_bytes(serial.bit_length() // 8 + 1)  # with the sign that ASN.1 has
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (issuer or b"", octets))


def _refused(authorization: Any) -> str:
    """Explain why the authority refused one name, and what to check."""
    name = _shown(authorization.body.identifier.value)
    for challenge in authorization.body.challenges:
        if challenge.error is not None:
            code, said = _code(challenge.error), _shown(challenge.error.detail or "")
            where = _to_check(challenge.chall.typ, code, name)
            return f"{name} was not accepted ({code}): {said}; {own(where)}"
    return f"{name} was not accepted, and the authority does not say why"


def _to_check(kind: str, code: str, name: str) -> str:
    """What to check, by challenge and the type of the authority's problem."""
    match kind, code:
        case _, "caa":
            return f"do the CAA records of {name} and of its parent domains allow this authority?"
        case Challenge.HTTP_01, "dns":
            return f"do the nameservers of {name} give everybody an address of this gateway?"
        case Challenge.HTTP_01, _:
            return f"does http://{name}/ lead to acme.http_address of this gateway, from everywhere?"
        case Challenge.DNS_01, _:
            return "does dns_hook publish in the zone that the world sees, and is acme.dns_wait enough?"
        case _:
            return ""


def _code(problem: messages.Error) -> str:
    """The type of a problem, also of one that the library does not know, "error" if it has none."""
    kind = str(problem.typ)
    return _shown(kind.removeprefix(_PROBLEM))[:50] if kind.startswith(_PROBLEM) else "error"


def _cause(failure: BaseException) -> str:
    """The original cause of an exception that libraries wrapped many times."""
    for _ in range(10):
        inner = failure.__cause__ or failure.__context__
        if inner is None:
            break
        failure = inner
    return _shown(getattr(failure, "verify_message", "") or getattr(failure, "strerror", "") or failure)


def _shown(said: object) -> str:
    text = "".join(char if char.isprintable() else " " for char in str(said))
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}…"


def _seconds(retry_after: str) -> float:
    """Of a Retry-After field, 0.0 if there is none that can be read."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        return max(0.0, read_http_date(retry_after) - time.time())
    except (ValueError, OverflowError):
        return 0.0
