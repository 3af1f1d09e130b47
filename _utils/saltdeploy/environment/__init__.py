"""An environment on the master: its files, its pillar and its secrets."""
