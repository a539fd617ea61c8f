"""Find connectors, domains, certificates and messages by a text, for the palette of the keyboard (Ctrl K).

`static/keys.js` asks as somebody types, and offers each with the address of its page. A few of each kind, and only what
who asks sees: use cases find them, so that nothing is offered whose page would not open. It keeps nothing.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gatepost.language import _
from gatepost.manage.pages.certificate_view import has_text, label_of
from gatepost.manage.pages.guard import perform, principal_of
from gatepost.manage.pages.resource_paths import connector_path, part_path, trace_path
from gatepost.manage.use_cases.certificate_views import ViewCertificates, view_certificates
from gatepost.manage.use_cases.connector_views import find_connectors
from gatepost.manage.use_cases.connectors import ConnectorSelection
from gatepost.manage.use_cases.name_lookup import DOMAIN
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.resource_views import FindParts, find_parts
from gatepost.manage.use_cases.trace import SearchTrace, search_messages

if TYPE_CHECKING:
    from starlette.requests import Request


type Hit = tuple[str, str, str]
"""A name, the address of its page, and what it is."""

_EACH: Final = 4
_SHORTEST: Final = 2
_LONGEST: Final = 300
_SHOWN: Final = 120  # letters of a name
_QUEUE_ID: Final = re.compile(r"[0-7][0-9A-F]{15}", re.IGNORECASE)
_MESSAGE_ID: Final = re.compile(r"<?([^\s<>*@]+@[^\s<>*@]+)>?")


def _find(request: Request) -> Response:
    text = request.query_params.get("q", "").strip()
    hits: list[Hit] = []
    if _SHORTEST <= len(text) <= _LONGEST:
        with suppress(Refusal):  # a store that cannot be read hides no page of the menu
            hits = [*_connectors(request, text), *_domains(request, text), *_certificates(request, text)]
            hits += _messages(request, text)
    return JSONResponse([(name[:_SHOWN], path, kind) for name, path, kind in hits])


def _connectors(request: Request, text: str) -> list[Hit]:
    rows = perform(request, find_connectors, ConnectorSelection(q=text, limit=_EACH)).rows
    kinds = {"inbound": _("Inbound connector"), "outbound": _("Outbound connector")}
    return [
        (
            row.name,
            connector_path(row.organization, row.direction, row.name),
            f"{kinds[row.direction]}, {row.organization}",
        )
        for row in rows
    ]


def _domains(request: Request, text: str) -> list[Hit]:
    rows = perform(request, find_parts, FindParts(kind=DOMAIN.key, q=text, limit=_EACH)).rows
    return [(part.name, part_path(part), f"{_('Domain')}, {part.organization.name}") for part in rows]


def _certificates(request: Request, text: str) -> list[Hit]:
    if not principal_of(request).is_of_gateway:
        return []
    entries = perform(request, view_certificates, ViewCertificates()).entries
    matches = [entry for entry in entries if has_text(entry, text.lower())]
    return [(label_of(entry), f"/certificates/{entry.id}", _("Certificate")) for entry in matches[:_EACH]]


def _messages(request: Request, text: str) -> list[Hit]:
    """Messages of which the text is the whole queue id or Message-ID."""
    if _QUEUE_ID.fullmatch(text):
        search = SearchTrace(message=text.upper(), limit=_EACH)
    elif match := _MESSAGE_ID.fullmatch(text):
        search = SearchTrace(message_id=f"<{match[1]}>", limit=_EACH)
    else:
        return []
    items = perform(request, search_messages, search).items
    return [(item.events[0].subject or text, trace_path(item.message or item.session), _("Message")) for item in items]


ROUTES = [Route("/find", _find)]
