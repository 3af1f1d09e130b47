"""``source`` of an app: the place that its releases come from."""

from __future__ import annotations

from ...core.forms import A_VERSION, DURATION, GIT, text
from ...core.model import Source
from .keys import FILE, HEADER, PLACE, Key, Section, mapping

DIGEST = text("a SHA-256", "a SHA-256: 64 hexadecimal digits", r"^[0-9a-fA-F]{64}$")
VARIABLE = text("the name of a variable", "letters, digits and _", r"^[A-Za-z_][A-Za-z0-9_]*$", writeOnly=True)
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
                " ``file://`` or a path on the node. ``{version}`` is filled in. Give exactly one of ``archive``,"
                " ``git``, ``path``, ``pip``, ``package``, ``container`` and ``ansible``."
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
        "path": Key(
            FILE,
            (
                "A folder of each node, for example a developer's working copy. A release is a copy of it, without"
                " ``.git`` and ``__pycache__``. Its content determines the version, unless ``version`` says one: see"
                " :doc:`/howto/develop`. A link in it must not lead out of the folder."
            ),
        ),
        "package": Key(
            text("a package", "the name of a Debian package", r"^[a-z0-9][a-z0-9.+-]+$"),
            (
                "A Debian package. A node installs it at the version of the release, from the archives that its apt"
                " knows, and holds it. A node has one version of a package, so such an app has one port and ``type:"
                " recreate``. See :doc:`/howto/debian-package`."
            ),
        ),
        "container": Key(
            text(
                "an image",
                "an image with its registry, without a tag and a digest",
                r"^(http://)?(localhost|(?=[^/]*[.:])[A-Za-z0-9][A-Za-z0-9.-]*)(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$",
            ),
            (
                "An OCI image, with its registry, for example ``registry.example.com/team/shop``. The digest of each"
                " version is in ``sha256``, so the image has no tag here. podman pulls it by the digest, and runs it as"
                " the app's user. ``http://`` before it names a registry without TLS. See :doc:`/howto/containers`."
            ),
        ),
        "version": Key(
            text(
                "a version",
                "the version of a Debian package, with {version} in it",
                r"^[A-Za-z0-9.+:~{}-]+$",
            ),
            (
                "The version of the package. The release's version is filled in as ``{version}``. A version of a"
                " release has no colon, so an epoch belongs here: ``5:{version}``. ``package`` only."
            ),
            default="{version}",
            reason="Then the release has the version that ``apt-cache madison`` shows, and nobody needs to translate.",
        ),
        "ansible": Key(
            text("a place", "a URL (https://, http://, salt://, file://) or a path on the node", PLACE),
            (
                "A playbook, which makes the files of the release on the node. Give the folder that the playbook is in:"
                " a folder on the master (``salt://``), or with ``sha256`` an archive, as for ``archive``."
                " ``{version}`` is filled in. See :doc:`/howto/ansible`."
            ),
        ),
        "playbook": Key(
            text("a path", "the path of a file in the folder, as site.yml", r"^[^/\s-][^\n]*$"),
            "The path of the playbook in its folder. ``ansible`` only.",
            default="site.yml",
            reason="Ansible's own documentation calls the main playbook so.",
        ),
        "vars": Key(
            {**mapping({"description": "any value", "writeOnly": True}, VARIABLE), "writeOnly": True},
            (
                "Variables of the playbook, of any type. No message, record or command line has their values. A changed"
                " value reaches the next release. ``ansible`` only."
            ),
        ),
        "collections": Key(
            {
                "type": "array",
                "items": text(
                    "a collection",
                    "a collection with its exact version, as community.general:11.2.0, or the path of a .tar.gz file in"
                    " the folder",
                    r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*:[0-9][0-9A-Za-z.+-]*$|^[^/\s-][^\n]*\.tar\.gz$",
                ),
            },
            (
                "Collections that ``ansible-galaxy`` installs for this playbook, without their dependencies. List these"
                " as well. ``ansible`` only."
            ),
            otherwise="those in the folder ``collections``, and those of ``requirements``",
            reason="Ansible finds them by itself, and no server is needed.",
        ),
        "git": Key(
            text(
                "a repository",
                "a URL (https://, http://, ssh://, file:///) or user@host:path, a password not in it",
                GIT,
            ),
            (
                "A Git repository: ``https://…``, ``ssh://…`` or ``git@host:path``. A release has the files of a single"
                " commit, without ``.git``. All nodes of a deployment install the same commit. See :doc:`/howto/git`."
            ),
        ),
        "ref": Key(
            text("a tag or a branch", "the name of a tag or a branch", r"^(?!-)[^\s~^:?*\[\\]+$", "v{version}"),
            (
                "The tag of a release, for example ``v{version}``. With a branch, which has no ``{version}`` in it, the"
                " newest commit is deployed and names the version, unless ``version`` says one. ``git`` only."
            ),
            default="{version}",
            reason="A tag with the name of the version needs no key at all. Its author alone knows any other name.",
        ),
        "submodules": Key(
            {"type": "boolean"},
            (
                "Whether a release has the files of submodules, and of submodules in them. Otherwise their folders are"
                " empty. ``git`` only."
            ),
            default="false",
            reason="A submodule is another repository, often on another server, which each node must reach.",
        ),
        "key_file": Key(
            FILE,
            (
                "A file on each node with the SSH key that opens the repository. It belongs to root, with mode 0600."
                " ``git`` over SSH only, and needed there."
            ),
        ),
        "known_hosts": Key(
            text("host keys", "a file of the node, or lines as `ssh-keyscan` prints them", r"^[^\x00]+$"),
            (
                "The host keys of the SSH server: a file on each node, for example ``/etc/ssh/ssh_known_hosts``, or its"
                " lines. A server with another key is refused. ``git`` over SSH only, and needed there."
            ),
        ),
        "build": Key(
            {"type": "string", "minLength": 1},
            (
                "A command that makes the release out of its files, for example ``make dist``. It runs in the folder of"
                " the release, and never as root: see :ref:`rights of a build <source-build>`. ``{app}``,"
                " ``{version}`` and ``{release}`` are filled in. ``archive``, ``git`` and ``path`` only."
            ),
        ),
        "build_timeout": Key(
            DURATION,
            (
                "The time for ``build``, after which its processes are killed. The strategy's ``progress_deadline``"
                " ends the whole installation, so a longer build needs a longer one there, too."
            ),
            default="10m",
            reason="This is the default of ``progress_deadline``, which no build may exceed.",
        ),
        "exclude": Key(
            {"type": "array", "items": {"type": "string", "minLength": 1}},
            (
                "Patterns of files and folders that the copy leaves out, for example ``[node_modules, '*.log']``. A"
                " pattern with a slash is about the whole path below the folder, another is about the name. ``path``"
                " only."
            ),
            otherwise="nothing more",
            reason=(
                "Only the author of an app knows which files it does not need. All users of a node can read a release,"
                " so exclude files with secrets."
            ),
        ),
        "latest": Key(
            text("a place", "a URL (https://, http://, salt://, file://) or a path on the node", PLACE),
            (
                "A file whose only line is the newest version. ``deploy.watch`` asks for it, with the login of"
                " ``archive`` if it is on the same server. ``archive`` and ``ansible`` only."
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
                " ``requirements`` too, for every dependency. With ``container`` it is the digest of the"
                " image's manifest, without ``sha256:``. A file of digests is not allowed there."
            ),
        ),
        "strip": Key(
            {"type": "integer", "minimum": 0, "maximum": 8},
            "The number of leading folders to leave out of the archive's paths. ``archive`` and ``ansible`` only.",
            default="0",
            reason=(
                "An archive may have files at its top. They would be lost without a word if saltdeploy stripped a"
                " folder that does not exist."
            ),
        ),
        "unpack": Key(
            {"type": "boolean"},
            (
                "Whether the archive is unpacked. With ``false`` the release is the file itself, for example a ``.jar``"
                " or a program. It keeps the name that it has at its place, and every user may execute it. ``archive``"
                " only. See :doc:`/howto/java`."
            ),
            default="true",
            reason="Most releases have many files. A jar is a zip file, too, so the content does not tell them apart.",
        ),
        "requirements": Key(
            {
                "description": "a list of requirements, or the place of a lock file",
                "anyOf": [
                    {"type": "array", "items": {"type": "string"}},
                    text("a lock file", "the salt:// URL or the path of a lock file", r"^salt://|^/"),
                ],
            },
            (
                "Further requirements of the virtualenv, as in a requirements file. A URL in them has no query. Or a"
                " lock file (``salt://`` or a path on the node), which has the project and all that it needs, with"
                " exact versions and hashes. ``{version}`` in its place is filled in. See :doc:`/howto/packages`. With"
                " ``ansible``, a list of the exact versions of ansible-core, or of the package ``ansible`` with its"
                " collections, and of further packages: ``[ansible-core==2.19.14]``, which is the default there."
                " ``pip`` and ``ansible`` only."
            ),
        ),
        "sdists": Key(
            {
                "description": "true, false, or a list of projects",
                "anyOf": [
                    {"type": "boolean"},
                    {"type": "array", "items": text("a project", "a project", r"^[A-Za-z0-9][A-Za-z0-9._-]*$")},
                ],
            },
            (
                "Whether packages that have no wheel are built from their source archives. A list names the projects"
                " that are always built so, and no others are. ``pip`` only. See :ref:`rights of pip <source-pip>`."
            ),
            default="false",
            reason=(
                "A build runs code of the package on the node. A wheel is only unpacked. saltdeploy never builds as"
                " root, but any user of a node can do harm, and compilers do not belong on a server."
            ),
        ),
        "wheelhouse": Key(
            text("a folder", "the salt:// URL or the path of a folder", r"^salt://|^/"),
            (
                "A folder of wheels, on the master (``salt://``) or on each node. pip takes packages only from there,"
                " and asks no index. ``pip`` only."
            ),
        ),
        "python": Key(
            {"type": "string", "minLength": 1},
            "The Python that makes the virtualenv, as a command or a path. ``pip`` and ``ansible`` only.",
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
                " belongs in ``netrc``. ``pip`` and ``ansible`` only."
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
                " not even after a redirect. Over HTTP only: ``archive``, ``ansible`` and ``git``. With ``container``,"
                " ``Authorization: Basic …`` alone. See :ref:`logins <source-logins>`."
            ),
        ),
        "token_file": Key(
            FILE,
            (
                "A file on each node with a token. The node sends it as ``Authorization: Bearer``, to the same server"
                " as ``headers``. Over HTTP only: ``archive``, ``ansible`` and ``git``."
            ),
        ),
        "netrc": Key(
            FILE,
            (
                "A netrc file on each node, in the format of curl and pip. Each server gets its own login. saltdeploy"
                " does not use the entry ``default``."
            ),
        ),
        "cert": Key(
            FILE,
            (
                "A file on each node with a client certificate in PEM, and with its key unless ``key`` names another"
                " file. The node shows it to the archive's server, as ``headers``. pip shows it to each server that"
                " asks. ``https://`` only."
            ),
        ),
        "key": Key(FILE, "A file on each node with the key of ``cert``, in PEM and without a password."),
        "ca": Key(
            FILE,
            (
                "A file on each node with the CA certificates, in PEM, that the server's certificate must be signed by."
                " It is for the same server as ``headers``, and for all servers that pip asks. ``https://`` only."
            ),
            otherwise="the node's own",
            reason="A site with its own CA has added it there for every program, and everybody else uses public CAs.",
        ),
        "signed_by": Key(
            text(
                "a public key",
                "a public key of minisign (RW…), a block of OpenPGP, or the place of a file with one of them",
                rf"^RW[A-Za-z0-9+/]{{54}}$|^-----BEGIN PGP PUBLIC KEY BLOCK-----|{PLACE}",
            ),
            (
                "The public key that signs the archive, or the file of digests: a line of minisign, a block of OpenPGP,"
                " or the place of a file. A node installs nothing without a right signature. See"
                " :ref:`signatures <source-signatures>`. ``archive`` only."
            ),
        ),
        "signature": Key(
            text("a place", "a URL (https://, http://, salt://, file://) or a path on the node", PLACE),
            (
                "The place of the signature. ``{version}`` is filled in. It is of the file of digests if it begins with"
                " the place of that file and a dot, as ``…/SHA256SUMS.asc``. Otherwise it is of the archive."
                " ``archive`` only."
            ),
            otherwise="the archive's, with ``.minisig`` or ``.asc`` at its end",
            reason="Both minisign and gpg write their signatures there.",
        ),
    },
    defaults=vars(Source),
)
