"""Metrics: the catalogue with labels, and the counters. No I/O."""
