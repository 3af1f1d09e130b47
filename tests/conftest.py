import ipaddress
import logging
import os
import signal

import pytest


def pytest_configure():
    # Whoever ends the tests ends the daemons, too.
    signal.signal(signal.SIGTERM, lambda number, frame: pytest.exit("ended by SIGTERM", 128 + number))


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_sessionstart(session):
    # The log server of pytest-salt-factories listens on all addresses, on a port that was free on one a moment before;
    # with tests running beside each other it may be taken by now. So each process has an address of its own: numbers
    # of processes have 22 bits (PID_MAX_LIMIT in Linux' threads.h), and so has this network.
    log_server = session.config.pluginmanager.get_plugin("saltfactories-log-server")
    log_server.log_host = str(ipaddress.ip_address("127.64.0.0") + os.getpid())
    return (yield)


def pytest_unconfigure():
    # Salt's daemons log over the network to pytest until they are gone, after it closed its streams.
    logging.raiseExceptions = False
