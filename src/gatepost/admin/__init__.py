"""The admin centre."""
