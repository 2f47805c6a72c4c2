"""Floor 6: result files for machines."""
