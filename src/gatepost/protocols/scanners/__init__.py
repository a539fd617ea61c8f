"""Requests to content scanners and their answers: rspamd over HTTP, ClamAV over INSTREAM. No I/O."""
