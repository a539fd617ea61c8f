"""DNS records whose form several RFCs share, as text."""
