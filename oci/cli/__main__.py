"""python -m oci.cli"""

from __future__ import annotations

import sys

from oci.cli import main

sys.exit(main())
