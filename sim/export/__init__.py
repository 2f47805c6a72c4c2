"""Floor 6: files for machines; the layout of a run directory and its readers."""
