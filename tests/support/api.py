"""salt-api over HTTPS: the configuration of docs/howto/ci.rst on the test's master, and a client as a CI job has it."""

from __future__ import annotations

import datetime
import hashlib

import requests
import yaml
from saltdeploy.environment import certificates

from tests.support.site import NETWORK, REPOSITORY

HOST, PORT = f"{NETWORK}.1", 8000
URL = f"https://{HOST}:{PORT}"
# The users and their rights, beside ``ci``, whom the how-to has.
EVERYTHING = [{"@runner": ["deploy.*", "environment.*"]}]
USERS = {
    "ann": EVERYTHING,
    "sudo_ann": EVERYTHING,
    # Salt silently ignores a restriction of this form, and takes the name of a function for the beginning of a name.
    "narrow": [{"@runner": [{"deploy.app": {"env": "site"}}]}],
}


def secret(user):
    """Return the secret of a user."""
    return hashlib.sha256(f"secret of {user}".encode()).hexdigest()


def reactor():
    """Return the reactors of docs/howto/request.rst."""
    return yaml.safe_load((REPOSITORY / "docs/howto/request/reactor.conf").read_text())["reactor"]


def settings(folder):
    """Return the master's configuration: that of the how-to, with more users, and all clients enabled."""
    found = yaml.safe_load((REPOSITORY / "docs/howto/ci/api.conf").read_text())
    users, certificate, key = (folder / name for name in ("api-users", "api.crt", "api.key"))
    hashes = {user: hashlib.sha256(secret(user).encode()).hexdigest() for user in ("ci", *USERS)}
    users.write_text("".join(f"{user}:{digest}\n" for user, digest in hashes.items()))
    now = datetime.datetime.now(datetime.timezone.utc)
    authority = certificates.authority("test", now)
    pair = certificates.issue(authority, ["localhost"], [HOST], now)
    (folder / "ca.crt").write_text(authority["certificate"])
    certificate.write_text(pair["certificate"])
    key.write_text(pair["key"])
    found["external_auth"]["file"].update({"^filename": str(users), **USERS})
    found["rest_cherrypy"].update(host=HOST, port=PORT, ssl_crt=str(certificate), ssl_key=str(key))
    found["netapi_enable_clients"] = ["local", "runner", "runner_async", "wheel"]
    return found


class Api:
    """A user of salt-api.

    :param ca: the file with the authority of the server's certificate.
    """

    def __init__(self, ca, user):
        self.ca, self.user = str(ca), user
        answer = self._post("/login", {}, {"username": user, "password": secret(user), "eauth": "file"})
        [self.login] = answer.json()["return"]
        self.token = self.login["token"]

    def post(self, fun, **low):
        """Call a function of a runner, or what ``low`` says; return the response."""
        low = {"client": "runner", "fun": fun, "timeout": 240, **low}
        return self._post("/", {"X-Auth-Token": self.token}, low)

    def run(self, fun, **low):
        """Return the result of a function of a runner."""
        answer = self.post(fun, **low)
        assert answer.status_code == 200, answer.text
        [result] = answer.json()["return"]
        return result

    def _post(self, path, headers, body):
        headers = {"Accept": "application/json", **headers}
        return requests.post(f"{URL}{path}", json=body, headers=headers, verify=self.ca, timeout=300)
