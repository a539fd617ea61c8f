"""Alarms: what is wrong, whether it is new, repeated or over, and the notices about it. No I/O."""
