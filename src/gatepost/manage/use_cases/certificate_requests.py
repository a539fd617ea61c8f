"""Requests for certificates (PKCS#10): a key that waits, sealed, and what is sent to the authority."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.certificate_removal import Removed
from gatepost.manage.use_cases.certificates import CertificateRequest, Note, waiting_request, waiting_with_csr
from gatepost.manage.use_cases.declaration import Cli, UseCaseReply, Visibility, use_cases
from gatepost.manage.use_cases.inventory import check_client, inventory_of, recorded_changes
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, refusing, wrong_field
from gatepost.pki.certificates.entry import CertificateRequestSpec, PendingRequest, Purpose
from gatepost.pki.certificates.request import KEY_TYPES, made_request, request_id
from gatepost.policy.connectors.errors import FieldError
from gatepost.policy.connectors.names import domain_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.context import Context, Gateway


use_case = use_cases(visibility=Visibility.GATEWAY, tag="certificates")

type _RequestId = Annotated[str, Meta(description="Id of the request.")]


class RequestCertificate(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A request for a certificate. names: the first is also the CN. key: ec-p256, ec-p384, rsa-2048, -3072 or -4096.

    client: a client certificate of an organization, which connectors name by its label. must_staple: RFC 7633.
    """

    names: Annotated[
        list[Annotated[str, Meta(max_length=255)]],
        Meta(max_length=100),
        Cli(option="name", metavar="HOST", help="A name in it; the first is also the CN. May be repeated."),
    ] = msgspec.field(default_factory=list)
    key: Annotated[
        Literal["ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096"],
        Cli(option="key-type", help="Type of the new key.  [default: ec-p256]"),
    ] = "ec-p256"
    client: Annotated[bool, Cli(help="For a client certificate, which outbound connectors present.")] = False
    organization: Annotated[str, Meta(max_length=100), Cli(help="Whose client certificate it is.")] = ""
    label: Annotated[
        str, Meta(max_length=100), Cli(help="Label, by which connectors name the certificate and people recognize it.")
    ] = ""
    must_staple: Annotated[bool, Cli(help="Ask for a certificate that counts only with a stapled OCSP response.")] = (
        False
    )

    @property
    def spec(self) -> CertificateRequestSpec:
        """The same for `pki.certificates`."""
        purpose = Purpose.CLIENT if self.client else Purpose.SERVER
        label = self.label.strip()
        return CertificateRequestSpec(
            tuple(self.names), self.key, purpose, self.organization, label, must_staple=self.must_staple
        )


class RegisterRequest(RequestCertificate, kw_only=True):
    """The same of one that was made already. csr: PKCS#10, PEM. key_file: where its key waits, on this machine."""

    csr: bytes
    key_file: str


class GetCertificateRequest(msgspec.Struct, kw_only=True):
    """The request to show."""

    request: _RequestId


class RemoveCertificateRequest(msgspec.Struct, kw_only=True):
    """note: for the history."""

    request: _RequestId
    note: Note = ""


class RequestMade(msgspec.Struct):
    """csr: what is sent to the authority (PKCS#10, PEM), empty if it is lost. Its key stays on the gateway."""

    request: CertificateRequest
    csr: str


@use_case(
    "POST /certificate_requests",
    scope=Scope.CERTIFICATES,
    status=201,
    dry_run=True,
    may_404=True,
    action="certificate-request",
)
def request_certificate(context: Context, request: RequestCertificate) -> UseCaseReply[RequestMade]:
    """Make a key and a request for a certificate (CSR).

    The key waits on the gateway, sealed; `POST /certificates` takes the certificate without a key.
    """
    context.audit.describe(organization=request.organization)
    wanted = checked_spec(context.gateway, request.spec)
    with inventory_of(context.gateway) as inventory:
        if not inventory.seals:
            text = (
                "no store.master_key is set in the settings, so that no key can be kept here; set one, or have the "
                "request made on the gateway, with its key left in a file (gatepost certificate request)"
            )
            raise Refusal(RefusalKind.INPUT, text)
        csr, key = made_request(wanted)
        if context.dry_run:
            made = PendingRequest(request_id(csr), wanted, time.time())
        else:
            with recorded_changes(context):
                author = context.principal.name
                made = inventory.requests.add(wanted, csr, key, author=author, now=time.time())
    context.audit.describe(subject=made.id)
    return UseCaseReply(RequestMade(waiting_request(made), csr.decode()), location=f"/certificate_requests/{made.id}")


@use_case(scope=Scope.CERTIFICATES, action="certificate-request")
def register_request(context: Context, request: RegisterRequest) -> CertificateRequest:
    """Keep a request whose key waits in a file of this machine."""
    context.audit.describe(organization=request.organization)
    wanted, key_file = checked_spec(context.gateway, request.spec), Path(request.key_file)
    with inventory_of(context.gateway) as inventory, recorded_changes(context):
        author = context.principal.name
        made = inventory.requests.add_with_file(wanted, request.csr, key_file, author=author, now=time.time())
    context.audit.describe(subject=made.id)
    return waiting_request(made)


@use_case("GET /certificate_requests/{request}", scope=Scope.READ)
def get_certificate_request(context: Context, request: GetCertificateRequest) -> RequestMade:
    """A request that waits, and its CSR."""
    waiting, csr = waiting_with_csr(context.gateway, request.request)
    return RequestMade(waiting_request(waiting), csr.decode())


@use_case(
    "DELETE /certificate_requests/{request}",
    scope=Scope.CERTIFICATES,
    dry_run=True,
    action="certificate-request-remove",
)
def remove_certificate_request(context: Context, request: RemoveCertificateRequest) -> Removed:
    """Forget a request that waits, and its key."""
    with inventory_of(context.gateway, keys=False) as inventory:
        waiting = inventory.requests.waiting().get(request.request.lower())
        if waiting is None:
            text = (
                f"there is no pending request {request.request!r}; its certificate may have been added in the meantime"
            )
            raise Refusal(RefusalKind.MISSING, text)
        context.audit.describe(organization=waiting.wish.organization)
        if not context.dry_run:
            with recorded_changes(context):
                inventory.requests.remove(waiting, author=context.principal.name, note=request.note)
    left = f"; its key is still in {waiting.key_file}" if waiting.key_file else ""
    return Removed(f"request {waiting.id}: removed{left}")


def checked_spec(gateway: Gateway, spec: CertificateRequestSpec) -> CertificateRequestSpec:
    """The wish with its names as they are written (A-labels, each once). Raises Refusal (INPUT, MISSING)."""
    if spec.key not in KEY_TYPES:
        wrong = f"must be one of {', '.join(KEY_TYPES)}"
        raise wrong_field("key", wrong, f"kind of key {spec.key!r}: {wrong}")
    check_client(gateway, spec.purpose, spec.organization, spec.label)
    names = _checked(spec.names, spec.purpose)
    return CertificateRequestSpec(
        names, spec.key, spec.purpose, spec.organization, spec.label, must_staple=spec.must_staple
    )


def _checked(names: Sequence[str], purpose: Purpose) -> tuple[str, ...]:
    if not names and purpose is Purpose.SERVER:
        wrong = "is required: the host names for the certificate, such as that of the MX"
        raise Refusal(RefusalKind.INPUT, f"a name {wrong}", [FieldError("names", wrong)], options=["name"])
    with refusing(RefusalKind.INPUT, ValueError, text="a name cannot be used: {error}", field="names"):
        return tuple(dict.fromkeys(domain_pattern(name, every=False) for name in names))
