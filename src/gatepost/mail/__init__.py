"""Mail on its way: accepted (`inbound`), waiting (`queue`), delivered (`outbound`); all share `model`."""
