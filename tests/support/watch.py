"""What is published, from one moment to the next, while something is done to it."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from dataclasses import dataclass

import requests

from tests.support.background import beside
from tests.support.site import until


@dataclass(frozen=True)
class Moment:
    """What was published before ``time``, healthy or not.

    :param published: ``{(node, id): release}``.
    """

    time: float
    published: dict

    def releases(self, kind=lambda node: node):
        """Return which releases are published on each node, or on each ``kind`` of node."""
        found = defaultdict(set)
        for (node, _), release in self.published.items():
            found[kind(node)].add(release)
        return dict(found)


@contextlib.contextmanager
def watch(url, service):
    """Have a list of Moments that grows with each change; it is whole after the block.

    :param url: a Consul agent's.
    """
    moments = [_now(url, service)]

    def follow(over):
        index = 0
        while not over.is_set():
            try:
                index, moment = _look(url, service, index)
                moments.append(moment)
            except (requests.RequestException, ValueError):  # an election on a busy machine
                index = 0
                over.wait(0.1)

    with beside(follow):
        yield moments
    moments.append(_now(url, service))


def _now(url, service):
    found = []
    until(lambda: found.append(_look(url, service, 0)[1]) or True, 60, "Consul to say what is published")
    return found[0]


def _look(url, service, index):
    """Wait a second at most for another index of the catalog; return it and the Moment."""
    response = requests.get(f"{url}/v1/catalog/service/{service}", params={"index": index, "wait": "1s"}, timeout=60)
    response.raise_for_status()
    published = {(s["ServiceMeta"]["minion"], s["ServiceID"]): s["ServiceMeta"]["version"] for s in response.json()}
    return int(response.headers["X-Consul-Index"]), Moment(time.time(), published)
