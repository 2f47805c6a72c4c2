"""Floor 6: figures and pages for people."""
