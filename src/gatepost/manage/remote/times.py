"""Times as calls of REST take them."""

from gatepost.manage.use_cases.times import time_text as time_text  # noqa: PLC0414 - until all families are declared
