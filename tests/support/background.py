"""Work beside a test."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor


@contextlib.contextmanager
def beside(work):
    """Run ``work(over)`` in a thread during the block, at whose end the Event ``over`` is set.

    What ``work`` raised is raised then: a watcher that died has seen nothing, and nothing wrong.
    """
    over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work, over)
        try:
            yield
        finally:
            over.set()
    done.result()
