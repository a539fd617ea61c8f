"""Rehearsals: decide recorded mail again by other rules; replay, rehearsal, blast radius of a change."""
