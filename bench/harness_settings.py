"""Turns the benchmark harness's JSON (bench/gatepost.json, filled in) into gatepost's settings and resources.

Run by the harness before each start: `harness_settings.py CONFIG` writes gatepost.toml and resources.toml beside it.
With --started it is run after the first start, and returns once the gateway has looked at its own certificates: that
takes some 50 ms of CPU two seconds later, once, and belongs to no message.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import tomlkit

from gatepost.analysis.alarms.alarm import ALARMS_CONTENT, decoded
from gatepost.store.sqlite.schema import open_for_reading

ORGANIZATION = "bench"
SENDER_DOMAIN = "origin.test"  # what the harness's load generator sends from
FIRST = "first-start"  # a file that is there until that start is over


def settings(harness: dict[str, Any]) -> dict[str, Any]:
    """The server's settings: one listener, one certificate, the harness's limits."""
    connections = int(harness["connections"])
    return {
        "server": {
            "hostname": harness["hostname"],
            "data_dir": f"{harness['directory']}/data",
            "workers": int(harness["workers"]),
            "user": "" if os.geteuid() else "root",
        },
        "listener": [{"role": "mx", "address": harness["listen"]}],
        "certificate": [{"chain": harness["certificate"], "key": harness["private_key"]}],
        "tls": {"trust_anchors": harness["trust_anchors"]},
        "limits": {
            "message_bytes": int(harness["max_size"]),
            "connections": max(5000, 2 * connections),
            "connections_per_source": max(5000, 2 * connections),
        },
        "queue": {"paused": bool(harness["discard"])},
    }


def resources(harness: dict[str, Any]) -> dict[str, Any]:
    """One organization that relays for 127.0.0.1, with a forced or opportunistic connector for each route."""
    return {
        "organization": {
            ORGANIZATION: {
                "accepted_domain": [{"name": SENDER_DOMAIN}],
                "inbound_connector": [
                    {
                        "name": "load",
                        "connector_type": "on-premises",
                        "sender_domains": ["*"],
                        "sender_ip_addresses": ["127.0.0.1/32"],
                    }
                ],
                "outbound_connector": [_connector(route, harness) for route in harness["routes"]],
            }
        }
    }


def _connector(route: dict[str, Any], harness: dict[str, Any]) -> dict[str, Any]:
    connector = {
        "name": route["domain"],
        "connector_type": "partner",
        "recipient_domains": [route["domain"]],
        "use_mx_record": False,
        "smart_hosts": [f"{route['host']}:{route['port']}"],
    }
    if route["tls"] == "verify":
        connector |= {
            "tls_settings": "domain-validation",
            "tls_domain": route["name"],
            "trust_anchors": harness["trust_anchors"],
        }
    return connector


def wait_for_first_look(data: Path) -> None:
    """Wait until what the gateway found is stored, but at most half a minute."""
    store, end = open_for_reading(data / "config.db"), time.monotonic() + 30
    while time.monotonic() < end:
        known = store.execute("SELECT data FROM content WHERE name = ?", (ALARMS_CONTENT,)).get
        if known is not None and decoded(known).looked:
            return
        time.sleep(0.2)


def main() -> None:
    """Read the harness's file, and write the two of gatepost beside it, or wait for the end of its start."""
    harness = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    directory = Path(harness["directory"])
    if "--started" in sys.argv:
        wait_for_first_look(directory / "data")
        directory.joinpath(FIRST).unlink()
        return
    directory.joinpath(FIRST).touch()
    directory.joinpath("gatepost.toml").write_text(tomlkit.dumps(settings(harness)), encoding="utf-8")
    directory.joinpath("resources.toml").write_text(tomlkit.dumps(resources(harness)), encoding="utf-8")


if __name__ == "__main__":
    main()
