"""`python -m atlas_hf.benchmark.speed`: `atlas-hf benchmark-speed`, which by default measures start-up as well."""

import sys

from atlas_hf.benchmark.speed.arguments import MEASURES, STARTUP
from atlas_hf.benchmark.speed.run import main

main(sys.argv[1:], [*MEASURES, STARTUP])
