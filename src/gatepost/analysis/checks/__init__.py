"""Checks before mail depends on something: partners, chains, own names, validation and drills of connectors."""
