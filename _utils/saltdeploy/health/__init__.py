"""The health agent of a node with SkyDNS. It checks the node's services, and keeps those that pass in etcd.

SkyDNS and CoreDNS serve all records in etcd, and check nothing. The agent has the part of the HTTP API of Consul's
agent that registers services and their checks, so all else speaks to both in the same way. It runs as a user without
rights: ``python -m saltdeploy.health FILE``.
"""
