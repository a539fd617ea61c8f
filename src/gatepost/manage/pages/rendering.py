"""Render pages: one Jinja environment, one function that renders, one that redirects. Used by every page group.

A handler returns `render(request, "queue/list.html", rows=rows)`. Templates extend `layout.html` (somebody is logged
in) or `bare.html`, and have without import: `ui`, the macros of `macros.html`; `frame`, who asks and where;
`static_url` and `link`; the filters of `manage.pages.text_filters`. Everything is escaped, and a name that is not there
is an error, not an empty text.

Where htmx asks for a part, `block` names the block of the template that is enough. No page needs that: without a script
the same address gives the whole page. It reads no file but its templates and holds nothing of a request.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from starlette.responses import HTMLResponse, RedirectResponse, Response

from gatepost.language import _, language, ngettext, pgettext
from gatepost.manage.pages import signed_cookies
from gatepost.manage.pages.code_labels import event_label, event_level, failure_label, setting_label, shown_label
from gatepost.manage.pages.document_text import reply_help
from gatepost.manage.pages.navigation import NavigationGroup, help_for, navigation
from gatepost.manage.pages.requirement_text import sources_text
from gatepost.manage.pages.signed_cookies import Flash, Undo
from gatepost.manage.pages.static_files import static_url
from gatepost.manage.pages.svg import Series, light_colours, stacked
from gatepost.manage.pages.text_filters import CLOCKED, FILTERS, in_words, remarks, sorts
from gatepost.manage.pages.time_zones import SERVER_ZONE, PageZone, zone_of
from gatepost.manage.pages.trace_story import protection
from gatepost.manage.pages.unicode_domains import with_unicode
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.sentences import in_zone, ours
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jinja2.runtime import Context
    from markupsafe import Markup
    from starlette.requests import Request

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.context import Gateway


_VARY: Final = "HX-Request, HX-Request-Type, Cookie, Accept-Language"
PATIENCE: Final = 0.05
"""Seconds that a part of a page waits for what is worked out behind it; then it asks again by itself."""
LONG_PATIENCE: Final = 10.0
"""The same of a whole page, for who has no script."""
PENDING: Final = "pending"
"""Stands for what is not worked out yet."""
# So many organizations are a list to choose from; of more, one is typed.
MENU: Final = 100


@dataclass(frozen=True, slots=True)
class Frame:
    """Data of `layout.html`, around a page.

    principal: None before somebody logged in. csrf: for forms. organizations: those to choose from. organization: the
    one that was chosen, "" is all of them. said: by the page before. query: of this page. zone: that times are in.
    hostname: of the gateway, for paper.
    """

    path: str
    principal: Principal | None = None
    csrf: str = ""
    organizations: Sequence[str] = ()
    organization: str = ""
    said: Flash | None = None
    query: tuple[tuple[str, str], ...] = ()
    zone: PageZone = SERVER_ZONE
    hostname: str = ""

    @property
    def navigation(self) -> Sequence[NavigationGroup]:
        """The navigation that the principal sees."""
        return navigation(self.principal) if self.principal else ()

    @property
    def help(self) -> str:
        """The address of the document about the page."""
        return help_for(self.path)

    @property
    def has_menu(self) -> bool:
        """Whether organizations are few enough for a list."""
        return len(self.organizations) <= MENU

    def link(self, path: str) -> str:
        """A path that keeps the chosen organization."""
        return link(path, organization=self.organization)

    def here(self, **changes: object) -> str:
        """The same page with some of its query changed: `frame.here(sort="name", page="")`; "" takes one out."""
        names = dict.fromkeys(name for name, _text in self.query if name not in changes)
        kept = {name: [value for key, value in self.query if key == name] for name in names}
        return link(self.path, **kept, **changes)


def link(path: str, **query: object) -> str:
    """A path with a query, without what is None or empty: `link("/trace", to="a@b.example", page=2)`."""
    kept = {name: value for name, value in query.items() if value is not None and value != ""}
    return f"{path}?{urlencode(kept, doseq=True)}" if kept else path


@cache
def environment() -> Environment:
    """The one environment, its templates compiled once and shared by all threads."""
    made = Environment(
        loader=PackageLoader("gatepost.manage.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
        extensions=["jinja2.ext.i18n"],
    )
    made.policies["ext.i18n.trimmed"] = True
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    made.filters.update(FILTERS)
    made.filters.update(
        protection=protection,
        in_words=in_words,
        event_label=event_label,
        event_level=event_level,
        failure=failure_label,
        setting=setting_label,
        sources=sources_text,
        label=shown_label,
        reply_help=reply_help,
        ours=_sentence,
        sorts=sorts,
    )
    made.filters.update({name: _clocked(shown) for name, shown in CLOCKED.items()})
    made.globals.update(static_url=static_url, link=link, picture=_picture, colours=light_colours())
    made.globals.update(language=language, _=_, gettext=_, ngettext=ngettext, pgettext=pgettext)
    return made


def _picture(title: str, labels: Sequence[str], series: Iterable[Sequence[Any]], name: str) -> Markup:
    """A chart as `svg.stacked` draws it. series: name, tone and values of each."""
    return stacked(title, labels, [Series(*part) for part in series], name)


@pass_context
def _sentence(context: Context, text: str) -> str:
    """A sentence of ours in the language and the time zone of the page; in UTC where no page is known."""
    frame = context.get("frame")
    with in_zone(frame.zone.zone if frame else UTC):
        return ours(text)


def _clocked(shown: Callable[[float | None, float, tzinfo], str | Markup]) -> Callable[..., str | Markup]:
    @pass_context
    def filtered(context: Context, seconds: float | None) -> str | Markup:
        return shown(seconds, context["now"], context["frame"].zone.zone)

    return filtered


def render(request: Request, template: str, status: int = 0, *, block: str = "", **context: Any) -> HTMLResponse:
    """A page. status: 0 for 422 where `error` or `errors` of its context says what is wrong, else 200.

    block: the part that is enough where htmx asks for one.
    """
    frame = _frame(request)
    partial = bool(block) and is_partial(request)
    text = _text(frame, template, block if partial else "", context)
    status = status or (422 if context.get("error") or context.get("errors") else 200)
    response = HTMLResponse(text, status, headers={"vary": _VARY, "cache-control": "no-store"})
    if frame.said and not partial:
        signed_cookies.forget(response)
    return response


def fragment(request: Request, template: str, block: str, *, address: str = "", **context: Any) -> str:
    """One block of a template, for who streams: see `event`. address: of the page that it is a part of."""
    frame = _frame(request)
    return _text(replace(frame, path=address or frame.path), template, block, context)


def event(html: str, name: str = "") -> bytes:
    """A server-sent event. htmx puts what has no name into the element with hx-sse:connect; "done" ends `ui.tasks`."""
    head = f"event: {name}\n" if name else ""
    return (head + "".join(f"data: {line}\n" for line in html.splitlines() or [""]) + "\n").encode()


def _text(frame: Frame, template: str, block: str, context: dict[str, Any]) -> str:
    values = {"frame": frame, "now": time.time(), **context}
    values["ui"] = environment().get_template("macros.html").make_module(values)
    wanted = environment().get_template(template)
    text = "".join(wanted.blocks[block](wanted.new_context(values))) if block else wanted.render(values)
    return with_unicode(text)


def is_partial(request: Request) -> bool:
    """Whether htmx asks, and for less than the whole page."""
    return request.headers.get("hx-request") == "true" and request.headers.get("hx-request-type") == "partial"


def see_other(
    request: Request, path: str, said: str = "", level: str = "pass", *, undo: Undo | None = None
) -> Response:
    """After a form: go there with GET, where `said` is shown once. level: pass, info, warn or fail.

    path: within the admin centre, made by us and never by the asker. undo: the way back, shown as a button beside it.
    """
    response: Response
    if request.headers.get("hx-request") == "true":
        response = Response(headers={"hx-redirect": path})
    else:
        response = RedirectResponse(path, 303)
    if said:
        flash, secure = Flash(level, said, undo), request.url.scheme == "https"
        signed_cookies.remember(response, flash, _user(request), secure=secure)
    return response


def see_changed(
    request: Request, path: str, said: str, warnings: Iterable[str] = (), *, undo: Undo | None = None
) -> Response:
    """The same after a change that may have warnings, which follow what is said and make it one."""
    notes = remarks(warnings)
    return see_other(request, path, " ".join([said, *notes]), "warn" if notes else "pass", undo=undo)


def _frame(request: Request) -> Frame:
    principal: Principal | None = getattr(request.state, "principal", None)
    path = "/" + _written(request).lstrip("/")  # "//host" in a link would lead there
    query = tuple(request.query_params.multi_items())
    if principal is None:
        csrf, said = getattr(request.state, "csrf", ""), signed_cookies.read(request.cookies, "")
        return Frame(path, csrf=csrf, said=said, query=query, zone=zone_of(request))
    organizations = _organizations(request, principal)
    gateway: Gateway | None = getattr(request.app.state, "gateway", None)
    chosen = request.query_params.get("organization", "")
    return Frame(
        path,
        principal,
        csrf=getattr(request.state, "csrf", ""),
        organizations=organizations,
        organization=chosen if chosen in organizations else "",
        said=signed_cookies.read(request.cookies, principal.name),
        query=query,
        zone=zone_of(request),
        hostname=gateway.settings.server.hostname if gateway else "",
    )


def _user(request: Request) -> str:
    principal: Principal | None = getattr(request.state, "principal", None)
    return principal.name if principal else ""


def _written(request: Request) -> str:
    """The path as it was asked for, escaped: a name in it may hold a slash, or dots that a browser would resolve."""
    raw: bytes = request.scope.get("raw_path") or quote(request.url.path).encode()
    return raw.decode("ascii", "replace")


def _organizations(request: Request, principal: Principal) -> Sequence[str]:
    if principal.organizations is not None:
        return sorted(principal.organizations)
    gateway: Gateway | None = getattr(request.app.state, "gateway", None)
    if gateway is None:
        return ()
    try:
        return sorted(organization.name for organization in gateway.directory().resources.organizations)
    except Refusal:  # the page itself says so, where it needs them
        return ()
