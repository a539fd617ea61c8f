"""Checks that try before mail depends on it: partners, chains, own names, a connector validated or drilled."""
