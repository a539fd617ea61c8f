"""Use cases of resources, called in one line as tests want them."""

from __future__ import annotations

from gatepost.manage.use_cases import dkim, dkim_changes, domain_verification, history, mailbox_passwords, ungranted
from gatepost.manage.use_cases import resource_cases as cases
from gatepost.manage.use_cases.client import LocalClient
from gatepost.manage.use_cases.name_lookup import owner_of


def call(gateway, who, case, request, options=None):
    """The value. options: a `Wish`, of which `dry_run`, `expected` and `note` count."""
    if options is None:
        return LocalClient(gateway, who).call(case, request)
    if options.note:
        request.note = options.note
    reply = LocalClient(gateway, who).call(case, request, dry_run=options.dry_run, expected=options.expected)
    return reply.value if hasattr(reply, "value") else reply


def document(gateway, who):
    reply = LocalClient(gateway, who).call(cases.export_resources, cases.ExportResources())
    return reply.version, reply.value


def add_organization(gateway, who, name, fields, options):
    request = cases.AddOrganization(document={"name": name, **fields})
    return call(gateway, who, cases.add_organization, request, options)


def set_organization(gateway, who, name, fields, options):
    request = cases.SetOrganization(organization=name, document=fields)
    return call(gateway, who, cases.set_organization, request, options)


def put_organization(gateway, who, name, table, options):
    request = cases.PutOrganization(organization=name, document=table)
    return call(gateway, who, cases.put_organization, request, options)


def remove_organization(gateway, who, name, options):
    return call(gateway, who, cases.remove_organization, cases.RemoveOrganization(organization=name), options)


def version_record(gateway, who, version):
    return call(gateway, who, history.get_version, history.GetVersion(version=str(version)))


def ungranted_values(gateway, who):
    return call(gateway, who, ungranted.list_ungranted, ungranted.ListUngranted()).values


def grant_value(gateway, who, value, options):
    return call(gateway, who, ungranted.grant_value, ungranted.GrantValue(**value), options)


def set_mailbox_password(gateway, who, address, password, organization="contoso"):
    named = {"organization": organization, "address": address}
    if password is None:
        case, request = mailbox_passwords.remove_mailbox_password, mailbox_passwords.RemoveMailboxPassword(**named)
    else:
        request = mailbox_passwords.MailboxPassword(password=password, **named)
        case = mailbox_passwords.set_mailbox_password
    return call(gateway, who, case, request)


def get_verification(gateway, who, domain, organization="fabrikam"):
    request = domain_verification.GetDomainVerification(organization=organization, domain=domain)
    return call(gateway, who, domain_verification.get_domain_verification, request)


def verify(gateway, who, domain, organization, options):
    request = domain_verification.VerifyDomain(organization=organization, domain=domain)
    return call(gateway, who, domain_verification.verify_domain, request, options)


def make_key(gateway, who, domain, options, organization="", **given):
    """organization: "" for the one that accepts the domain."""
    key_file = given.pop("key_file", "")
    owner = organization or owner_of(gateway.directory().resources, "", domain).name
    given = {"organization": owner, "domain": domain, "algorithm": "ed25519-sha256", **given}
    if key_file:
        request = dkim_changes.LeaveDkimKey(key_file=key_file, **given)
        return call(gateway, who, dkim_changes.leave_dkim_key, request, options)
    return call(gateway, who, dkim_changes.make_dkim_key, dkim_changes.MakeDkimKey(**given), options)


def rotate(gateway, who, domain, options, **given):
    request = dkim_changes.RotateDkimKeys(organization="contoso", domain=domain, **given)
    return call(gateway, who, dkim_changes.rotate_dkim_keys, request, options)


def import_key(gateway, who, domain, selector, pem, *, dry_run=False):
    request = dkim.ImportDkimKey(organization="contoso", domain=domain, selector=selector, key=pem.decode())
    return LocalClient(gateway, who).call(dkim.import_dkim_key, request, dry_run=dry_run)
