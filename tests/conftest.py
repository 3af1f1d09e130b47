import logging
import signal

import pytest
from hypothesis import HealthCheck, settings

# Derandomized: a failure of one run is seen again in the next.
settings.register_profile(
    "usual",
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
# Other cases each time: `make properties`.
settings.register_profile(
    "thorough", settings.get_profile("usual"), max_examples=2000, derandomize=False, print_blob=True
)
settings.load_profile("usual")


def pytest_configure():
    # Whoever ends the tests ends the daemons, too.
    signal.signal(signal.SIGTERM, lambda number, frame: pytest.exit("ended by SIGTERM", 128 + number))


def pytest_unconfigure():
    # Salt's daemons log over the network to pytest until they are gone, after it closed its streams.
    logging.raiseExceptions = False
