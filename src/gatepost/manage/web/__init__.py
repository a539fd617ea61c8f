"""What the admin centre and the REST interface share of HTTP: the server, headers, bounds, who asks."""
