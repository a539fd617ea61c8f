"""Domain-based Message Authentication, Reporting, and Conformance: records, their discovery, alignment (RFC 9989)."""
