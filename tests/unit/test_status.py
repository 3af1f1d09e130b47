"""In what a definition differs from what is deployed."""

import pytest
from saltdeploy import status
from saltdeploy.model import App, Environment, Source


@pytest.mark.parametrize(
    "version, instances, published, told",
    [
        ("1.0", 3, 3, ""),
        ("", 3, 3, ""),
        ("1.1", 3, 3, "release 1.1, and 1.0 is deployed"),
        ("1.0", 1, 3, "1 instance, and 3 published"),
        ("1.1", 3, 0, "release 1.1, and 1.0 is deployed; 3 instances, and 0 published"),
    ],
)
def test_drift(version, instances, published, told):
    app = App("shop", Source("pip", "shop"), "run", version=version, instances=instances)
    found = status._drift(app, Environment("e", {}, {"shop": app}), {"version": "1.0"}, published)
    assert found == (f"the definition differs: it says {told}" if told else "")
