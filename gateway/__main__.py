"""`python -m gateway` is `twicetold`."""

import sys

from gateway.cli import main

sys.exit(main())
