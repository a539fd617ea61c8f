"""Metrics: what is counted under which labels, and the counting. No I/O."""
