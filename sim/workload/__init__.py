"""Floor 3: what puts load and faults on a cluster."""
