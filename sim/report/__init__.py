"""Floor 6: plots and pages for people."""
