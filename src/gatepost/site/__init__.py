"""The service's certificates."""
