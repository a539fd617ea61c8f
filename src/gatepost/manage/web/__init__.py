"""HTTP that the admin centre and the REST interface share: server, headers, limits, identity."""
