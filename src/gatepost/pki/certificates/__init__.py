"""The gateway's own certificates: inventory, sealed keys, requests, changeover, the published table."""
