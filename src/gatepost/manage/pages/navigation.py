"""The navigation of every page, the part of it that a principal sees, and the document about each page. Pure.

`manage.pages.rendering` hands it to `layout.html`. A new page group adds its entry here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gatepost.manage.access.principal import Principal, Scope
from gatepost.texts import N_


class NavigationEntry(NamedTuple):
    """A link. icon: of icons.svg. of_gateway: there for those who see the whole gateway. scope: what it asks for."""

    text: str
    path: str
    icon: str = ""
    of_gateway: bool = False
    scope: Scope = Scope.READ

    def is_current(self, path: str) -> bool:
        """Whether a page at `path` belongs to it."""
        return path == self.path or (self.path != "/" and path.startswith(f"{self.path}/"))


class NavigationGroup(NamedTuple):
    """Links under a heading; "" is none."""

    heading: str
    entries: tuple[NavigationEntry, ...]


NAVIGATION: Final[tuple[NavigationGroup, ...]] = (
    NavigationGroup("", (NavigationEntry(N_("Overview"), "/", "overview"),)),
    NavigationGroup(
        N_("Mail flow"),
        (
            NavigationEntry(N_("Connectors"), "/connectors", "flow"),
            NavigationEntry(N_("Mail flow rules"), "/rules", "trace"),
            NavigationEntry(N_("Domains"), "/domains", "organization"),
            NavigationEntry(N_("Mailboxes"), "/mailboxes", "archive"),
            NavigationEntry(N_("DKIM keys"), "/dkim", "lock"),
            NavigationEntry(N_("Organizations"), "/organizations", "gear"),
            NavigationEntry(N_("Explain"), "/explain", "info"),
            NavigationEntry(N_("Check partner"), "/check", "verified"),
            NavigationEntry(N_("Drills"), "/drills", "check"),
        ),
    ),
    NavigationGroup(
        N_("Operation"),
        (
            NavigationEntry(N_("Certificates"), "/certificates", "certificate", of_gateway=True),
            NavigationEntry(N_("Queue"), "/queue", "queue"),
            NavigationEntry(N_("Quarantine"), "/quarantine", "hold"),
            NavigationEntry(N_("Sending limits"), "/limits", "clock"),
            NavigationEntry(N_("Message trace"), "/trace", "search"),
            NavigationEntry(N_("Reports"), "/reports", "report"),
            NavigationEntry(N_("Alarms"), "/alarms", "alarm"),
            NavigationEntry(N_("Doctor"), "/doctor", "check", of_gateway=True),
        ),
    ),
    NavigationGroup(
        N_("Administration"),
        (
            NavigationEntry(N_("Users"), "/users", "user", of_gateway=True, scope=Scope.OWNER),
            NavigationEntry(N_("API tokens"), "/tokens", "lock", of_gateway=True, scope=Scope.OWNER),
            NavigationEntry(N_("History"), "/history", "retry"),
            NavigationEntry(N_("Audit log"), "/audit", "clock"),
        ),
    ),
)


def navigation(principal: Principal) -> Sequence[NavigationGroup]:
    """The navigation that a principal sees, without empty groups."""
    shown = (
        NavigationGroup(group.heading, tuple(entry for entry in group.entries if _sees(principal, entry)))
        for group in NAVIGATION
    )
    return tuple(group for group in shown if group.entries)


def _sees(principal: Principal, entry: NavigationEntry) -> bool:
    if entry.of_gateway and not principal.is_of_gateway:
        return False
    return entry.scope in principal.scopes or Scope.OWNER in principal.scopes


HELP: Final[dict[str, str]] = {
    "/": "/docs/admin-centre#the-first-page-and-alarms",
    "/account": "/docs/admin-centre#passwords-and-sessions",
    "/account/passkeys": "/docs/admin-centre#passkeys",
    "/alarms": "/docs/monitoring#alarms",
    "/audit": "/docs/admin-centre#audit-log",
    "/certificates": "/docs/certificates#the-inventory",
    "/certificates/acme": "/docs/acme",
    "/certificates/add": "/docs/certificates#adding-a-certificate",
    "/certificates/changeover": "/docs/changeover",
    "/certificates/clients": "/docs/certificates#client-certificates",
    "/certificates/requests": "/docs/certificates#requests",
    "/certificates/table": "/docs/certificates#publish-the-certificate-page",
    "/check": "/docs/check#how-to-read-the-output",
    "/connectors": "/docs/admin-centre#connectors-and-other-resources",
    "/connectors/new": "/docs/forced-tls",
    "/dkim": "/docs/dkim#keys",
    "/docs": "/docs",
    "/doctor": "/docs/doctor",
    "/domains": "/docs/domains",
    "/drills": "/docs/drill",
    "/explain": "/docs/explain",
    "/history": "/docs/admin-centre#audit-log",
    "/hooks": "/docs/content-hooks",
    "/issuers": "/docs/submission#access-tokens",
    "/limits": "/docs/sending-limits#a-user-or-your-own-server",
    "/mailboxes": "/docs/mailboxes",
    "/organizations": "/docs/resources#organizationname",
    "/quarantine": "/docs/quarantine#review",
    "/quickstart": "/docs/install#quickstart",
    "/queue": "/docs/admin-centre#queue",
    "/queue/destinations": "/docs/destinations",
    "/reports": "/docs/reports",
    "/reports/domains": "/docs/tls-reporting",
    "/reports/evidence": "/docs/evidence#what-an-auditor-does",
    "/rules": "/docs/mail-flow#mail-flow-rules",
    "/tokens": "/docs/admin-centre#api-tokens",
    "/trace": "/docs/trace",
    "/users": "/docs/admin-centre#users-roles-tokens",
}
"""By the beginning of a page's path; the longest one counts."""


def help_for(path: str) -> str:
    """The address of the document about a page, the start page of the documents if there is none."""
    parts = path.strip("/").split("/")
    beginnings = ["/" + "/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((HELP[beginning] for beginning in beginnings if beginning in HELP), "/docs")
