"""The machine below: its files, processes, sockets and disks. Both sides use it."""
