import ipaddress
import logging
import os
import signal

import pytest
from saltfactories.plugins.event_listener import EventListener

# The servers of pytest-salt-factories listen on all addresses, on a port that was free on one a moment before: with
# other tests running beside these it may be taken by now. So each process has an address of its own: numbers of
# processes have 22 bits (PID_MAX_LIMIT in Linux' threads.h), and so has this network.
ADDRESS = str(ipaddress.ip_address("127.64.0.0") + os.getpid())


def pytest_configure():
    # Whoever ends the tests ends the daemons, too.
    signal.signal(signal.SIGTERM, lambda number, frame: pytest.exit("ended by SIGTERM", 128 + number))


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_sessionstart(session):
    session.config.pluginmanager.get_plugin("saltfactories-log-server").log_host = ADDRESS
    return (yield)


def pytest_unconfigure():
    # Salt's daemons log over the network to pytest until they are gone, after it closed its streams.
    logging.raiseExceptions = False


@pytest.fixture(scope="session")
def event_listener():
    listener = EventListener()
    listener.host = ADDRESS
    with listener:
        yield listener
