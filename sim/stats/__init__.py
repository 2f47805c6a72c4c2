"""Floor 1: pure statistics over plain arrays; no clock, no Kubernetes words."""
