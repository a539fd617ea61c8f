"""What scanners are asked and what they answer: rspamd over HTTP, ClamAV over INSTREAM. Pure."""
