"""Floor 7: an experiment file becomes runs, runs become verdicts."""
