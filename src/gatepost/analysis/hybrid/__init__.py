"""Hybrid: a pair of this gateway and an on-premises Exchange, and what each of the two needs for it."""
