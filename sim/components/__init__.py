"""Floor 3: the modelled parts of a cluster."""
