"""Groups of commands that each are in a module of their own, such as `gatepost connector …`."""

from __future__ import annotations

import click

from gatepost.manage.cli.certificate_group import CertificateGroup
from gatepost.manage.cli.lazy import LazyGroup

_CERTIFICATE = {
    "list": ("certificate", "list_", "List certificates with state, names, issuer, validity and origin."),
    "show": ("certificate", "show", "Show a certificate with all its details."),
    "add": (
        "certificate_add",
        "add",
        "Add a certificate with its key, or watch a directory that another tool renews.",
    ),
    "request": ("certificate_request", "request", "Create a key and a certificate signing request (CSR)."),
    "remove": ("certificate", "remove", "Remove a certificate, a request or a watched directory."),
    "publish": (
        "certificate",
        "publish",
        "Write the certificate page for partners, as files for a web server.",
    ),
    "changeover": (
        "certificate_changeover",
        "changeover",
        "Replace a certificate by the next: gates, notices, switch, roll back.",
    ),
    "acme": ("certificate_acme", "acme", "Show and renew certificates from an ACME authority."),
    "alarms": ("alarms", "certificate_alarms", "List active alarms about certificates."),
    "history": ("certificate", "history", "Show who changed the certificates, when and why."),
}


@click.group(cls=CertificateGroup, commands=_CERTIFICATE)
def certificate() -> None:
    """Manage the gateway's certificates (next, current and deprecated) and its client certificates."""


_CONNECTOR = {
    "list": ("connector_list", "list_", "List connectors: their partners, what they require, and the last validation."),
    "show": ("connector_list", "show", "Show every field of a connector, with its value or default."),
    "add": ("connector_change", "add", "Add a connector."),
    "set": ("connector_change", "set_", "Change fields of a connector."),
    "remove": ("connector_change", "remove", "Remove a connector."),
    "trust": ("connector_change", "trust", "Trust the issuer that a validation saw, by its fingerprint."),
    "switch": ("connector_change", "switch", "Enable, disable, enforce or rehearse many connectors at once."),
    "secret": ("connector_change", "secret", "Set the secret by which a connector logs in to its smart hosts."),
    "validate": (
        "connector_validate",
        "validate",
        "Validate a connector: each step is a named task, with advice if it fails.",
    ),
    "validate-many": ("connector_validate_many", "validate_many", "Validate many connectors, a line for each."),
    "drill": ("connector_drill", "drill", "Attack a connector on loopback and show that no mail leaks."),
    "drills": ("connector_drill", "drills", "List drills that are stored, and their results."),
    "rehearsal": (
        "connector_rehearsal",
        "rehearsal",
        "Show what a connector in rehearsal would have refused or held.",
    ),
}


@click.group(cls=LazyGroup, commands=_CONNECTOR)
def connector() -> None:
    """Show, change and test connectors."""


_EVIDENCE = {
    "verify": ("evidence", "verify", "Verify that nothing was removed, changed or reordered. Works offline."),
    "export": ("evidence", "export", "Export entries with their proof for an auditor: JSON, CSV or PDF."),
    "copy": ("evidence", "copy", "Copy the whole log into a directory, for an auditor or another machine."),
    "heads": ("evidence", "heads", "Print the signed head of each day, to store off this machine."),
    "key": ("evidence", "key", "Print the public key of the signatures, to store off this machine."),
}


@click.group(cls=LazyGroup, commands=_EVIDENCE)
def evidence() -> None:
    """Verify and export the evidence log: the signed record of what each hop required and proved."""


_REPORT = {
    "tls": (
        "report_tls",
        "tls",
        "Show how mail was protected: shares, versions, failures, partners ready for mandatory TLS.",
    ),
    "connectors": ("report_tls", "connectors", "Show the same by connector."),
    "received": ("report_tlsrpt", "received", "Show what others report about their connections to us (RFC 8460)."),
    "send": (
        "report_tlsrpt",
        "send",
        "Send the TLS reports of a day now, or show them (RFC 8460).",
    ),
    "sent": ("report_tlsrpt", "sent", "List TLS reports that were sent, when and where to (RFC 8460)."),
    "tlsrpt": (
        "report_tlsrpt",
        "tlsrpt",
        "Show TLS sessions of a day by policy domain, policy and result (RFC 8460).",
    ),
}


@click.group(cls=LazyGroup, commands=_REPORT)
def report() -> None:
    """Show reports: how mail was protected, and TLS sessions by domain and result."""


_SITE = {
    "init": ("site_join", "init", "Create the site's authority here; this gateway becomes its first node."),
    "token": ("site_join", "token", "Create a token with which one node can join."),
    "join": ("site_join", "join", "Join a site: make this gateway one of its nodes."),
    "leave": ("site_join", "leave", "Leave the site of this node."),
    "status": ("site", "status", "Show the authority, nodes with their certificates, and open tokens."),
    "nodes": ("site", "nodes", "Remove nodes and tokens."),
    "root": ("site", "root", "Print the root that connectors and other servers must trust."),
    "issue": ("site_issue", "issue", "Issue a certificate with its key for an on-premises server."),
    "history": ("site", "history", "Show who changed the site, when and why."),
}


@click.group(cls=LazyGroup, commands=_SITE)
def site() -> None:
    """Manage the internal authority of a site: certificates for its nodes, and for on-premises servers."""


_SMIME = {
    "recipient": ("smime", "recipient", "Manage certificates of recipients, which mail is encrypted to."),
    "identity": ("smime", "identity", "Manage our own certificates, which sign and decrypt."),
}


@click.group(cls=LazyGroup, commands=_SMIME)
def smime() -> None:
    """Manage certificates for S/MIME. Connectors and mail flow rules decide which mail is encrypted or signed."""


_STORE = {
    "backup": ("store_backup", "backup", "Back up everything stored into a new directory or .tar file, while serving."),
    "restore": ("store_backup", "restore", "Restore a backup into an empty data directory."),
    "check": ("store_check", "check", "Check that databases are whole and every queued message has its body."),
    "migrate": ("store_migrate", "migrate", "Move everything stored from SQLite to PostgreSQL, or back."),
    "reopen": ("store_migrate", "reopen", "Use a store again that was moved, or whose move was given up."),
    "prepare": ("store_prepare", "prepare", "Create the tables in PostgreSQL, with a role that may."),
}


@click.group(cls=LazyGroup, commands=_STORE)
def store() -> None:
    """Back up, restore, move and check what the gateway stores: queue, configuration, accounts, evidence."""
