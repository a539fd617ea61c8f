"""Alarms: what is wrong, whether it is new, repeated or over, and what is sent about it. No I/O."""
