"""What ended after it was published replaces nothing, though its supervisor has started it again."""

import subprocess

import pytest
from saltdeploy import steadiness
from saltdeploy.errors import Failed
from saltdeploy.host import Host
from saltdeploy.model import App, PortRange, Source


class Runtime:
    """Stands for a supervisor with one process for each instance."""

    def __init__(self):
        self.started = {}

    def start(self, instance):
        self.stop(instance)
        self.started[instance] = subprocess.Popen(["sleep", "300"])

    def stop(self, instance):
        if instance in self.started:
            process = self.started.pop(instance)
            process.kill()
            process.wait()

    def processes(self, instance):
        return [self.started[instance].pid] if instance in self.started else []


@pytest.fixture
def node(tmp_path):
    host, runtime = Host("web1", tmp_path / "srv"), Runtime()
    app = App("shop", Source("pip", "shop"), "run", user="root", ports=PortRange(20100, 20199))
    instance = host.instances.allocate(app, "2.0", "127.0.0.1", "d2").id
    runtime.start(instance)
    yield host, runtime, instance
    runtime.stop(instance)


def test_what_runs_on_may_replace_others(node):
    host, runtime, instance = node
    steadiness.note(host, runtime, instance, "d2")
    steadiness.refuse_restarted(host, runtime, "shop", "d2")


@pytest.mark.parametrize("again", [True, False], ids=["started again", "not running"])
def test_what_has_ended_replaces_nothing(node, again):
    host, runtime, instance = node
    steadiness.note(host, runtime, instance, "d2")
    (runtime.start if again else runtime.stop)(instance)
    with pytest.raises(Failed, match=f"^{instance} ended after it was published"):
        steadiness.refuse_restarted(host, runtime, "shop", "d2")
    # Another run is about other instances, and this one may have been restarted since.
    steadiness.refuse_restarted(host, runtime, "shop", "d3")


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"run": "d2"}', '{"run": "d2", "processes": []}'])
def test_where_nobody_knows_what_it_had_nothing_is_refused(node, text):
    host, runtime, instance = node
    if text is not None:
        (host.instances.folder(instance) / ".process").write_text(text)
    steadiness.refuse_restarted(host, runtime, "shop", "d2")
