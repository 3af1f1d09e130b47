"""The part of a deployment that a minion does on its node. Its modules are imported when they are first used."""

from ..core import lazily

__getattr__ = lazily.modules(__name__)
