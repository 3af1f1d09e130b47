"""Real Debian hosts on one Linux machine, from the same pillar file as everything else.

Hosts are containers that boot a systemd of their own (systemd-nspawn), on a bridge of their own.
"""
