"""The time, bytes and files that an artifact may cost a node. A larger artifact is refused, from any sender.

``docs/reference/limits.rst`` shows these figures with their reasons.
"""

from __future__ import annotations

MIB = 1 << 20

# -- a download, in seconds -------------------------------------------------------------------

# A whole download with all its tries. A strategy's ``progress_deadline`` is shorter, as a rule, and ends it sooner.
DOWNLOAD = 3600.0
# To connect: an answer within a data centre takes milliseconds, and three lost packets are sent again within 7 s.
# Until the headers of the answer are complete: a server may have to make the file first.
CONNECT, HEADERS = 5.0, 60.0
# A file of digests, or a server's answer on the size of a file: preflight has 60 s for both.
SMALL = 20.0
# Before each further try: enough for a server or proxy that restarts. After a longer outage, the next deployment goes
# on where this deployment stopped.
WAITS = (1, 2, 4)
# A connection that brings less than RATE bytes a second for WINDOW seconds is given up. RATE is dnf's ``minrate``.
# A modem was six times as fast.
RATE, WINDOW = 1000, 60.0

# -- an answer over HTTP ----------------------------------------------------------------------

# Redirects that are followed. A release host has one or two. Browsers stop at 20.
REDIRECTS = 10
# Status line and headers of an answer, in bytes: four times the most that nginx and Apache send.
HEADER_BYTES = 256 << 10
# A file of digests, in bytes: 10,000 lines as ``sha256sum`` writes them.
DIGESTS = MIB
# A token in a file, in bytes: a header line of an HTTP server holds no more.
TOKEN = 8 << 10
# A file with certificates or a key, in bytes: the certificates of a system have 250 KB.
CERTIFICATES = 4 * MIB

# -- an archive -------------------------------------------------------------------------------

# Files, folders and links. The largest npm trees have some 100,000. A file system of 16 GB has a million inodes.
MEMBERS = 250_000
# Folders within each other, then the bytes of a path and of a name. Linux takes paths of 4095 bytes: the release's
# folder comes before such a path, and an app adds names of its own. A name is at most 255 bytes (ext4, xfs).
DEPTH, PATH, NAME = 64, 1024, 255
# One header of a tar archive, in bytes: a path and extended attributes (64 KiB each) fit.
TAR_HEADER = 256 << 10
# All extended headers of a tar archive, in bytes. Python reads 1 to 4 MB of them in a second. The largest npm trees
# fit: 100,000 members with 160 bytes each, for three dates and a long path.
TAR_EXTENDED = 16 * MIB
# All its global headers, in bytes. Python copies them for each member. ``git archive`` writes 52 bytes.
TAR_GLOBAL = 4 << 10
# The directory of a zip archive, in bytes: MEMBERS entries with names of 200 characters.
ZIP_DIRECTORY = 64 * MIB
# The unpacked size of an archive, as a multiple of its size. Any archive may unpack to FLOOR bytes. Programs and texts
# are compressed to a third or a tenth, a log to a hundredth, a bomb to a thousandth and less.
RATIO, FLOOR = 250, 64 * MIB

# -- a folder as a source -----------------------------------------------------------------------

# All its files, in bytes. Each look at a working copy that has changed reads all of them: a disk reads 1 GiB in two
# to ten seconds. MEMBERS, DEPTH and PATH hold for a folder, too.
FOLDER = 1 << 30

# -- a Git repository -----------------------------------------------------------------------------

# Submodules, with those inside of them. The largest projects have some 60.
SUBMODULES = 200
# A file that stands for a file in Git LFS, in bytes: its specification allows 1024.
POINTER = 1024

# -- a build --------------------------------------------------------------------------------------

# The end of its output that a failure shows, in characters: as for a hook.
OUTPUT = 2000

# -- the disk ---------------------------------------------------------------------------------

# The bytes that an installation leaves free. Instances that serve clients write their logs, data and records to the
# same file system, and an installation must not stop them. 64 MiB is hours of an ordinary log, which is enough on a
# disk of any size. On a small disk that would be too much: there it is a twentieth, as ext4 keeps for root.
RESERVE, RESERVE_PART = 64 * MIB, 20
# The bytes that are written until the free space is checked again. An eighth of the reserve, so that eight
# installations at once leave some of it.
STEP = 8 * MIB

# -- pip --------------------------------------------------------------------------------------

# To make a virtualenv and to install into it, in seconds each: compiling one large dependency takes ten minutes.
PIP = 900.0
# The files of a playbook's folder on the master. Each costs a question to the master, some milliseconds.
FOLDER_FILES = 5000
# The virtualenv of Ansible, in bytes: ansible-core needs 70 MiB.
ANSIBLE = 100 * MIB
# pip's report on the newest version, in bytes: a page of the index has up to 1 MB for each project.
REPORT = 16 * MIB
# A lock file, in bytes: 1000 projects with 40 hashes each.
LOCK = 4 * MIB

# -- Debian packages --------------------------------------------------------------------------

# To fetch apt's lists, in seconds: preflight has 60 s for that and for its other questions.
LISTS = 40.0
# Any other question to apt, dpkg or systemctl, in seconds. It takes one on an idle node.
APT = 120.0

# -- containers -------------------------------------------------------------------------------

# Any question to podman but a pull, in seconds. It takes a tenth of a second on an idle node.
PODMAN = 60.0
