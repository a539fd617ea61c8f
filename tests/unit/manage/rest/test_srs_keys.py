from __future__ import annotations

from gatepost.store.srs_keys import change_srs_keys, new_key


def test_a_key_is_removed_without_content(api):
    keys = change_srs_keys(api.gateway.data, lambda keys: keys.with_new(new_key()))
    done = api.call("DELETE", f"/srs_keys/{keys.names[1]}")
    assert (done.status, done.body, done.headers.get("content-type")) == (204, b"", None)
    assert [key["name"] for key in api.call("GET", "/srs_keys").json["items"]] == [keys.names[0]]
    documented = api.call("GET", "/openapi.json").json["paths"]["/srs_keys/{name}"]["delete"]["responses"]["204"]
    assert "content" not in documented
