"""kubesim: a discrete-event performance simulator of a whole Kubernetes cluster.

Importing this package defines the version and looks whether the hottest modules have been
compiled (``sim/native.py``); everything else is imported from its own floor (see ``docs/`` for
the map of floors).
"""

from sim import native

__version__ = "0.1.0"

__all__ = ["__version__"]

native.install()
