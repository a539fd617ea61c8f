"""Which addresses of the admin centre and of REST are measured, for each of their routes, and which are not, and why.

`bench/admin_pages.py` and the test of page sizes ask them; `unmeasured` finds a route that nobody thought of.
Places in braces are filled with the names of `bench/admin_world.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Route

_IN, _OUT = "/connectors/contoso/inbound/{inbound}", "/connectors/contoso/outbound/{outbound}"
_NEW = (
    "/connectors/new?organization=contoso&scenario=to-partner&name=fresh&use=domains&recipient_domains=d3.example"
    "&routing=mx&tls_settings=certificate-validation&done=scenario%2Cname%2Cuse%2Crouting%2Csecurity%2Ccheck"
)
PAGES: dict[str, tuple[str, ...]] = {
    "/": ("/", "/?organization=tenant7"),
    "/overview/flows": ("/overview/flows",),
    "/explain": ("/explain", "/explain?message={message}"),
    "/check": ("/check",),
    "/check/host": ("/check/host",),
    "/domains/publish": ("/domains/publish",),
    "/domains/{name}/publish": ("/domains/{domain}/publish",),
    "/connectors": (
        "/connectors", "/connectors?page={deep}", "/connectors?q=d77", "/connectors?status=rehearsal",
        "/connectors?verdicts=yes", "/connectors?sort=-requires", "/connectors?sort=-validated",
        "/connectors?sort=-verdicts&verdicts=yes",
    ),
    "/connectors/new": ("/connectors/new", "/connectors/new?organization=contoso", f"{_NEW}&step=security",
                        f"{_NEW}&step=save", f"{_NEW}&step=save&part=effects"),
    "/domains": ("/domains", "/domains?organization=contoso"),
    "/domains/new": ("/domains/new",),
    "/domains/view/{organization}/{name:path}": ("/domains/view/contoso/{domain}",
                                                 "/domains/view/contoso/{domain}?part=changes"),
    "/domains/edit/{organization}/{name:path}": ("/domains/edit/contoso/{domain}",),
    "/mailboxes": ("/mailboxes", "/mailboxes?page={deep}", "/mailboxes?q=user77"),
    "/mailboxes/new": ("/mailboxes/new",),
    "/mailboxes/view/{organization}/{name:path}": ("/mailboxes/view/contoso/{mailbox}",),
    "/mailboxes/edit/{organization}/{name:path}": ("/mailboxes/edit/contoso/{mailbox}",),
    "/rules": ("/rules",),
    "/rules/new": ("/rules/new",),
    "/rules/view/{organization}/{name:path}": ("/rules/view/contoso/{rule}",),
    "/rules/edit/{organization}/{name:path}": ("/rules/edit/contoso/{rule}",),
    "/hooks": ("/hooks",),
    "/hooks/new": ("/hooks/new",),
    "/issuers": ("/issuers",),
    "/issuers/new": ("/issuers/new",),
    "/dkim": ("/dkim", "/dkim?sort=-private", "/dkim?q=contoso", "/dkim?organization=contoso"),
    "/dkim/new": ("/dkim/new", "/dkim/new?organization=contoso"),
    "/connectors/edit/{organization}/inbound/{name:path}": ("/connectors/edit/contoso/inbound/{inbound}",),
    "/connectors/edit/{organization}/outbound/{name:path}": ("/connectors/edit/contoso/outbound/{outbound}",),
    "/connectors/{organization}/inbound/{name:path}": (_IN, f"{_IN}?part=mail", f"{_IN}?part=report"),
    "/connectors/{organization}/outbound/{name:path}": (
        _OUT, f"{_OUT}?part=mail", f"{_OUT}?part=changes", f"{_OUT}?part=report",
        "/connectors/contoso/outbound/{rehearsed}?part=report", "/connectors/contoso/outbound/{off}?part=report",
    ),
    "/alarms": ("/alarms",),
    "/drills": ("/drills",),
    "/find": ("/find?q=d77", "/find?q={message}", "/find?q=nobody%40x.example"),
    "/limits": ("/limits",),
    "/quarantine": ("/quarantine", "/quarantine?subject=offer", "/quarantine?sort=subject"),
    "/queue": ("/queue", "/queue?state=held", "/queue?domain=d77.example", "/queue?sender=nobody@own3.example",
               "/queue?recipient=@d77.example", "/queue?state=active"),
    "/queue/destinations": ("/queue/destinations",),
    "/queue/{message}": ("/queue/{queued}",),
    "/trace": (
        "/trace", "/trace?since=all", "/trace?q=user17%40contoso.example", "/trace?q=nobody%40x.example",
        "/trace?q=d4990.example", "/trace?q=nowhere.example&since=all", "/trace?q=user17%40contoso.example&since=all",
        "/trace?q=nobody%40x.example&since=all", "/trace?sender=user17%40contoso.example&since=all",
        "/trace?sender=nobody%40x.example&since=all", "/trace?recipient=p77%40d40.example&since=all",
        "/trace?recipient=nobody%40x.example&since=all", "/trace?recipient=%40d4990.example&since=all",
        "/trace?achieved=none&since=all", "/trace?connector=rare&since=all", "/trace?event=EXPIRE&since=all",
        "/trace?result_type=certificate-expired&since=all", "/trace?peer=192.0.2.9&since=all",
        "/trace?session={session}", "/trace?message_id=%3C4242%40contoso.example%3E",
        "/trace?tls_group=ffdhe2048&since=all", "/trace?organization=tenant7&since=all",
        "/trace?sort=subject&since=all", "/trace?sort=-size&sender=user17%40contoso.example&since=all",
    ),
    "/trace/{message}/evidence": ("/trace/{message}/evidence",),
    "/trace/{identity:path}": ("/trace/{message}", "/trace/{late}"),
    "/certificates/changeover": ("/certificates/changeover",),
    "/certificates/{number}/changeover": ("/certificates/{next}/changeover",),
    "/certificates/{number}/notice": ("/certificates/{next}/notice",),
    "/certificates/add": ("/certificates/add",),
    "/certificates/requests/new": ("/certificates/requests/new",),
    "/certificates": ("/certificates", "/certificates?page=5", "/certificates?q=mx7", "/certificates?state=retired"),
    "/certificates/clients": ("/certificates/clients",),
    "/certificates/requests": ("/certificates/requests",),
    "/certificates/acme": ("/certificates/acme",),
    "/certificates/table": ("/certificates/table",),
    "/certificates/history": ("/certificates/history",),
    "/certificates/{number}": ("/certificates/{certificate}",),
    "/organizations": ("/organizations",),
    "/organizations/new": ("/organizations/new",),
    "/organizations/view/{name}": ("/organizations/view/contoso",),
    "/organizations/edit/{name}": ("/organizations/edit/contoso",),
    "/history": ("/history", "/history?organization=contoso", "/history?before={before}", "/history?sort=change"),
    "/history/{version}": ("/history/{applied}", "/history/{version}"),
    "/history/{version}/revert": ("/history/{version}/revert",),
    "/connectors/trust/{organization}/{name:path}": ("/connectors/trust/contoso/{outbound}",),
    "/account": ("/account",),
    "/audit": ("/audit", "/audit?who=user77", "/audit?action=user-set", "/audit?outcome=refused", "/audit?who=nobody",
               "/audit?organization=tenant7", "/audit?until=1d", "/audit?sort=subject"),
    "/audit/events/{number}": ("/audit/events/{event}",),
    "/audit/versions/{number}": ("/audit/versions/{applied}", "/audit/versions/{version}"),
    "/confirm": ("/confirm",),
    "/tokens": ("/tokens", "/tokens?q=token77"),
    "/tokens/-/add": ("/tokens/-/add",),
    "/tokens/{name}/remove": ("/tokens/{token}/remove",),
    "/users": ("/users", "/users?page=10"),
    "/users/-/add": ("/users/-/add",),
    "/users/{name}": ("/users/{user}", "/users/owner"),
    "/users/{name}/remove": ("/users/{user}/remove", "/users/owner/remove"),
    "/reports": ("/reports",),
    "/reports/incoming": ("/reports/incoming",),
    "/reports/partners": ("/reports/partners",),
    "/reports/key-exchange": ("/reports/key-exchange",),
    "/reports/connectors": ("/reports/connectors", "/reports/connectors?sort=connectors.name"),
    "/reports/domains": ("/reports/domains", "/reports/domains?sort=heat.1"),
    "/reports/blocked": ("/reports/blocked",),
    "/reports/print": ("/reports/print",),
    "/reports/tls-rpt": ("/reports/tls-rpt",),
    "/reports/evidence": ("/reports/evidence",),
    "/docs": ("/docs",),
    "/docs/{name}": ("/docs/monitoring", "/docs/settings"),
    "/docs/search": ("/docs/search", "/docs/search?q=smart+host"),
    "/docs/pictures/{name}": ("/docs/pictures/overview.png",),
    "/login": ("/login",),
    "/setup": ("/setup",),
    "/static/{version}/{name:path}": ("/static/-/gatepost.css",),
}  # fmt: skip
"""The pages of a route, by its path: the page itself, and what of it costs more."""

FORMS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/queue/confirm", {"action": "hold", "which": "all"}),
    ("/queue/confirm", {"action": "drop", "which": "all", "domain": "d77.example"}),
    ("/explain", {"sender": "ann@own1.example", "recipient": "bob@d77.example"}),
    (
        "/connectors/edit/contoso/outbound/{outbound}",
        {"do": "preview", "was": "", "name": "", "recipient_domains": "d3.example", "tls_settings": "encryption-only"},
    ),
)
"""Forms whose answer is a page, and which change nothing. Fields without a text are filled in as the page has them."""

NOT_MEASURED: dict[str, str] = {
    "/check/run/{run}": "the page of a check that runs: what partners and the DNS take is not ours",
    "/check/run/{run}/events": "a stream, as long as the check runs",
    "/check/run/{run}/report": "as the page of a run, whose report it is",
    "/drills/{name}": "one drill, without any list",
    "/doctor": "waits for the disk, to see how long it takes",
    "/quickstart": "as /doctor, whose checks it shows",
    "/domains/{name}/publish/sight": "asks the DNS",
    "/connectors/run/{run}/events": "a stream, as long as the validation runs",
    "/connectors/validations/{run}": "there while a validation of many runs, and an hour longer",
    "/connectors/validations/{run}/events": "a stream, as long as the validation runs",
    "/hooks/view/{organization}/{name:path}": "the page of /rules/view, of another kind",
    "/hooks/edit/{organization}/{name:path}": "the page of /rules/edit, of another kind",
    "/issuers/view/{organization}/{name:path}": "the page of /rules/view, of another kind",
    "/issuers/edit/{organization}/{name:path}": "the page of /rules/edit, of another kind",
    "/dkim/view/{organization}/{name:path}": "asks the DNS",
    "/certificates/{number}/presented": "asks the listeners over the network",
    "/certificates/{number}/gates": "a stream, as long as the world is looked at",
    "/certificates/requests/{number}": "one request, without any list",
    "/quarantine/{message}": "one message, without any list",
    "/login/issuer": "goes to the issuer of the settings",
    "/login/issuer/answer": "comes from the issuer of the settings",
    "/login/unsent": "answers in place of a form of an earlier session",
    "/reports/t/{organization}/{domain}/{day}": "an address that leads to the trace",
    "/reports/evidence/export": "a file",
}
"""Routes that GET has, and why they are not among PAGES."""

FILES = (
    "/connectors?format=csv", "/connectors?format=json", "/mailboxes?format=csv", "/queue?format=csv",
    "/queue/destinations?format=csv", "/trace?format=csv&since=all", "/trace?format=json&since=all",
    "/audit?format=csv", "/users?format=csv", "/certificates?format=csv", "/history?format=csv",
    "/reports/partners?table=partners&format=csv",
)  # fmt: skip
"""Tables as files: long, and so streamed within a bound of memory."""

CALLS = (
    "/api/v1/openapi.json", "/api/v1/resources", "/api/v1/organizations", "/api/v1/organizations/contoso",
    "/api/v1/connectors", "/api/v1/connectors?limit=1000", "/api/v1/status",
    "/api/v1/organizations/contoso/mailboxes?limit=1000",
    "/api/v1/organizations/contoso/outbound_connectors?limit=1000",
    "/api/v1/organizations/contoso/outbound_connectors/{outbound}", "/api/v1/rehearsal?name={outbound}",
    "/api/v1/queue", "/api/v1/queue?limit=1000", "/api/v1/queue/{queued}", "/api/v1/trace", "/api/v1/trace?limit=1000",
    "/api/v1/trace?address=nobody%40x.example", "/api/v1/history?limit=100", "/api/v1/history/{version}",
    "/api/v1/audit/events?limit=1000", "/api/v1/users?limit=1000", "/api/v1/tokens?limit=1000",
    "/api/v1/certificates?limit=1000", "/api/v1/reports/tls", "/api/v1/reports/connectors",
)  # fmt: skip
"""Calls of REST at this size: as large as what is asked for."""


def unmeasured(routes: Iterable[BaseRoute]) -> list[str]:
    """Paths that GET has and that are neither measured nor said to be beyond it, and what is said of no route."""
    gets = {one.path for one in routes if isinstance(one, Route) and "GET" in (one.methods or ())}
    return sorted(gets ^ (PAGES.keys() | NOT_MEASURED.keys())) + sorted(PAGES.keys() & NOT_MEASURED.keys())
