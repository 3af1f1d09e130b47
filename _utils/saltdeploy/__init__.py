"""Deploy services on your own machines with Salt and Consul: everything that decides or talks."""

__version__ = "0.1.0"
