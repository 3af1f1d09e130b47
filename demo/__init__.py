"""The embedded default: a Salt master, three nodes and Consul as local processes.

``python3 -m demo up | down | status``, from the repository's root, with the standard library only.
"""
