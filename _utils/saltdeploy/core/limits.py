"""How much an artifact may cost a node: time, bytes, files. What is more is refused, whoever sends it.

``docs/reference/limits.rst`` shows these figures with their reasons.
"""

from __future__ import annotations

MIB = 1 << 20

# -- a download, in seconds -------------------------------------------------------------------

# A whole download with all its tries. A strategy's ``progress_deadline`` is shorter, as a rule, and ends it sooner.
DOWNLOAD = 3600.0
# To connect (an answer within a data centre takes milliseconds, three lost packets are sent again within 7 s), and
# until the headers of the answer are complete (a server may have to make the file first).
CONNECT, HEADERS = 5.0, 60.0
# A file of digests, or what a server says of a file's size: preflight has 60 s for both.
SMALL = 20.0
# Before each further try: enough for a server or proxy that restarts. What lasts longer is for the next deployment,
# which goes on where this one stopped.
WAITS = (1, 2, 4)
# A connection that brings less than RATE bytes a second for WINDOW seconds is given up. RATE is dnf's ``minrate``;
# a modem was six times as fast.
RATE, WINDOW = 1000, 60.0

# -- an answer over HTTP ----------------------------------------------------------------------

# Redirects that are followed. A release host has one or two; browsers stop at 20.
REDIRECTS = 10
# Status line and headers of an answer, in bytes: four times what nginx and Apache send at most.
HEADER_BYTES = 256 << 10
# A file of digests, in bytes: 10,000 lines as ``sha256sum`` writes them.
DIGESTS = MIB
# A token in a file, in bytes: a header line of an HTTP server holds no more.
TOKEN = 8 << 10

# -- an archive -------------------------------------------------------------------------------

# Files, folders and links. The largest npm trees have some 100,000; a file system of 16 GB has a million inodes.
MEMBERS = 250_000
# Folders within each other, and a path in bytes: with the release's folder before it, Linux takes 4095, and an app
# puts names of its own behind it. A name is at most 255 bytes (ext4, xfs).
DEPTH, PATH, NAME = 64, 1024, 255
# One header of a tar archive, in bytes: a path and extended attributes (64 KiB each) fit.
TAR_HEADER = 256 << 10
# All extended headers of a tar archive, in bytes. Python reads 1 to 4 MB of them in a second. The largest npm trees
# fit: 100,000 members with 160 bytes each, for three dates and a long path.
TAR_EXTENDED = 16 * MIB
# All its global headers, in bytes. Python copies them for each member. ``git archive`` writes one of 52 bytes.
TAR_GLOBAL = 4 << 10
# The directory of a zip archive, in bytes: MEMBERS entries with names of 200 characters.
ZIP_DIRECTORY = 64 * MIB
# What an archive unpacks to, as a multiple of its size, once that is more than FLOOR bytes. Programs and texts are
# compressed to a third or a tenth, a log to a hundredth; a bomb to a thousandth and less.
RATIO, FLOOR = 250, 64 * MIB

# -- the disk ---------------------------------------------------------------------------------

# What an installation leaves free, in bytes: instances that serve users write to the same file system (logs, data, the
# record of each), and must not be stopped by one. 64 MiB is hours of an ordinary log, and all that a disk of any size
# needs for that; of a small one it would be too much: there it is a twentieth, as ext4 keeps for root.
RESERVE, RESERVE_PART = 64 * MIB, 20
# How many bytes are written until the disk is looked at again: an eighth of the reserve, so that eight installations
# at once leave some of it.
STEP = 8 * MIB

# -- pip --------------------------------------------------------------------------------------

# To make a virtualenv and to install into it, in seconds each: compiling one large dependency takes ten minutes.
PIP = 900.0
