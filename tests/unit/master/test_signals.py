"""What interrupts is held back where it would do harm, and never lost."""

import os
import signal
import threading

import pytest
from saltdeploy.master import signals


def test_a_signal_is_held_back_until_it_is_let_through_and_none_is_lost():
    with pytest.raises(KeyboardInterrupt), signals.held() as let_through:
        let_through()
        os.kill(os.getpid(), signal.SIGINT)
        reached = True
        let_through()
        reached = False
    assert reached
    with pytest.raises(KeyboardInterrupt), signals.held():
        os.kill(os.getpid(), signal.SIGINT)
        reached = "the end"
    assert reached == "the end" and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signals_are_not_touched_where_they_cannot_come_or_do_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.held():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    seen = []

    def elsewhere():
        with signals.held() as let_through:
            seen.append(let_through())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [None]
