"""The client's side of SMTP: one connection, its transactions and their results."""
