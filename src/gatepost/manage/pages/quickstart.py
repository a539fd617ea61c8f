"""The first page of a new owner: the questions of `gatepost quickstart`, what they make, and what is left to do.

The settings file belongs to root: where the answers differ from it, the page shows the lines to write there. Once there
is an organization, the page only shows the checks, the certificate, the DNS records and the next steps.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.pages.account_forms import Form, field_errors
from gatepost.manage.pages.certificate_view import LEVELS, label_of, life
from gatepost.manage.pages.guard import context_of, own_organizations, perform
from gatepost.manage.pages.login import demand_owner
from gatepost.manage.pages.rendering import render, see_other
from gatepost.manage.use_cases.certificate_views import ViewCertificates, view_certificates
from gatepost.manage.use_cases.doctor import Examination, ExamineGateway, examine_gateway
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.first_setup import MASTER_KEY, FirstSetup, set_up_gateway
from gatepost.manage.use_cases.publication import FindPublications, find_publications
from gatepost.manage.use_cases.quickstart import MAILBOXES, FirstAnswers, dmarc_line
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.request_values import limits
from gatepost.pki.certificates.entry import Entry, Purpose, State
from gatepost.settings.model import DnsValidation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response


PATH: Final = "/quickstart"
_BETWEEN: Final = re.compile(r"[,\s]+")
_DOMAINS: Final = 3
_CERTIFICATES: Final = 5


class NextStep(NamedTuple):
    """A step after the set-up."""

    text: str
    path: str
    why: str


def _quickstart(request: Request) -> Response:
    demand_owner(request)
    if request.method == "POST":
        return _answered(request, request.state.form)
    if own_organizations(request):
        return _report(request)
    return _questions(request, _known(request))


def _known(request: Request) -> FirstAnswers:
    """The answers that the settings have already."""
    settings = context_of(request).settings
    is_local = settings.dns.validation is DnsValidation.LOCAL
    return FirstAnswers(
        hostname=settings.server.hostname,
        upstream=MAILBOXES,
        nameservers=[] if is_local else list(settings.dns.nameservers),
    )


def _answers_in(form: Form) -> FirstAnswers:
    lists = {
        name: [text for text in _BETWEEN.split(form.get(name, "")) if text]
        for name in ("domains", "own_servers", "nameservers")
    }
    return FirstAnswers(hostname=form.get("hostname", "").strip(), upstream=form.get("upstream", "").strip(), **lists)


def _answered(request: Request, form: Form) -> Response:
    """The step after the one that the form is of. Only "make" changes something."""
    answers, step = _answers_in(form), form.get("do", "")
    if step == "back":
        return _questions(request, answers)
    makes = step == "make"
    try:
        setup = execute(set_up_gateway, context_of(request, dry_run=not makes), answers)
    except Refusal as refusal:
        if refusal.kind is RefusalKind.CONFLICT:  # somebody was quicker, or the form was sent twice
            return see_other(request, PATH, _("The gateway is set up already. Nothing was changed."), "info")
        return _questions(request, answers, field_errors(refusal))
    if makes:
        return _report(request, setup)
    return render(request, "overview/quickstart_review.html", answers=answers, setup=setup, master_key=MASTER_KEY)


def _questions(request: Request, answers: FirstAnswers, errors: dict[str, str] | None = None) -> Response:
    template, most = "overview/quickstart.html", limits(FirstAnswers)
    return render(request, template, answers=answers, errors=errors or {}, limits=most)


def _report(request: Request, setup: FirstSetup | None = None) -> Response:
    """The state of a gateway that is set up. setup: what was just made."""
    context, now = context_of(request), time.time()
    page = execute(find_publications, context, FindPublications(limit=_DOMAINS))
    zones = [
        (view.publication.domain, "\n".join((view.publication.zone, dmarc_line(view.publication.domain))))
        for view in page.rows
    ]
    certificates = _server_certificates(request)
    return render(
        request,
        "overview/quickstart_report.html",
        setup=setup,
        master_key=MASTER_KEY,
        examined=_examined(request),
        certificates=[(entry, label_of(entry), life(entry, now)) for entry in certificates[:_CERTIFICATES]],
        levels=LEVELS,
        zones=zones,
        more=page.total - len(zones),
        steps=next_steps(certificates),
    )


def _examined(request: Request) -> Examination | None:
    """What doctor says without the network; None if it cannot be told now."""
    try:
        return perform(request, examine_gateway, ExamineGateway(offline=True))
    except Refusal:
        return None


def _server_certificates(request: Request) -> Sequence[Entry]:
    entries = perform(request, view_certificates, ViewCertificates()).entries
    return [
        entry for entry in entries if entry.purpose is Purpose.SERVER and entry.state in {State.CURRENT, State.NEXT}
    ]


def next_steps(certificates: Sequence[Entry]) -> tuple[NextStep, ...]:
    """The next three steps of a gateway with these server certificates."""
    publish = NextStep(
        _("Publish the DNS records"), "/domains/publish", _("Mail comes in once they are there. The page checks them.")
    )
    partner = NextStep(
        _("Force TLS with a first partner"), "/connectors/new", _("Validated and rehearsed before mail depends on it.")
    )
    if any(entry.leaf.issuer != entry.leaf.subject for entry in certificates):
        second = NextStep(
            _("Examine the gateway with the DNS"), "/doctor?network=1", _("Name, resolver and DNS records.")
        )
    else:
        second = NextStep(
            _("Get a certificate that others trust"),
            "/certificates/requests/new",
            _(
                "Partners that check certificates deliver only to one."
                " For Let's Encrypt write [acme] into the settings."
            ),
        )
    return publish, second, partner


ROUTES = [Route(PATH, _quickstart, methods=["GET", "POST"])]
