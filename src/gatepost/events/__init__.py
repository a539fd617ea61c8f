"""The record of mail flow: trace events, evidence, log lines, metrics, spans, counts."""
