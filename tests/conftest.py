import ipaddress
import logging
import os
import signal

import pytest
from hypothesis import HealthCheck, settings
from saltfactories.plugins.event_listener import EventListener

# The servers of pytest-salt-factories listen on all addresses, on a port that was free on one a moment before: with
# other tests running beside these it may be taken by now. So each process has an address of its own: numbers of
# processes have 22 bits (PID_MAX_LIMIT in Linux' threads.h), and so has this network.
ADDRESS = str(ipaddress.ip_address("127.64.0.0") + os.getpid())

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


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_sessionstart(session):
    session.config.pluginmanager.get_plugin("saltfactories-log-server").log_host = ADDRESS
    return (yield)


def pytest_unconfigure(config):
    # Salt's daemons log over the network to pytest until they are gone, after it closed its streams.
    logging.raiseExceptions = False
    # Else the thread of an interrupted run keeps its process from ending.
    config.pluginmanager.get_plugin("saltfactories-log-server").running_event.clear()


@pytest.fixture(scope="session")
def event_listener():
    listener = EventListener()
    listener.host = ADDRESS
    with listener:
        yield listener
