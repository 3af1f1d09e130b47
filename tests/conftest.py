import logging
import signal

import pytest


def pytest_configure():
    # Whoever ends the tests ends the daemons, too.
    signal.signal(signal.SIGTERM, lambda number, frame: pytest.exit("ended by SIGTERM", 128 + number))


def pytest_unconfigure():
    # Salt's daemons log over the network to pytest until they are gone, after it closed its streams.
    logging.raiseExceptions = False
