"""The engine that needs nothing: queue and message trace in SQLite files of one machine."""
