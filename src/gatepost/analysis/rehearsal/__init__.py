"""Recorded mail decided again by other rules: replay, rehearsal of a connector, blast radius of a change."""
