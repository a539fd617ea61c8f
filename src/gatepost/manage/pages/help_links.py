"""The document about each page of the admin centre. Pure.

`manage.pages.rendering` puts the link into the frame of every page; a test holds that each leads to a heading.
"""

from __future__ import annotations

from typing import Final

HELP: Final[dict[str, str]] = {
    "/": "/docs/admin-centre#the-first-page-and-alarms",
    "/account": "/docs/admin-centre#passwords-and-sessions",
    "/account/passkeys": "/docs/admin-centre#passkeys",
    "/alarms": "/docs/monitoring#alarms",
    "/audit": "/docs/admin-centre#who-did-what",
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
    "/history": "/docs/admin-centre#who-did-what",
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
