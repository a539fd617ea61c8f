"""DNS record formats that several RFCs share, as text."""
