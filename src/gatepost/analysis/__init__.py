"""Checks, reports, rehearsals, alarms, imports and hybrid plans: what is found out about mail and partners."""
