"""Resources (connectors, rules, domains) as values, and the decisions made from them. No I/O."""
