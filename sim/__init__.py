"""kubesim: a discrete-event performance simulator of a whole Kubernetes cluster.

Importing this package does nothing but define the version; everything else is imported from
its own floor (see ``docs/`` for the map of floors).
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
