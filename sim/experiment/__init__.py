"""Floor 7: experiment files, their expansion, execution and verdict."""
