"""What is recorded as mail flows: trace events, evidence, log lines, metrics, spans, counts."""
