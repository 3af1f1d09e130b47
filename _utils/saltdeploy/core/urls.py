"""URLs of definitions: none may hold a password, and messages show no parts that may be secret."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from . import bounds, words

# A URL with an authority. With salt:// and file://, a path may begin in its place.
AUTHORITY = re.compile(r"(?i)\b(?!(?:salt|file):)([a-z][a-z0-9+.-]*)://([^/?#\s]*)")
# The same in a command, in which any scheme may have a login. A text that a shell or saltdeploy fills in is no secret.
SCHEME = re.compile(r"(?i)([a-z][a-z0-9+.-]{0,20})://(?=([^/?#]*))")
FILLED = re.compile(r"(?:\$\w+|\$\{\{?\w+\}\}?|\{[a-z]*\})+|\$\(.*")
# The message on a command with a secret.
COMMAND = (
    "a URL has a password or a token (it is not shown). Messages and discovery show commands. Put it into `env` or into"
    " a file on the node. A shell fills it in: sh -c 'psql postgres://shop:$PASSWORD@db/shop', for example."
)
# Hosts that are reached without a network.
LOOPBACK = re.compile(r"(?i)localhost|127\.[0-9.]+|\[::1\]")
# The keys of an app, and of an environment, that have URLs below them.
OF_APP, OF_ENVIRONMENT = ("source",), (("discovery",), ("consul",), ("skydns",))
# The secrets of a source have a place of their own, which is no URL.
NOT_URLS = ("headers",)
# A path of keys and positions in a definition of any shape.
Keys = tuple[object, ...]


def secrets(definitions: object) -> dict[str, list[str]]:
    """Return the apps that have a user or password in one of their URLs: ``{app: sentences}``.

    No sentence shows it. The environment itself is under ``""``.

    :param definitions: ``{"apps": …, "environments": …}``, plain data of any shape.
    """
    found: dict[str, list[str]] = {}
    seen: set[tuple[Keys, int]] = set()
    stack: list[tuple[Keys, object]] = [((), definitions)]
    while stack:
        keys, value = stack.pop()
        # Any deeper value is refused for its depth alone.
        if isinstance(value, (dict, list)) and len(keys) < bounds.DEPTH:
            # With YAML's anchors, a value may be there many times, or hold itself. It is looked at once for each app.
            once = (keys[: 2 if keys[:1] == ("apps",) else 4], id(value))
            if once in seen:
                continue
            seen.add(once)
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, inner in items:
                if isinstance(key, str) and _is_secret((*keys, ""), key):
                    _note((*keys, "…"), found)
                stack.append(((*keys, key), inner))
        elif isinstance(value, str) and _is_secret(keys, value):
            _note(keys, found)
    return found


def has_secret(text: str) -> bool:
    """Return whether a URL in ``text`` has a user or password, or a text that may be half of a password.

    A user without a password is no secret with ssh: ``git+ssh://git@…``.
    """
    for scheme, authority in AUTHORITY.findall(text):
        user, at, host = authority.rpartition("@")
        if at and (":" in user or not scheme.lower().endswith("ssh")):
            return True
        # "user:pa/ss@host": the part that looks like a port begins the password.
        port = re.sub(r"\[[^]]*\]|\{[a-z]*\}", "", host).partition(":")[2]
        if re.search(r"\D", port):
            return True
    return False


def has_password(command: str) -> bool:
    """Return whether a URL in ``command`` has a password, or a user over HTTP, which often is a token.

    A text that a shell fills in is no password: ``$NAME``, ``${NAME}``, ``$(…)``.
    """
    for word in re.split(r'[\s"]', re.sub(r"\[[^]\s]{0,50}\]", "v6", command)):
        word = word[: word.rfind("@") + 1]
        for url in SCHEME.finditer(word):
            user, at, _ = url[2].rpartition("@")
            name, _, secret = (user if at else url[2]).partition(":")
            if at and not secret and url[1].lower().endswith(("http", "https")):
                secret = name
            # "user:pa/ss@host": the part that looks like a port begins the password.
            if secret and not FILLED.fullmatch(secret) and (at or not secret.isdigit()):
                return True
    return False


def has_query(text: str) -> bool:
    """Return whether a URL in ``text`` has a query."""
    # Without the scheme: a search for it at each place of a long word takes the square of the time.
    return bool(re.search(r"://[^?#\s]*\?", text))


def public(url: str) -> str:
    """Return ``url`` without the parts that may be secret in an HTTP URL: user, password, query, fragment."""
    if not url.startswith(("http://", "https://")):
        return url
    return re.split(r"[?#]", without_secrets(url), maxsplit=1)[0]


def file_name(url: str) -> str:
    """Return the name of the file at a place: a URL, or a path. Empty if the place ends with none."""
    scheme, mark, rest = url.partition("://")
    path = rest if mark else url
    if mark and scheme != "file":
        path = path.partition("?")[0]
    if mark and scheme in ("http", "https"):
        path = path.partition("#")[0].partition("/")[2]  # behind the host
    name = path.rpartition("/")[2]
    return "" if name in (".", "..") else name


def place(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port of a URL as a single value to compare, with default ports filled in."""
    parts = urlsplit(url)
    try:
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:  # no port
        return parts.scheme, parts.netloc, None


