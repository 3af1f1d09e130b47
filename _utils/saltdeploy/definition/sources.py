"""The ``source`` of an app becomes a Source. Pure."""

from __future__ import annotations

import base64
import contextlib
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ..core import durations, placeholders, urls, words
from ..core.errors import DefinitionError, Mistakes
from ..core.model import Source
from ..core.names import DIGEST

if TYPE_CHECKING:
    from collections.abc import Mapping

# The keys that only some kinds of sources have.
BUILD = ("build", "build_timeout")
ONLY = {
    "archive": {"strip", "unpack", "headers", "token_file", "latest", "signed_by", "signature", *BUILD},
    "git": {"ref", "submodules", "key_file", "known_hosts", "headers", "token_file", *BUILD},
    "path": {"exclude", *BUILD},
    "pip": {"requirements", "python", "index", "sdists", "wheelhouse"},
    "package": {"version"},
    "container": {"headers"},
    "ansible": {
        *("playbook", "vars", "collections", "requirements", "python", "index"),
        *("strip", "headers", "token_file", "latest"),
    },
}
# The keys of all kinds that have no meaning with a kind. Nothing is fetched from a folder. apt has digests and logins.
# A commit is a digest, and git trusts the certificates of the node.
TLS = ("cert", "key", "ca")
NEVER = {"git": {"sha256", *TLS}, "path": {"sha256", "netrc", *TLS}, "package": {"sha256", "netrc", *TLS}}
# The keys of ``ansible`` that are about an archive.
OF_ARCHIVE = ("strip", "headers", "token_file")
# The variables that saltdeploy gives to a playbook.
VARIABLES = ("app", "version", "release", "directory")
EXACT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._,-]+\])?==[^\s,;*]+([ ;].*)?")
# A requirement that an index or a wheelhouse fulfils, and options that lead to no other packages than their wheels.
OF_INDEX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*([\[<>=!~;,(\s][^@]*)?")
HARMLESS = ("--extra-index-url", "--find-links", "-f", "--trusted-host", "--pre", "--prefer-binary", "--require-hashes")


def parse(raw: Mapping[str, Any], at: str) -> Source:
    """Return the Source that ``source: {…}`` describes.

    :param at: its key path, for messages.
    :raises DefinitionError: it has not exactly one kind, or keys that have no meaning together.
    """
    kinds = [k for k in ONLY if k in raw]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "none"
        *others, last = (f"`{kind}`" for kind in ONLY)
        raise DefinitionError(f"{at}: needs exactly one of {', '.join(others)} and {last}, found {found}.")
    kind, mistakes = kinds[0], Mistakes()
    if kind == "archive" and "sha256" not in raw:
        mistakes.add(f"{at}:sha256: is missing. An archive is unpacked only if its digest is known.")
    strays = set().union(*ONLY.values()) - ONLY[kind] | NEVER.get(kind, set())
    for stray in sorted(set(raw) & strays):
        mistakes.add(f"{at}:{stray}: has no meaning with `{kind}`.")
    if kind == "path":
        mistakes.attempt(_check_folder, raw[kind], f"{at}:path")
    if kind == "pip" and isinstance(raw.get("sha256"), str):
        mistakes.add(f"{at}:sha256: one digest has no meaning with `pip`. Write a digest for each version.")
    if raw.get("version", Source.version).count("{version}") != 1:
        mistakes.add(f"{at}:version: has no {{version}}, or several. Write it once, for example `{{version}}-1`.")
    if kind == "git":
        mistakes.attempt(_check_git, raw, at)
    if kind == "ansible":
        mistakes.attempt(_check_playbook, raw, at)
    if kind == "container":
        mistakes.attempt(_check_container, raw, at)
    mistakes.attempt(_check_credentials, raw, at)
    mistakes.attempt(_check_certificate, raw, at)
    mistakes.attempt(_check_packages, raw, at)
    if not raw.get("unpack", Source.unpack):
        mistakes.attempt(_check_file, raw, at)
    if "signature" in raw and "signed_by" not in raw:
        mistakes.add(f"{at}:signature: has no meaning without the public key. Write it into source:signed_by.")
    timeout = mistakes.attempt(_build_timeout, raw, at)
    mistakes.refuse()
    sdists = raw.get("sdists", Source.sdists)
    return Source(
        kind,
        raw[kind],
        sha256=raw.get("sha256"),
        strip=raw.get("strip", Source.strip),
        requirements=_requirements(raw),
        python=raw.get("python", ""),
        index=raw.get("index", ""),
        # gpg needs a block in YAML, which ends with a line break.
        headers={name: value.rstrip("\n") for name, value in raw.get("headers", {}).items()},
        token_file=raw.get("token_file", ""),
        netrc=raw.get("netrc", ""),
        latest=raw.get("latest", ""),
        exclude=tuple(raw.get("exclude", ())),
        lock=raw["requirements"] if isinstance(raw.get("requirements"), str) else "",
        sdists=tuple(sdists) if isinstance(sdists, list) else sdists,
        wheelhouse=raw.get("wheelhouse", ""),
        cert=raw.get("cert", ""),
        key=raw.get("key", ""),
        ca=raw.get("ca", ""),
        signed_by=raw.get("signed_by", ""),
        signature=raw.get("signature", ""),
        version=raw.get("version", Source.version),
        playbook=raw.get("playbook", Source.playbook),
        vars=dict(raw.get("vars", {})),
        collections=tuple(raw.get("collections", ())),
        ref=raw.get("ref", Source.ref),
        submodules=raw.get("submodules", Source.submodules),
        key_file=raw.get("key_file", ""),
        known_hosts=raw.get("known_hosts", ""),
        build=raw.get("build", ""),
        build_timeout=timeout or Source.build_timeout,
        unpack=raw.get("unpack", Source.unpack),
    )


def _requirements(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the further requirements in a definition, none if they are in a lock file."""
    given = raw.get("requirements", ())
    return () if isinstance(given, str) else tuple(given)


def _check_packages(raw: Mapping[str, Any], at: str) -> None:
    """Raise DefinitionError if there are two places of packages, or a requirement that may be no wheel."""
    mistakes = Mistakes()
    if "wheelhouse" in raw and "index" in raw:
        mistakes.add(f"{at}:index: has no meaning with `wheelhouse`, which has all packages. Remove one.")
    for number, requirement in enumerate(_requirements(raw) if not raw.get("sdists") else ()):
        text = requirement.split("#")[0].strip()
        option, wheel = re.split(r"[\s=]", text)[0], re.search(r"\.whl(\s|;|$)", text)
        if text and not (OF_INDEX.fullmatch(text) or option in HARMLESS or (wheel and not option.startswith("-"))):
            mistakes.add(
                f"{at}:requirements:{number}: may be built from its source, and only wheels are installed. Name the URL"
                " of a wheel, or allow it with `sdists: true`."
            )
    mistakes.refuse()


def _check_file(raw: Mapping[str, Any], at: str) -> None:
    """Raise DefinitionError if a file that is not unpacked has no name, or folders to leave out."""
    mistakes = Mistakes()
    if "strip" in raw:
        mistakes.add(f"{at}:strip: has no meaning with `unpack: false`. The file is kept as it is.")
    if "archive" in raw and not urls.file_name(raw["archive"]):
        mistakes.add(
            f"{at}:archive: does not end with the name of a file, which the release needs with `unpack: false`. Write a"
            " place such as https://…/shop-{version}.jar."
        )
    mistakes.refuse()


def _check_certificate(raw: Mapping[str, Any], at: str) -> None:
    """Raise DefinitionError if a client certificate is not complete, or never asked for."""
    mistakes = Mistakes()
    if "key" in raw and "cert" not in raw:
        mistakes.add(f"{at}:key: has no meaning without `cert`, the client certificate.")
    given = [key for key in ("cert", "ca") if key in raw]
    asked = [raw[key] for key in ("archive", "ansible") if raw.get(key, "").startswith(("http://", "https://"))]
    if "archive" not in raw:
        asked.append(raw.get("index", "https://"))
    if given and not any(place.startswith("https://") for place in asked):
        mistakes.add(f"{at}:{given[0]}: has no meaning with a server that is not asked over https://.")
    mistakes.refuse()


def _check_folder(path: str, at: str) -> None:
    """Raise DefinitionError if ``path`` goes back, or is the whole file system."""
    parts = PurePosixPath(path).parts
    if ".." in parts or len(parts) < 2:
        raise DefinitionError(
            f"{at}: {words.shown(path)} is no folder to copy. Write its path from / on, without `..`."
        )


def _build_timeout(raw: Mapping[str, Any], at: str) -> float:
    """Return the time for the build, in seconds.

    :raises DefinitionError: it is no duration, or the command cannot be read.
    """
    if "build" in raw:
        placeholders.check(raw["build"], f"{at}:build", placeholders.BUILD)
    elif "build_timeout" in raw:
        raise DefinitionError(f"{at}:build_timeout: has no meaning without `build`.")
    return durations.positive(raw.get("build_timeout", Source.build_timeout), f"{at}:build_timeout")


def _check_git(raw: Mapping[str, Any], at: str) -> None:
    """Raise DefinitionError if the ref has a wrong placeholder, or the login does not fit to the URL."""
    mistakes, ssh = Mistakes(), not raw["git"].startswith(("https://", "http://", "file://"))
    if re.search("[{}]", raw.get("ref", "").replace("{version}", "", 1)):
        mistakes.add(f"{at}:ref: has a brace that is no placeholder. Write {{version}} once, or a branch alone.")
    for key in ("key_file", "known_hosts"):
        if ssh and key not in raw:
            mistakes.add(
                f"{at}:{key}: is missing. With SSH, a key opens the repository, and host keys name its server."
            )
        if not ssh and key in raw and not raw.get("submodules"):
            mistakes.add(f"{at}:{key}: has no meaning with a repository that does not come over SSH.")
    hosts = raw.get("known_hosts", "")
    lines = [] if hosts.startswith("/") else [line for line in hosts.splitlines() if line.strip()]
    if "known_hosts" in raw and not hosts.startswith("/") and not (lines and all(len(x.split()) > 2 for x in lines)):
        mistakes.add(
            f"{at}:known_hosts: write a file of the node, or lines as `ssh-keyscan` prints them: host, kind, key."
        )
    mistakes.refuse()


def _check_playbook(raw: Mapping[str, Any], at: str) -> None:
    """Raise DefinitionError if the content of a playbook, or its Ansible, would not be known."""
    mistakes = Mistakes()
    if "sha256" not in raw:
        if not raw["ansible"].startswith("salt://"):
            mistakes.add(f"{at}:sha256: is missing. Only a folder on the master (salt://) needs no digest.")
        for key in OF_ARCHIVE:
            if key in raw:
                mistakes.add(f"{at}:{key}: has no meaning with a folder on the master. An archive needs `sha256`.")
    for key in ("playbook", "collections"):
        for path in [raw[key]] if isinstance(raw.get(key), str) else raw.get(key, ()):
            if ".." in PurePosixPath(path).parts:
                mistakes.add(f"{at}:{key}: {words.shown(path)} leaves the folder of the playbook.")
    for name in VARIABLES:
        if name in raw.get("vars", {}):
            mistakes.add(f"{at}:vars:{name}: is a variable of saltdeploy. Give it another name.")
    if isinstance(raw.get("requirements"), str):
        mistakes.add(f"{at}:requirements: a lock file has no meaning with `ansible`. Write a list of exact versions.")
    for number, requirement in enumerate(_requirements(raw)):
        if not EXACT.fullmatch(requirement):
            mistakes.add(
                f"{at}:requirements:{number}: is no exact version, which Ansible needs here. Write for example"
                " ansible-core==2.19.14."
            )
    mistakes.refuse()


def _check_container(raw: Mapping[str, Any], at: str) -> None:
    """Raise DefinitionError if an image has no digest, or a login that podman cannot send."""
    mistakes, digest = Mistakes(), raw.get("sha256")
    if not isinstance(digest, dict) and not DIGEST.fullmatch(digest or ""):
        found = "is missing" if digest is None else "is no digest"
        mistakes.add(f"{at}:sha256: {found}. A tag may move, so write the digest of each version: `1.4.2: <digest>`.")
    for name, value in raw.get("headers", {}).items():
        if name.lower() != "authorization" or not _is_login(value):
            mistakes.add(
                f"{at}:headers:{name}: podman can only send a login. Write `Authorization: Basic …`, with"
                " `user:password` in base64."
            )
    if raw["container"].startswith("http://"):
        for key in TLS:
            if key in raw:
                mistakes.add(f"{at}:{key}: has no meaning with a registry without TLS (http://).")
    mistakes.refuse()


def _is_login(value: str) -> bool:
    """Return whether the value of a header is a login as RFC 7617 has it, a user and a password."""
    scheme, _, text = value.partition(" ")
    with contextlib.suppress(ValueError):
        return scheme.lower() == "basic" and b":" in base64.b64decode(text.strip(), validate=True)
    return False


def _check_credentials(raw: Mapping[str, Any], at: str) -> None:
    """Raise DefinitionError if a source has several logins, a login that is never asked for, or a login in a URL."""
    mistakes = Mistakes()
    ways = [key for key in ("token_file", "netrc") if key in raw]
    ways += [f"headers:{name}" for name in raw.get("headers", ()) if name.lower() == "authorization"]
    if len(ways) > 1:
        mistakes.add(f"{at}:{ways[0]}: {ways[1]} is given too, and only one login can be sent. Remove one.")
    given = [key for key in ("headers", "token_file", "netrc") if key in raw]
    if "ansible" in raw:
        given = [key for key in given if key in OF_ARCHIVE]  # netrc is for the package index, too
    for kind, said in (("archive", "an archive"), ("ansible", "an archive"), ("git", "a repository")):
        if given and kind in raw and not raw[kind].startswith(("http://", "https://")):
            mistakes.add(f"{at}:{given[0]}: has no meaning with {said} that does not come over HTTP.")
    for number, requirement in enumerate(_requirements(raw)):
        if urls.has_query(requirement):
            mistakes.add(
                f"{at}:requirements:{number}: the URL has a query, which may be a token (it is not shown). It would be"
                " kept in files that all may read. Take it out and name a file on the node that holds the login:"
                " source:netrc."
            )
    mistakes.refuse()
