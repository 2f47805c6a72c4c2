"""Floor 5: published metrics, derived from recorded facts."""
