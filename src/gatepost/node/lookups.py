"""The look-ups of a worker: the resolver, chains and revocation, MTA-STS policies.

Made by `node.assembly`, once for a worker. `net` does the asking; here is which settings it is done by, and what of it
is read again, fetched in time, and closed.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatepost.mail.outbound.contexts import ClientContexts
from gatepost.mail.outbound.failure import NAMES_UNKNOWN, REVOCATION_UNKNOWN
from gatepost.mail.outbound.published import Lookups
from gatepost.net.anchors import AnchorsError
from gatepost.net.chain import judge
from gatepost.net.lookups.authority_origin import AuthorityOrigin
from gatepost.net.lookups.configured import configured_resolver
from gatepost.net.lookups.http import HttpClient, https_context
from gatepost.net.lookups.mtasts import PolicyHosts, StsPolicies
from gatepost.net.lookups.mtasts_cache import policy_folder
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.lookups.return_watch import WATCH_SECONDS, ReturnWatch, RevocationWatch
from gatepost.net.lookups.revocation import RevocationChecker
from gatepost.net.lookups.tlsa import TlsaFinder
from gatepost.net.own_addresses import reach_of_tenants
from gatepost.net.shortage import shortage
from gatepost.net.tasks import SingleTask
from gatepost.node.files_in_force import FilesInForce, UnusableFiles
from gatepost.node.lifecycle import Duty, Lifecycle, nothing
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.policy.decisions.home import SITE_ANCHORS
from gatepost.settings.model import DnsValidation, Settings

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Sequence

    from gatepost.net.anchors import TrustAnchors
    from gatepost.net.identity import ServerIdentity
    from gatepost.net.lookups.dns import Resolver
    from gatepost.node.files_in_force import FileReading
    from gatepost.policy.connectors.directory import Directory
    from gatepost.protocols.tls.facts import ChainVerdict, Revocation
    from gatepost.store.leases import Lease


REFRESH_SECONDS: Final = 3600.0
"""Between two looks for MTA-STS policies that are about to expire."""

_log = logging.getLogger(__name__)


class LookupServices:
    """The lookups that sessions and deliveries of a worker use.

    Raises ValidatorError or OSError if settings cannot be used.

    site_anchors: the roots of the site; raises AnchorsError. identity: what is presented as a client. http: asks who is
    not one of ours. files: that settings and resources name, as they are in force.
    on_return: called with how the last error of deliveries begins that need not wait any longer, as nameservers answer
    again, or revocation lists can be had again. revocation_watch: is told of chains for which mail waits.
    anchors_renewed: how often trust anchors were read again.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        site_anchors: Callable[[], TrustAnchors],
        identity: Callable[[str, str, float], ServerIdentity],
    ) -> None:
        self._settings = settings
        cache = Path(settings.server.data_dir) / "cache"
        self.resolver = configured_resolver(settings.dns)
        self.http = HttpClient(self.resolver)
        self._site_anchors, self.files = site_anchors, FilesInForce(settings.tls.trust_anchors)
        self.anchors_renewed = 0
        server, pair = settings.tls.trust_anchors, self.files.identity
        self.contexts = ClientContexts(server, time.time, load=self._load_anchors, identity=identity, pair=pair)
        self.revocation = RevocationChecker(
            self.http,
            cache / "crl",
            timeout=settings.tls.revocation_timeout,
            tenants=reach_of_tenants(settings),
            load=self.files.anchors,
        )
        self.policy_hosts = HttpClient(self.resolver, self._policy_hosts_context)
        self.policies = StsPolicies(
            self.resolver,
            self.policy_hosts,
            policy_folder(settings.server.data_dir),
            hosts=PolicyHosts(private=settings.outbound.private_policy_hosts),
        )
        self._return = ReturnWatch(self.resolver, settings.server.hostname)
        finder = TlsaFinder(self.resolver)
        self.resolver.on_forget += [finder.forget, self._names_answer]
        dane_off, dnssec_fault = self.resolver.dane_off, self.resolver.dnssec_fault
        self.published = Lookups(finder, self.policies, time.time, dane_off, dnssec_fault, self._unvalidated)
        self.revocation_watch = RevocationWatch(self.check_revocation)
        self.on_return: list[Callable[[str], object]] = []
        self._watching = SingleTask("return of nameservers")
        self._awaiting = SingleTask("return of revocation")
        self._refreshing = SingleTask("mta-sts refresh")
        self._telling = SingleTask("validation")

    def parts(self, lease: Lease, *, tells: bool) -> Iterator[Lifecycle]:
        """Their lives. lease: for what one worker does for the node. tells: log what is found at the start."""
        tell = self._tell if tells else nothing
        yield Lifecycle(
            "the resolver",
            start=tell,
            duties=[Duty(WATCH_SECONDS, self._watch)],
            reload=self.resolver.forget,
            close=self._close_resolver,
        )
        yield Lifecycle("trust anchors", reload=self._use_renewed_anchors)
        yield Lifecycle(
            "revocation",
            duties=[Duty(WATCH_SECONDS, self._watch_revocation)],
            refresh=self.use,
            reload=self._retry_revocation,
            close=self._close_revocation,
        )
        yield Lifecycle(
            "MTA-STS policies",
            duties=[Duty(REFRESH_SECONDS, self._refresh_policies)],
            reload=self._reload_policies,
            close=self._close_policies,
            lease=lease,
        )

    def begin(self, directory: Directory) -> None:
        """Read the files that the configuration in force names, and as `use`. Blocks.

        Raises CertificateFileError without `tls.trust_anchors`: clients would be strangers that are not.
        """
        self.files.use(self.files.newly_named(directory.organizations))
        try:
            self.files.anchors(self._settings.tls.trust_anchors)
        except AnchorsError as error:
            raise CertificateFileError(f"tls.trust_anchors: {error}") from error
        self.use(directory)

    def read_files_again(self) -> FileReading | None:
        """The files as they are now, for `FilesInForce.renew`. For a thread. None: one cannot be used any more."""
        try:
            return self.files.read_again()
        except UnusableFiles as failure:
            _log.error("no file was read again, and all stay in use as they were: %s", failure)
            return None

    def use(self, directory: Directory) -> None:
        """Know which authorities are tenants' by the configuration in force."""
        server = self._settings.tls.trust_anchors
        self.revocation.origin = AuthorityOrigin(directory.organizations, server, self.files.anchors)

    def judge_client(self, chain: Sequence[bytes], anchors: str) -> ChainVerdict | None:
        """A client's chain by the trust anchors of that name ("" is the server's); None if those cannot be read."""
        name = anchors or self._settings.tls.trust_anchors
        try:
            trusted = self.files.anchors(name)
        except AnchorsError as error:
            _log.error("trust anchors of an inbound connector: %s", error)
            return None
        return judge(chain, trusted, now=time.time(), purpose="client")

    async def check_revocation(self, chain: ChainVerdict) -> Revocation:
        """Whether a client's certificate was revoked."""
        return await self.revocation.check(chain, now=time.time())

    def _tell(self) -> None:
        self._telling.begin(_log_resolver, self.resolver, self._settings)

    def _watch(self) -> None:
        self._watching.begin(self._return.look, self._names_answer)

    async def _unvalidated(self) -> str:
        """As it is known: to ask for each host would double the questions about unsigned domains."""
        return self.resolver.unvalidated

    def _names_answer(self) -> None:
        """Ask again for all that failed meanwhile, then let mail go that waits for it."""
        self.policies.retry()
        self._retry_revocation()
        self._tell_mail(*NAMES_UNKNOWN)

    def _tell_mail(self, *failed: str) -> None:
        for beginning in failed:
            for work in self.on_return:
                work(beginning)

    def _watch_revocation(self) -> None:
        self._awaiting.begin(self.revocation_watch.look, partial(self._tell_mail, *REVOCATION_UNKNOWN))

    def _retry_revocation(self) -> None:
        self.revocation.retry()
        self.revocation_watch.hurry()

    async def _close_revocation(self) -> None:
        self._awaiting.cancel()
        await self.revocation.close()

    async def _close_resolver(self) -> None:
        self._telling.cancel()
        self._watching.cancel()
        await self.resolver.close()

    def _use_renewed_anchors(self) -> None:
        self.contexts.clear()
        self.anchors_renewed += 1

    def _load_anchors(self, name: str) -> TrustAnchors:
        return self._site_anchors() if name == SITE_ANCHORS else self.files.anchors(name)

    def _policy_hosts_context(self) -> ssl.SSLContext:
        """Checks the hosts that serve MTA-STS policies. Without our anchors no MX host passes by them either.

        Raises OSError if they cannot be read for a reason that passes (`net.shortage`): others would be kept.
        """
        try:
            return https_context(self.files.anchors(self._settings.tls.trust_anchors))
        except AnchorsError as error:
            if shortage(error):
                raise OSError(str(error)) from error
            _log.error("trust anchors: %s; MTA-STS policies are fetched by those of the system", error)
            return https_context()

    def _refresh_policies(self) -> None:
        """Fetch again the MTA-STS policies that would expire. One worker of the node does; all share what is kept."""
        self._refreshing.begin(self.policies.refresh_due, now=time.time())

    def _reload_policies(self) -> None:
        self.policy_hosts.renew()
        self.policies.retry()

    async def _close_policies(self) -> None:
        self._refreshing.cancel()
        await self.policies.close()


async def _log_resolver(resolver: Resolver, settings: Settings) -> None:
    """Log whether nameservers answer, and who validates DNSSEC or why DANE is off; a validator here is tried."""
    if trouble := await resolver.trouble(settings.server.hostname):
        _log.critical("NO NAMESERVER ANSWERS, and mail to other domains waits until one does: %s", trouble)
    if resolver.dane_off:
        _log.warning("%s", resolver.dane_off)
        return
    _log.info("%s", resolver.validation)
    if settings.dns.validation is not DnsValidation.LOCAL:
        if fault := await resolver.dnssec_fault():
            _log.log(logging.CRITICAL if fault.stops_mail else logging.WARNING, "%s", fault.detail)
        return
    try:
        missing = await resolver.validation_missing()
    except LookupFailed as failed:
        cause = "signatures are dropped on the way, or dns.trust_anchor_file or the clock is wrong"
        why = cause if failed.bogus else "is the way to the nameservers open?"
        missing = f"DNSSEC could not be tried on the root, and mail may wait for look-ups; {why}: {failed.detail}"
    if missing:
        _log.warning("%s", missing)
