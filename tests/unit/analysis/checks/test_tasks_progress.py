from __future__ import annotations

from gatepost.analysis.checks.tasks import HostReport, ProgressReports


def test_reports_stand_in_the_order_of_hosts_and_an_address_takes_the_place_of_none() -> None:
    shown: list[list[tuple[str, str]]] = []
    progress = ProgressReports(lambda reports: shown.append([(one.host, one.address) for one in reports]))
    first, second = progress.host(), progress.host()
    second.show(HostReport("mx2", "", ()))
    first.show(HostReport("mx1", "", ()))
    first.show(HostReport("mx1", "192.0.2.1:25", ()))
    first.show(HostReport("mx1", "192.0.2.2:25", ()))
    first.show(HostReport("mx1", "192.0.2.1:25", ()))
    assert shown == [
        [("mx2", "")],
        [("mx1", ""), ("mx2", "")],
        [("mx1", "192.0.2.1:25"), ("mx2", "")],
        [("mx1", "192.0.2.1:25"), ("mx1", "192.0.2.2:25"), ("mx2", "")],
        [("mx1", "192.0.2.1:25"), ("mx1", "192.0.2.2:25"), ("mx2", "")],
    ]
    second.clear()
    assert second.reports == ()
    assert len(first.reports) == 2
