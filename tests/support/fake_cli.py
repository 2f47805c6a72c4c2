"""``kubesim`` on the stand-in cluster, for tests that need the command in a process of its own."""

from __future__ import annotations

import sim.cli.options
from sim.cli.main import main
from tests.support.fake_cluster import backend

if __name__ == "__main__":
    sim.cli.options.backend = backend
    main()
