"""`python -m deploy.installer`."""

from __future__ import annotations

from deploy.installer.cli import main

if __name__ == "__main__":
    main()
