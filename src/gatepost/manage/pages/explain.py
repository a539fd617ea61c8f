"""The page that simulates a message and explains each decision; or re-evaluates one of the trace.

A question is an address that can be passed on, but for a certificate, which is sent by a form, and for the look at the
next hops, which a link must not set off.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.pages.account_forms import by_field
from gatepost.manage.pages.certificate_forms import public_part
from gatepost.manage.pages.explain_story import story
from gatepost.manage.pages.guard import perform
from gatepost.manage.pages.rendering import link, render
from gatepost.manage.use_cases.explain import VERSIONS, ExplainMessage, explain_to_page
from gatepost.manage.use_cases.explain_past import ExplainAgain, PastDecision, explain_again
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.protocols.message.fields import unfolded
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response


_PATH: Final = "/explain"
_FIELDS: Final = ("sender", "recipient", "ip", "tls", "headers", "requiretls")
# what administration calls a field, as the form calls it
_MOST_LINK: Final = 4000  # programs cut off longer ones
_NAMES: Final = {"from": "sender", "to": "recipient", "header": "headers"}


class _Form(NamedTuple):
    """As it was filled in."""

    sender: str = ""
    recipient: str = ""
    ip: str = ""
    tls: str = ""
    headers: str = ""
    requiretls: bool = False
    certificate: str = ""
    live: bool = False

    @property
    def question(self) -> ExplainMessage:
        return copy_fields(ExplainMessage, self, to=self.recipient, header=unfolded(self.headers))

    @property
    def command(self) -> str:
        """The same request as a command."""
        words = ["gatepost", "explain", "--from", self.sender or "<>", "--to", self.recipient]
        for option, value in (("--ip", self.ip), ("--tls", self.tls)):
            words += [option, value] if value else []
        words += ["--certificate", "client.pem"] if self.certificate else []
        for line in self.question.header:
            words += ["--header", line]
        words += ["--requiretls"] if self.requiretls else []
        return shlex.join([*words, *(["--live"] if self.live else [])])

    def link(self, organization: str) -> str:
        """The address of the page, without what an address must not hold; "" if it is too long for one."""
        kept = {name: getattr(self, name) for name in _FIELDS if name != "requiretls"}
        flag = "on" if self.requiretls else ""
        made = link(_PATH, **kept, requiretls=flag, organization=organization)
        return made if len(made) <= _MOST_LINK else ""


def _explain(request: Request) -> Response:
    if request.method == "POST":
        return _answered(request, _read(request.state.form, sent=True))
    if identity := request.query_params.get("message", "").strip():
        return _again(request, identity, request.query_params.get("recipient", ""))
    form = _read(request.query_params, sent=False)
    if not form.sender and not form.recipient:
        return _page(request, form)
    return _answered(request, form)


def _read(given: Mapping[str, str], *, sent: bool) -> _Form:
    texts = {name: given.get(name, "").strip() for name in ("sender", "recipient", "ip", "tls", "headers")}
    return _Form(
        **texts,
        requiretls=given.get("requiretls", "") == "on",
        certificate=given.get("certificate", "").strip() if sent else "",
        live=sent and given.get("live", "") == "on",
    )


def _answered(request: Request, form: _Form) -> Response:
    try:
        answer = perform(request, explain_to_page, form.question)
    except Refusal as refusal:
        if refusal.kind in {RefusalKind.FORBIDDEN, RefusalKind.UNREADABLE}:
            raise
        errors = {_NAMES.get(path, path): text for path, text in by_field(refusal).items()}
        return _page(request, form, errors=errors)
    return _page(request, form, answer=answer, story=story(answer))


def _again(request: Request, identity: str, recipient: str) -> Response:
    """The question for a message of the trace, with what was decided then."""
    again = ExplainAgain(message=identity, recipient=recipient)
    past, answer, differences = perform(request, explain_again, again)
    form = _as_form(past)
    return _page(request, form, answer=answer, story=story(answer), past=past, differences=differences)


def _as_form(past: PastDecision) -> _Form:
    question = past.question
    real = question.session
    return _Form(
        question.sender,
        question.recipient,
        real.peer_ip if real is not None else "",
        (real.tls.version if real.tls else "none") if real is not None else "",
        "\n".join(question.headers),
        requiretls=question.require_tls,
    )


def _page(request: Request, form: _Form, **found: Any) -> Response:
    organization = request.query_params.get("organization", "")
    context: dict[str, Any] = {"errors": {}, "answer": None, "story": None, "past": None, "differences": ()}
    shown = context | found
    return render(
        request,
        "explain/explain.html",
        form=form._replace(certificate=public_part(form.certificate)),
        versions=[("", _("Automatic")), *((version, version) for version in VERSIONS[:-1]), ("none", _("Unencrypted"))],
        share=str(request.base_url).rstrip("/") + path if shown["answer"] and (path := form.link(organization)) else "",
        command=form.command if shown["answer"] else "",
        **shown,
    )


ROUTES = [Route(_PATH, _explain, methods=["GET", "POST"])]
