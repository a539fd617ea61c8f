"""Processes: supervisor, workers, and how their parts are put together."""
