"""python -m oci.cli"""

from __future__ import annotations

from oci.cli import main

main()
