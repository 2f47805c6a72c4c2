"""``python -m sim``: the same command as the ``kubesim`` console script."""

from sim.cli.main import main

if __name__ == "__main__":
    main()
