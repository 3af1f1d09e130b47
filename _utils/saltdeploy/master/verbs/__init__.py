"""The verbs of the runner, a module for each: its function ``run`` is the algorithm.

``run`` takes a session.Session and the arguments of the runner, and returns the result as plain data. An exception from
it means that nothing was changed. The modules are imported when they are first used.
"""

from ...core import lazily

__getattr__ = lazily.modules(__name__)
