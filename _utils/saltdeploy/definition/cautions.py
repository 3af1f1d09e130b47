"""Cautions of a plan and of a check: settings that are allowed, but that their author may not have meant. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core import urls
from ..core.httprequests import accepted
from ..core.model import Probe
from .probes import HTTP

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ..core.environment import Environment
    from ..core.model import App


def of(app: App) -> list[str]:
    """Return the warnings on the definition of ``app``."""
    return [*unseen_hang(app), *_same_question(app), *_open_login(app), *_open_digest(app)]


def of_environment(environment: Environment) -> list[str]:
    """Return the warnings on the definition of ``environment``, without its apps."""
    webhook = environment.webhook
    login = next((key for key in ("token_file", "headers") if getattr(webhook, key, None)), "")
    hosts = urls.plain_hosts(webhook.url) if webhook and login else ()
    return [_readable(f"notify:webhook:{login} of {environment.name}", host) for host in hosts]


def unseen_hang(app: App) -> Iterator[str]:
    """Warn of checks that cannot fail within min_healthy_time when a release hangs."""
    hold, slow = app.strategy.min_healthy_time, max(_checks(app), key=_until_critical)
    needed, times = _until_critical(slow), slow.failures_before_critical
    if hold < needed:
        yield (
            f"a release of {app.name} that hangs is not noticed before the old one is retired: min_healthy_time is"
            f" {hold:g}s, and the check `{slow.describe()}` needs up to {needed:g}s for it ({_times(times)}interval"
            f" {slow.interval:g}s and timeout {slow.timeout:g}s)"
        )


def _until_critical(check: Probe) -> float:
    return (check.interval + check.timeout) * check.failures_before_critical


def _times(count: int) -> str:
    return f"{count} times " if count > 1 else ""


def _same_question(app: App) -> Iterator[str]:
    """Warn if all tests ask the same questions as the checks."""
    checks = [c for c in _checks(app) if c.kind in HTTP]
    if app.tests and all(t.kind == "tcp" or _asks_as_one_of(checks, t) for t in app.tests):
        paths = {c.target for c in checks}
        what = " and ".join(sorted(paths & {t.target for t in app.tests})) or "whether the port is listened on"
        yield (
            f"the tests of {app.name} only repeat its checks ({what}): a release that answers this and fails"
            " at everything else is published. Add a test of a page that clients use"
        )


def _open_login(app: App) -> Iterator[str]:
    """Warn of logins that everybody on the way can read. Only the owner of a network knows whether that is allowed."""
    source = app.source
    sent: list[tuple[str, str]] = []
    given = [key for key in ("headers", "token_file", "netrc") if getattr(source, key)] if source else []
    if given:
        places = [source.index, *source.requirements, *([] if source.kind == "pip" else [source.location])]
        sent += [(f"source:{given[0]}", host) for place in places for host in urls.plain_hosts(place)]
    sent += [
        (f"analysis:{g.name}", host)
        for g in app.strategy.analysis
        if g.request.headers
        for host in urls.plain_hosts(g.url)
    ]
    for key, host in dict.fromkeys(sent):
        yield _readable(f"{key} of {app.name}", host)


def _readable(where: str, host: str) -> str:
    return (
        f"the login in {where} goes to {host} over http: everybody on the way can read it. Write https:// if the server"
        " has it"
    )


def _open_digest(app: App) -> Iterator[str]:
    """Warn of a digest that somebody on the way can replace together with the archive."""
    if app.source and app.source.kind == "git":
        for host in urls.plain_hosts(app.source.location):
            yield (
                f"the repository of {app.name} comes from {host} over http: somebody on the way can replace tags and"
                " files. Write https:// if the server has it"
            )
    for host in urls.plain_hosts(app.source.signed_by) if app.source else ():
        yield (
            f"the public key of {app.name} comes from {host} over http: somebody on the way can replace it together"
            " with the archive and its signature. Write the key itself"
        )
    digest = app.source.sha256 if app.source else None
    for host in urls.plain_hosts(digest) if isinstance(digest, str) else ():
        yield (
            f"the digest of {app.name} comes from {host} over http: somebody on the way can replace it together with"
            " the archive. Write https:// if the server has it, or the digest itself"
        )


def _asks_as_one_of(checks: Collection[Probe], test: Probe) -> bool:
    same = any((c.kind, c.target, c.request) == (test.kind, test.target, test.request) for c in checks)
    return same and not test.contains and any(accepted(test.status, status) for status in range(200, 300))


def _checks(app: App) -> tuple[Probe, ...]:
    return app.checks or (Probe("tcp", ""),)
