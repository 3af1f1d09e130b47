"""What can go wrong, in the exceptions Salt already knows how to report."""

from salt.exceptions import CommandExecutionError, SaltInvocationError

# Exit codes of salt-run, and the word for each.
DONE, REVERTED, NOT_REVERTED, REFUSED = range(4)
# What a signal raises: Ctrl-C, and what salt-run makes of it and of SIGTERM.
INTERRUPTS = (KeyboardInterrupt, SystemExit)


class Refused(SaltInvocationError):
    """Bad input or unmet precondition: nothing was changed. The message says what to do."""


class DefinitionError(Refused):
    """A definition in pillar is wrong: the message has its key path, what was found, what is allowed."""


class Failed(CommandExecutionError):
    """Something was tried and did not work."""


class DiscoveryUnavailable(Failed):
    """Service discovery (Consul) did not answer, or has no leader."""


class LockLost(Failed):
    """The deployment lock expired or was taken over: this run must write nothing more."""
