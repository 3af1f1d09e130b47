"""``source`` of an app: the place that its releases come from."""

from __future__ import annotations

from ...core.forms import A_VERSION, text
from ...core.model import Source
from .keys import FILE, HEADER, PLACE, Key, Section, mapping

DIGEST = text("a SHA-256", "a SHA-256: 64 hexadecimal digits", r"^[0-9a-fA-F]{64}$")
SECRET_HEADERS = {
    "type": "object",
    "propertyNames": HEADER,
    "additionalProperties": text(
        "the value of a header", "printable ASCII", r"^[!-~]([ -~]*[!-~])?\n?$", writeOnly=True
    ),
    "writeOnly": True,
}

SOURCE = Section(
    "source",
    {
        "archive": Key(
            text("a place", "a URL (https://, http://, salt://, file://) or a path on the node", PLACE),
            (
                "A tar (also compressed with gzip, bzip2 or xz) or zip file: ``https://``, ``http://``, ``salt://``,"
                " ``file://`` or a path on the node. ``{version}`` is filled in. Give exactly one of ``archive`` and"
                " ``pip``."
            ),
        ),
        "pip": Key(
            text(
                "a project", "a project, with its extras if any", r"^[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._,-]+\])?$"
            ),
            (
                "A project of the Python package index. The release is a virtualenv with exactly that version in it."
                " Its programs are ``./bin/…``."
            ),
        ),
        "sha256": Key(
            {
                "description": "a digest, a URL of one, or a mapping of version (text: quote a number) to digest",
                "anyOf": [
                    text("a digest", "a digest, or a URL of one", f"^[0-9a-fA-F]{{64}}$|{PLACE}"),
                    mapping(DIGEST, A_VERSION),
                ],
            },
            (
                "The archive's SHA-256. Without it, a node does not unpack the archive. Give the digest itself, the"
                " place of a file, or a mapping of version to digest. A file has the format of ``sha256sum``, and"
                " ``{version}`` is filled in. A mapping also says which versions exist. With ``pip`` only the mapping"
                " is allowed, with the digests of the wheel or source archive. pip then needs hashes in"
                " ``requirements`` too, for every dependency."
            ),
        ),
        "strip": Key(
            {"type": "integer", "minimum": 0, "maximum": 8},
            "The number of leading folders to leave out of the archive's paths. ``archive`` only.",
            default="0",
            reason=(
                "An archive may have files at its top. They would be lost without a word if saltdeploy stripped a"
                " folder that does not exist."
            ),
        ),
        "requirements": Key(
            {"type": "array", "items": {"type": "string"}},
            (
                "Further requirements of the virtualenv, as in a requirements file. A URL in them has no query. ``pip``"
                " only."
            ),
        ),
        "python": Key(
            {"type": "string", "minLength": 1},
            "The Python that makes the virtualenv, as a command or a path. ``pip`` only.",
            otherwise="the system's python3",
            reason=(
                "It outlasts upgrades of Salt, which may replace Salt's own Python and so break releases made with it."
                " saltdeploy takes Salt's Python only if the system has none."
            ),
        ),
        "index": Key(
            text(
                "a URL",
                "an http:// or https:// URL, a password not in it but in netrc",
                r"^https?://[^/?#@\s]+(/[^?#\s]*)?$",
            ),
            (
                "The package index that pip asks, for example ``https://pypi.example.com/simple``. A login for it"
                " belongs in ``netrc``. ``pip`` only."
            ),
            otherwise="the node's own",
            reason=(
                "A site with its own index has set it in ``/etc/pip.conf`` for every program that uses pip, and"
                " everybody else uses PyPI."
            ),
        ),
        "headers": Key(
            SECRET_HEADERS,
            (
                "HTTP headers for the archive's server, for example ``Authorization``. Other servers do not get them,"
                " not even after a redirect. ``archive`` over HTTP only. See :ref:`logins <source-logins>`."
            ),
        ),
        "token_file": Key(
            FILE,
            (
                "A file on each node with a token. The node sends it as ``Authorization: Bearer``, to the same server"
                " as ``headers``. ``archive`` over HTTP only."
            ),
        ),
        "netrc": Key(
            FILE,
            (
                "A netrc file on each node, in the format of curl and pip. Each server gets its own login. saltdeploy"
                " does not use the entry ``default``."
            ),
        ),
    },
    defaults=vars(Source),
)
