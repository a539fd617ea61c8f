from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from support.exhaustion import no_descriptors

from gatepost.mail.outbound.failure import NAMES_UNKNOWN, REVOCATION_UNKNOWN
from gatepost.net.anchors import SYSTEM, AnchorsError
from gatepost.net.shortage import shortage
from gatepost.node import files_in_force
from gatepost.node.lifecycle import Parts
from gatepost.node.lookups import LookupServices
from gatepost.policy.connectors.addresses import PUBLIC_ADDRESSES, AddressPolicy
from gatepost.policy.connectors.grants import TENANTS_CHOOSE
from gatepost.protocols.tls.facts import Revocation
from gatepost.store.leases import FixedLease
from gatepost.values import replace


def asked(settings, scene, *, first=True):
    """Run a scene with what a worker asks with."""

    async def run():
        lookups = LookupServices(settings, site_anchors=None, identity=lambda *_: None)
        parts = Parts(*lookups.parts(FixedLease(held=first), tells=first))
        try:
            await scene(lookups, parts)
        finally:
            await parts.close(0.5)

    asyncio.run(asyncio.wait_for(run(), 20))


@pytest.mark.parametrize(("trust_ad", "off"), [(True, ""), (False, "DANE is off: dns.trust_ad is false")])
def test_one_worker_says_at_the_start_who_validates(home, caplog, trust_ad, off):
    caplog.set_level("INFO")

    async def scene(lookups, parts):
        assert lookups.resolver.dane_off.startswith(off)
        assert bool(lookups.resolver.dane_off) is bool(off)
        await parts.start()
        await lookups._telling.task
        assert (
            caplog.records[-1]
            .getMessage()
            .startswith(off or "DNSSEC: the gateway trusts the validation of [127.0.0.1]:9")
        )
        assert (caplog.records[-1].levelname == "WARNING") is bool(off)

    asked(home.settings(dns={"nameservers": ["127.0.0.1:9"], "trust_ad": trust_ad}), scene)


def test_the_other_workers_say_nothing_and_fetch_no_policies_in_time(home):
    async def scene(lookups, parts):
        await parts.start()
        assert lookups._telling.task is None
        assert [task.get_name() for task in parts._duties] == ["the resolver", "revocation"]

    asked(home.settings(), scene, first=False)


def test_mail_that_waits_for_nameservers_goes_when_they_answer_again(home):
    """What failed meanwhile is asked for again before that."""

    async def scene(lookups, parts):
        why, done = ["silence"], []

        async def trouble(name):
            return why[0]

        lookups.resolver.trouble, lookups.resolver.failing = trouble, True
        lookups.policies.retry = lambda: done.append("policies")
        lookups.revocation.retry = lambda: done.append("revocation")
        lookups.on_return.append(done.append)
        for why[0] in ("silence", ""):
            assert done == []
            lookups._watch()
            first = lookups._watching.task
            lookups._watch()
            assert lookups._watching.task is first
            await first
        assert done == ["policies", "revocation", "450 4.4.312 ", "450 4.7.324 "]

    asked(home.settings(), scene)


def test_mail_that_waits_for_a_revocation_list_goes_when_it_can_be_had_again(home, chain):
    async def scene(lookups, parts):
        status, asked, done = ["unknown"], [], []

        async def check(verdict, *, now):
            asked.append(verdict)
            return Revocation(status[0], "it is")

        async def look():
            lookups._watch_revocation()
            first = lookups._awaiting.task
            lookups._watch_revocation()
            assert lookups._awaiting.task is first
            await first

        lookups.revocation.check = check
        lookups.on_return.append(lambda failed: failed in NAMES_UNKNOWN or done.append(failed))  # SIGHUP tells of names
        verdict = replace(chain("mx.b.example"), path=(b"leaf", b"root"))
        lookups.revocation_watch.note(verdict)
        await look()
        assert asked == [], "not within a minute"
        for status[0] in ("unknown", "good"):
            assert done == []
            parts.reload()  # SIGHUP
            await look()
        assert asked == [verdict, verdict]
        assert done == list(REVOCATION_UNKNOWN)

    asked(home.settings(), scene)


def test_which_authorities_the_system_trusts_is_read_again_at_sighup_and_kept_if_that_fails(
    home, directory, monkeypatch
):
    """Where revocation may be asked for depends on it."""
    held, read = [frozenset([b"one"])], []

    def source_read(source):
        if source[1] != SYSTEM:
            return real(source)
        read.append(source)
        if not held:
            raise AnchorsError("system: gone")
        return held[0]

    real = files_in_force.read_source
    monkeypatch.setattr(files_in_force, "read_source", source_read)

    async def scene(lookups, parts):
        def sighup():
            if (files := lookups.read_files_again()) is not None:
                lookups.files.renew(files)
                parts.reload()

        lookups.begin(directory("[organization.contoso]"))
        for anchor, expected in ((b"one", PUBLIC_ADDRESSES), (b"two", None)):
            assert await lookups.revocation._reach(anchor) == (expected, False)
        assert len(read) == 1
        held[0] = frozenset([b"two"])
        sighup()
        assert await lookups.revocation._reach(b"two") == (PUBLIC_ADDRESSES, False)
        held.clear()
        sighup()
        assert await lookups.revocation._reach(b"two") == (PUBLIC_ADDRESSES, False)

    asked(home.settings(), scene)


def test_policies_are_refreshed_once_at_a_time_and_by_anchors_that_can_be_read(home, caplog):
    async def scene(lookups, parts):
        lookups._refresh_policies()
        first = lookups._refreshing.task
        lookups._refresh_policies()
        assert lookups._refreshing.task is first
        assert await first == ()
        lookups._refresh_policies()
        assert lookups._refreshing.task is not first
        with no_descriptors(), pytest.raises(OSError, match="Too many open files") as short:
            lookups.policy_hosts._tls()
        assert shortage(short.value)
        before = lookups.policy_hosts._tls()
        assert before.cert_store_stats()["x509_ca"] == 1
        assert lookups.policy_hosts._tls() is before
        home.anchors.unlink()
        parts.reload()
        assert lookups.policy_hosts._tls() is not before

    asked(home.settings(), scene)
    assert "MTA-STS policies are fetched by those of the system" in caplog.text


def test_what_only_tenants_trust_leads_to_public_addresses_alone(home):
    async def scene(lookups, parts):
        connector = SimpleNamespace(trust_anchors="-----BEGIN CERTIFICATE-----MAAA-----END CERTIFICATE-----")
        tenant = SimpleNamespace(ungranted={TENANTS_CHOOSE}, inbound_connectors=(connector,), outbound_connectors=())
        assert await lookups.revocation._reach(b"0\0\0") == (None, False)
        parts.refresh(SimpleNamespace(organizations=(tenant,)))
        reach, is_bounded = await lookups.revocation._reach(b"0\0\0")
        assert (reach.networks, is_bounded) == (AddressPolicy.of(["10.1.0.0/16"]).networks, True)
        assert await lookups.revocation._reach(b"another") == (None, False)

    asked(home.settings(network={"tenants_may_reach": ["10.1.0.0/16"]}), scene)
