"""What is measured of a wave while it serves: bad, and all is as before; good, and the next one follows."""

from __future__ import annotations

import http.server
import json
import threading
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.site import NETWORK
from tests.support.target import NAME, PORTS

pytestmark = pytest.mark.usefixtures("users")
QUICK = {"interval": "200ms", "count": 2}


@pytest.fixture
def metrics():
    """A server with the figures of a shop in JSON at ``/figures``, and the query API of Prometheus.

    ``rates`` are those it says one after the other, the last one for ever; ``queries`` what Prometheus was asked.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            url = urlsplit(self.path)
            if url.path == "/api/v1/query":
                site.queries.append(parse_qs(url.query)["query"][0])
                series = [{"metric": {}, "value": [1435781451.781, "0.99"]}]
                answer = {"status": "success", "data": {"resultType": "vector", "result": series}}
            else:
                answer = {"errors": {"rate": site.rates.pop(0) if site.rates[1:] else site.rates[0]}}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer((f"{NETWORK}.1", 0), Handler) as server:
        site = SimpleNamespace(url=f"http://{NETWORK}.1:{server.server_port}", rates=[0], queries=[])
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield site
        server.shutdown()


def errors(metrics, **more):
    source = {"url": f"{metrics.url}/figures?v={{version}}", "json": "/errors/rate"}
    return {"name": "errors", "http": source, "max": 0.05, **QUICK, **more}


def test_what_is_measured_badly_is_reverted(target, users, metrics, releases):
    before, new = releases
    metrics.rates = [0.01, 0.5]
    traces = target.traces()
    target.define(strategy={"analysis": [errors(metrics)]})
    output = target.deploy(new, code=1)
    why = "analysis errors failed: measured 0.01, 0.5, wanted is at most 0.05, 1 of 2 was not, and 0 may be"
    assert f"{NAME} {new} was not deployed in site, and all is as before (3 instances of {before} on " in output
    assert why in output and "wave 1: measure errors" in output and "errors 1/2: 0.01" in output
    assert target.traces() == traces
    assert users.answered[new], "it was measured while it served"
    [entry] = target.cli.result("history", NAME, "limit=1")["history"]
    assert entry["why"] == why and entry["retcode"] == 1
    assert [(s["what"], s["ok"]) for s in entry["steps"] if s["phase"] == "measure"] == [
        ("errors 1/2: 0.01", True),
        ("errors 2/2: 0.5, wanted is at most 0.05", False),
    ]


def test_prometheus_and_a_command_are_content(target, metrics, releases):
    query = 'sum(up{job="{app}",version="{version}"})'
    up = {"name": "up", "prometheus": {"url": metrics.url, "query": query}, "min": 0.9, **QUICK}
    first, last = PORTS
    port = {"name": "port", "command": "sh -c 'echo asked; echo {port}'", "min": first, "max": last, **QUICK}
    target.define(strategy={"analysis": [up, port]})
    output = target.deploy(releases[1])
    assert f"{NAME} {releases[1]} is published in site: 3 instances" in output
    assert metrics.queries == [f'sum(up{{job="{NAME}",version="{releases[1]}"}})'] * 4, "twice in each of two waves"
    assert "up 2/2: 0.99" in output and f"port 2/2: {str(first)[:3]}" in output


def test_a_pause_goes_on_only_if_what_is_measured_is_good_still(target, metrics, releases):
    before, new = releases
    metrics.rates = [0.01, 0.5]
    target.define(strategy={"pause": "1s", "analysis": [errors(metrics, count=1)]})
    output = target.deploy(new, code=1)
    assert "paused for 1s" in output and f"{NAME} {new} is taken back in site: 3 instances of {before}" in output
    assert "at the end of the pause, analysis errors failed: measured 0.5" in target.run("history", "limit=1")


def test_a_definition_that_would_never_fail_is_refused(target, metrics):
    target.define(strategy={"analysis": [errors(metrics, failure_limit=2)]})
    output = target.deploy(target.new, code=3)
    assert (
        "environments:site:strategy:analysis:0:failure_limit: 2 is not less than `count` (2). The gate could never fail."
        in output
    )
