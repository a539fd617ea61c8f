"""gatepost: a mail gateway that decides, proves and rehearses how every mail connection is protected."""

__version__ = "0.1.0"
