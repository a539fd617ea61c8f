from __future__ import annotations

import re

import pytest

from gatepost.store.postgres.trace_tables import writer_name


@pytest.mark.parametrize(
    ("node", "worker", "name"),
    [
        ("mx1.example.com", 0, "mx1_example_com-0"),
        ("MX1.example.com", 12, "mx1_example_com-12"),
        ("mx1", 1023, "mx1-1023"),
        ("mx1-eu.example.com", 1, "mx1-eu_example_com-1"),
    ],
)
def test_a_worker_is_named_by_its_node(node, worker, name):
    assert writer_name(node, worker) == name


def test_names_with_other_signs_stay_apart():
    names = {writer_name(node, 0) for node in ("mx.a", "mx_a", "mx-a", "_mx_a")}
    assert len(names) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name) for name in names)


def test_long_names_stay_apart_and_fit_into_the_name_of_a_file():
    nodes = [f"mail-gateway-{number}.datacentre-west.example.com" for number in range(50)]
    names = {writer_name(node, worker) for node in nodes for worker in (0, 1023)}
    assert len(names) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name) for name in names)
