"""Predictors of the recipe files: what a whole control plane does for Deployments, Services, Jobs.

**Source:** groundtruth/README.md, "The recipe in short".
"""

from __future__ import annotations

from sim.experiment import accuracy_recipe_counts, accuracy_recipe_density

PREDICTORS = {**accuracy_recipe_density.PREDICTORS, **accuracy_recipe_counts.PREDICTORS}
"""By file name."""
