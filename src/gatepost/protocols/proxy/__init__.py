"""The PROXY protocol, by which a load balancer says whose connection it passes on. Pure."""
