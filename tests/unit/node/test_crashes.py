"""A node knows the instances whose process has ended since their publication."""

import subprocess

import pytest
from saltdeploy.core.model import App, PortRange, Source
from saltdeploy.node import crashes
from saltdeploy.node.host import Host


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


@pytest.mark.parametrize("change, crashed", [(None, False), (Runtime.start, True), (Runtime.stop, True)])
def test_a_process_that_ended_is_known_also_if_another_runs_in_its_place(node, change, crashed):
    host, runtime, instance = node
    crashes.note(host, runtime, instance)
    if change:
        change(runtime, instance)
    assert crashes.since_publication(host, runtime, [instance]) == [instance] * crashed
    # A restart by an operator ends with another publication.
    crashes.note(host, runtime, instance)
    assert crashes.since_publication(host, runtime, [instance]) == []


@pytest.mark.parametrize("text", [None, "", "{}", "null", "[[1"])
def test_an_instance_without_a_usable_note_has_not_crashed(node, text):
    host, runtime, instance = node
    if text is not None:
        (host.instances.folder(instance) / ".process").write_text(text)
    assert crashes.since_publication(host, runtime, [instance]) == []