def plain_hosts(text: str) -> list[str]:
    """Return the hosts that ``text`` has in URLs of plain http, without the hosts of this machine."""
    return [host for host in re.findall(r"(?i)\bhttp://(\[[^]]*\]|[^/?#\s:;]*)", text) if not LOOPBACK.fullmatch(host)]


def without_secrets(text: str) -> str:
    """Return ``text``, of another program, without the users, passwords and queries in its URLs."""
    text = re.sub(r"(?i)([a-z][a-z0-9+.-]*://)[^/?#\s]*@", r"\1", text)
    return re.sub(r"(?i)([a-z][a-z0-9+.-]*://[^?#\s]*)\?[^#\s]*", r"\1", text)


def _is_secret(keys: Keys, text: str) -> bool:
    """Return whether ``text`` at ``keys`` has a URL with a secret, and no secret may be there."""
    of_app, inner = _place(keys)
    if _is_command(inner):
        return has_password(text)
    has_urls = inner[:1] == OF_APP and inner[1:2] != NOT_URLS if of_app else inner[:1] in OF_ENVIRONMENT
    return has_urls and has_secret(text)


def _place(keys: Keys) -> tuple[bool, tuple[str, ...]]:
    """Return whether ``keys`` lead to an app, and the keys below that app, or below the environment."""
    texts = tuple(key if isinstance(key, str) else "" for key in keys)
    placed = texts[:1] == ("environments",) and texts[2:3] == ("apps",)
    return placed or texts[:1] == ("apps",), texts[4 if placed else 2 :]


def _is_command(inner: tuple[str, ...]) -> bool:
    tested = inner[:1] == ("tests",) or inner[:2] == ("strategy", "analysis")
    built = inner[:2] == (OF_APP[0], "build")
    return inner[:1] in (("run",), ("hooks",)) or built or (tested and inner[-1] == "command")


def _other_way(keys: Sequence[str], app: str | None) -> str:
    """Return the advice on a login in the URL at ``keys``. ``app`` is None for a URL of an environment."""
    if app is None:
        logins = {"consul": "use discovery:consul:token", "skydns": "use discovery:skydns:user and password"}
        return next((login for key, login in logins.items() if key in keys[3:]), "leave the login out")
    if {"archive", "ansible", "git", "sha256"} & set(keys):
        return "use source:headers, or a file on the node: source:token_file or source:netrc"
    return "use a file on the node: source:netrc"


def _note(keys: Keys, found: dict[str, list[str]]) -> None:
    """Add the sentence on the URL at ``keys`` to the sentences of its app, or of the environment."""
    texts = [key if isinstance(key, str) else words.shown(key) for key in keys]
    app = texts[1] if texts[0] == "apps" else texts[3] if texts[2] == "apps" else None
    path = words.path(texts)
    said = (
        f"{path}: the URL has a user or password (it is not shown), or is no URL. It would be kept in files that all"
        f" may read. Take it out and {_other_way(texts, app)}."
    )
    if _is_command(_place(tuple(texts))[1]):
        said = f"{path}: {COMMAND}"
    sentences = found.setdefault(app or "", [])
    if said not in sentences:
        sentences.append(said)
