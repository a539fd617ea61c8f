"""The refusals of inbound mail, as the client is told them. Used by `policy.decisions.inbound`."""

from __future__ import annotations

from gatepost.policy.connectors.credentials import CredentialFault, Lack
from gatepost.protocols.smtp.replies import Reply

# Literal codes and the service's words for them, by which people search: exchange.md section 6. No name of ours is in
# them; what they say beyond the service's is what the client itself can mend.
RELAY_DENIED = Reply(550, "5.7.64", ("TenantAttribution; Relay Access Denied",))
RELAY_COMMON_NAME = Reply(
    550,
    "5.7.64",
    ("TenantAttribution; Relay Access Denied: your certificate has its name in the CN, not in subjectAltName",),
)
NOT_ACCEPTED = "Relay Access Denied ATTR36"
RELAY_NAME = Reply(
    550, "5.7.64", (f"{NOT_ACCEPTED}: neither the name in your certificate nor the sender's domain is accepted here",)
)
RELAY_ADDRESS = Reply(
    550, "5.7.64", (f"{NOT_ACCEPTED}: your address is known, but the sender's domain is not accepted here",)
)
RELAY_NULL = Reply(
    550, "5.7.64", (f"{NOT_ACCEPTED}: your address is known, but the null reverse-path needs a certificate",)
)
RELAY_SENDER = Reply(550, "5.7.64", (f"{NOT_ACCEPTED}: your server is known, but may not relay for this sender",))
STARTTLS_FIRST = Reply(530, "5.7.0", ("Must issue a STARTTLS command first",))
BOUND = "TenantInboundAttribution; A partner connector binds this sender's domain to"
LOCKED_DOWN = Reply(550, "5.7.51", (f"{BOUND} a certificate or address you do not have",))
LOCKED_NO_CERTIFICATE = Reply(550, "5.7.51", (f"{BOUND} a certificate, and you presented none",))
LOCKED_OTHER_NAME = Reply(550, "5.7.51", (f"{BOUND} a certificate, and yours bears another name",))
LOCKED_COMMON_NAME = Reply(
    550, "5.7.51", (f"{BOUND} a certificate, and yours has its name in the CN, not in subjectAltName",)
)
LOCKED_ADDRESS = Reply(550, "5.7.51", (f"{BOUND} addresses, and yours is none of them",))
DIRECT_SEND = Reply(
    550,
    "5.7.68",
    ("TenantInboundAttribution; Direct Send not allowed for this organization from unauthorized sources",),
)
SEND_APART = Reply(452, "4.5.3", ("Too many recipients: send this one a separate message",))
DISPUTED = Reply(
    451, "4.3.5", ("Two organizations here claim this domain: mail waits until the server's owner decides",)
)
NO_MAILBOX = Reply(550, "5.1.1", ("Recipient address rejected: no such mailbox here",))
"""Of an unknown recipient, whoever knows that: a stranger learns nothing of what is behind the gateway."""
REVOCATION_UNKNOWN = Reply(451, "4.7.5", ("Revocation of your certificate cannot be checked now, try again later",))
NOT_JUDGED = Reply(451, "4.3.5", ("Temporary server error, please try again later",))

LOCKED_BY_FAULT = {
    CredentialFault.NO_TLS: LOCKED_NO_CERTIFICATE,
    CredentialFault.NO_CERTIFICATE: LOCKED_NO_CERTIFICATE,
    CredentialFault.OTHER_NAME: LOCKED_OTHER_NAME,
    CredentialFault.ONLY_COMMON_NAME: LOCKED_COMMON_NAME,
}


def untrusted(reply: Reply, status: str) -> Reply:
    """The refusal with what is wrong with the client's certificate: "chain-incomplete", "expired", …."""
    return Reply(reply.code, reply.enhanced, (f"{reply.lines[0]}: your certificate is not trusted, {status}",))


def relay_denied(lack: Lack | None) -> Reply:
    """The refusal to relay. lack: of the certificate that bears a connector's name, None if none does."""
    if lack is not None and lack.fault is CredentialFault.ONLY_COMMON_NAME:
        return RELAY_COMMON_NAME
    return untrusted(RELAY_DENIED, lack.status) if lack is not None and lack.status else RELAY_DENIED


def relay_by_address(lack: Lack | None, *, is_null: bool) -> Reply:
    """The refusal to relay for a client that is known by address alone: a certificate that fails is what it can mend.

    is_null: its reverse-path is the null one.
    """
    reply = relay_denied(lack)
    if reply is not RELAY_DENIED:
        return reply
    return RELAY_NULL if is_null else RELAY_ADDRESS


def locked_down(lack: Lack | None, *, both: bool) -> Reply:
    """The refusal in the words that help. lack: of the certificate, None if only the address is wrong."""
    if lack is None:
        return LOCKED_ADDRESS
    if both:
        return LOCKED_DOWN
    return LOCKED_BY_FAULT.get(lack.fault) or untrusted(LOCKED_DOWN, lack.status)
