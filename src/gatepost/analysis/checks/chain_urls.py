"""Fetch from the addresses that a certificate names: its CRLs, its OCSP responders, its issuer's certificate.

Used by `analysis.checks.chain`. Each address is asked anew, within its time, and nothing is kept: it is what is
checked. A gateway's own questions go through `net.lookups.revocation`; what is read here is read by the same code
(`net.revocation`).
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import msgspec

from gatepost.analysis.checks.chain_facts import Kind, Link, UrlResult, UrlStatus
from gatepost.analysis.checks.chain_file import ChainFileError, parse_file
from gatepost.net import revocation
from gatepost.net.certificate import MAX_CERTIFICATE_BYTES, parse, quietly
from gatepost.net.lookups.http import HttpClient, HttpFailed, HttpRequest, HttpResponse
from gatepost.net.path import issued
from gatepost.times import second_text
from gatepost.values import replace

_AT_A_TIME: Final = 6
_OK: Final = 200
_READINGS: Final = 1  # to read a list takes four times its size
_ACCEPT: Final = {
    Kind.CRL: "application/pkix-crl, */*",
    Kind.OCSP: "application/ocsp-response",
    Kind.ISSUER: "application/pkix-cert, application/pkcs7-mime, */*",
}
_LIMIT: Final = {
    Kind.CRL: revocation.MAX_LIST_BYTES,
    Kind.OCSP: revocation.MAX_RESPONSE_BYTES,
    Kind.ISSUER: 16 * MAX_CERTIFICATE_BYTES,
}


class Question(msgspec.Struct, frozen=True):
    """About which certificate, issued by whom (None: not known), whether private addresses may be called, and when."""

    link: Link
    issuer: Link | None
    private: bool
    now: float


class UrlChecker:
    """timeout: seconds for one address."""

    def __init__(self, client: HttpClient, timeout: float) -> None:
        self._client = client
        self._timeout = timeout
        self._slots = asyncio.Semaphore(_AT_A_TIME)
        self._readings = asyncio.Semaphore(_READINGS)

    async def ask(self, kind: Kind, url: str, question: Question, end: float) -> UrlResult:
        """Request one address, before the event loop's time `end`. Never raises."""
        if question.issuer is None and kind is not Kind.ISSUER:
            why = "not asked: the issuer is not known, so that no signature could be verified"
            return UrlResult(kind, url, UrlStatus.SKIPPED, why)
        begun = time.monotonic()
        try:
            async with asyncio.timeout_at(end), self._slots:
                begun = time.monotonic()
                return await self._ask(kind, url, question, begun)
        except TimeoutError:
            return UrlResult(kind, url, UrlStatus.UNREACHABLE, "no time was left for it", time.monotonic() - begun)

    async def _ask(self, kind: Kind, url: str, question: Question, begun: float) -> UrlResult:
        try:
            request = self._request(kind, url, question)
            fetched = await self._client.fetch(request)
        except revocation.RevocationError as failed:
            return UrlResult(kind, url, UrlStatus.WRONG, str(failed))
        except HttpFailed as failed:
            detail = failed.detail.removeprefix(url).lstrip(": ")
            return UrlResult(kind, url, _result(failed), detail, time.monotonic() - begun, status=failed.status)
        answer = UrlResult(kind, url, UrlStatus.GOOD, "", time.monotonic() - begun, len(fetched.body), status=_OK)
        if kind is Kind.ISSUER:
            return _issuer(answer, fetched, question)
        return await self._status(answer, fetched, question)

    def _request(self, kind: Kind, url: str, question: Question) -> HttpRequest:
        body, content_type = b"", ""
        if kind is Kind.OCSP and question.issuer is not None:
            body = revocation.ocsp_request(parse(question.link.der), parse(question.issuer.der))
            content_type = "application/ocsp-request"
        return HttpRequest(
            url,
            _LIMIT[kind],
            self._timeout,
            body=body,
            content_type=content_type,
            accept=_ACCEPT[kind],
            private=question.private,
        )

    async def _status(self, answer: UrlResult, fetched: HttpResponse, question: Question) -> UrlResult:
        assert question.issuer is not None  # noqa: S101 - `ask` has seen to it
        certificate, issuer = parse(question.link.der), parse(question.issuer.der)
        since = until = 0.0
        try:
            if answer.kind is Kind.CRL:
                async with self._readings:
                    revocation_list = await asyncio.to_thread(revocation.read_list, fetched.body, issuer)
                since, until = revocation_list.this_update, revocation_list.next_update
                with quietly():
                    status = revocation_list.status_of(certificate, question.now)
            else:
                status = revocation.read_response(fetched.body, certificate, issuer, question.now)
                since, until = status.since, status.until
        except revocation.RevocationError as failed:
            result, detail = UrlStatus.WRONG, _page(fetched) or str(failed)
        else:
            result, detail = _said(status)
        return replace(answer, result=result, detail=detail, since=since, until=until)


def _result(failed: HttpFailed) -> UrlStatus:
    if failed.forbidden:
        return UrlStatus.FORBIDDEN
    return UrlStatus.UNREACHABLE if failed.temporary else UrlStatus.WRONG


def _said(standing: revocation.RevocationStatus) -> tuple[UrlStatus, str]:
    match standing.status:
        case "good":
            return UrlStatus.GOOD, ""
        case "unknown":
            return UrlStatus.WRONG, "the responder does not know the certificate"
        case "revoked":
            when = f" on {second_text(standing.revoked)}" if standing.revoked else ""
            reason = f", reason {standing.reason}" if standing.reason else ""
            return UrlStatus.REVOKED, f"revoked{when}{reason}"


def _page(fetched: HttpResponse) -> str:
    """Say that a proxy or a parked name answered with a page for people; "" if the answer is something else."""
    is_page = "html" in fetched.content_type or fetched.body.lstrip()[:1] == b"<"
    return "the answer is a web page: of a proxy on the way, or the name has changed hands" if is_page else ""


def _issuer(answer: UrlResult, fetched: HttpResponse, question: Question) -> UrlResult:
    """Whether what was fetched is the issuer's certificate; of several the one that is."""
    try:
        certificates = parse_file(fetched.body, answer.url).certificates
    except ChainFileError as failed:
        detail = _page(fetched) or str(failed).removeprefix(f"{answer.url}: ").partition(";")[0]
        return replace(answer, result=UrlStatus.WRONG, detail=detail)
    with quietly():
        below = parse(question.link.der)
        fitting = tuple(der for der in certificates if issued(below, parse(der)))
    if not fitting:
        detail = "what is there did not issue the certificate"
        return replace(answer, result=UrlStatus.WRONG, detail=detail)
    return replace(answer, certificates=fitting)
