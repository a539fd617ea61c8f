"""Servers for tests of mail: a gateway, partners with a defect, an authority, signed zones; a pytest plugin.

It imports nothing else of gatepost, which runs as a process of its own: a fault of ours cannot hide in its own mirror.
The gateway never imports it; its demonstration, which starts servers too, takes ports from `process`. docs/testing.md
shows how to use it; docs/python.md says which names are public.
"""
