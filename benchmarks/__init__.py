"""Measurements that the documentation quotes. Each is a program: ``python -m benchmarks.deploy``, from a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_utils"))
