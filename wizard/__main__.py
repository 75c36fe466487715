"""`python -m wizard` is the command `vllm-wizard-tui`."""

import sys

from wizard.cli import main

sys.exit(main())
