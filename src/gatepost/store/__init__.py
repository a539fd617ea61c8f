"""The durable queue, the message trace and the configuration with its history."""
