"""Floor 4: components wired into a cluster, and its whole-cluster invariants."""
