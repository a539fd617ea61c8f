"""Decisions: what an inbound session may do, what an outbound hop must achieve, and whether it did."""
