"""Checks, reports, rehearsals, alarms, imports and hybrid plans: everything that examines mail and partners."""
