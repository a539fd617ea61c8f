"""Test a content hook: with a harmless message, and with one that every scanner of its kind must find.

Called by `manage.use_cases.trials`, with the code that asks for real mail (`mail.inbound.content`). Nothing is
delivered, and a hook that is disabled or in rehearsal is tried like any other.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gatepost.mail.inbound.content import ContentHooks, Examined
from gatepost.policy.connectors.values import HookType, Mode
from gatepost.policy.decisions.content import decide
from gatepost.protocols.message.header_text import format_date
from gatepost.protocols.scanners.rspamd import Described
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from gatepost.net.lookups.dns import Resolver
    from gatepost.policy.connectors.addresses import AddressPolicy
    from gatepost.policy.connectors.hook_index import ApplicableHook


# Written in two parts, so that no scanner takes this file, or a copy of it, for what it looks for.
_EICAR: Final = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-" + "STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
_GTUBE: Final = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-" + "STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
_CHUNK: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Trial:
    """One message that was tried. refused: whether it must be, None if nobody can say.

    answered: whether there was a usable answer. record: as the trace would have it. reply: what the sender would be
    told if the hook were in force, "" if the message passes.
    """

    message: str
    refused: bool | None
    answered: bool
    record: dict[str, Any]
    reply: str

    @property
    def right(self) -> bool:
        """Whether it came out as it must."""
        return self.answered and self.refused in {None, bool(self.reply)}


def samples(kind: HookType, hostname: str, now: float) -> dict[str, tuple[bytes, bool]]:
    """A harmless message and one that must be refused, the EICAR test file or GTUBE, by what each is called.

    now: seconds since 1970, for the date.
    """
    harmless = _sample(hostname, now, "harmless", "text/plain; charset=us-ascii", "This message is harmless.")
    if kind is HookType.RSPAMD:
        return {
            "harmless": (harmless, False),
            "GTUBE": (_sample(hostname, now, "gtube", "text/plain; charset=us-ascii", _GTUBE), True),
        }
    kind_of_file = "application/octet-stream; name=eicar.com\r\nContent-Transfer-Encoding: base64"
    attached = b64encode(_EICAR.encode("ascii")).decode("ascii")
    return {"harmless": (harmless, False), "EICAR": (_sample(hostname, now, "eicar", kind_of_file, attached), True)}


def _sample(hostname: str, now: float, name: str, content_type: str, content: str) -> bytes:
    date = format_date(now)
    lines = [
        f"Received: from {hostname} by {hostname}; {date}",
        f"Date: {date}",
        f"From: gatepost <postmaster@{hostname}>",
        f"To: postmaster@{hostname}",
        f"Message-ID: <{int(now * 1000)}.{name}@{hostname}>",
        "Subject: Trial of a content hook",
        "MIME-Version: 1.0",
        f"Content-Type: {content_type}",
        "",
        content,
        "",
    ]
    return "\r\n".join(lines).encode("ascii")


async def try_hook(
    applicable: ApplicableHook,
    messages: Mapping[str, tuple[bytes, bool | None]],
    hostname: str,
    resolver: Resolver,
    tenants: AddressPolicy,
) -> list[Trial]:
    """Ask about each message in turn. messages: as `samples` has them; None where nobody can say what must happen.

    tenants: as in `ContentHooks`.
    """
    hooks = ContentHooks(resolver, tenants=tenants)
    in_force = applicable._replace(hook=applicable.hook.model_copy(update={"mode": Mode.ENFORCE}))
    address = f"postmaster@{hostname}"
    described = Described("127.0.0.1", hostname, address, (address,), "", hostname)
    trials = []
    for name, (message, refused) in messages.items():
        examined = Examined(replace(described, queue_id=f"trial-{name}"), len(message), _reader(message))
        (answer,) = await hooks.ask([in_force], examined)
        examination = decide([answer])
        reply = examination.reply.text if examination.reply else ""
        trials.append(Trial(name, refused, answer.finding is not None, examination.records[0], reply))
    return trials


def _reader(message: bytes) -> Callable[[], AsyncIterator[bytes]]:
    async def content() -> AsyncIterator[bytes]:
        for start in range(0, len(message), _CHUNK):
            yield message[start : start + _CHUNK]

    return content
