"""Floor 5: named metrics and distributions, derived from the fact tables after a run."""
