"""A service as it is registered in Consul, and as the catalog has it."""

from __future__ import annotations

from saltdeploy.core.model import Probe
from saltdeploy.discovery import Service

CHECK = Probe("http", "/health", interval=0.5, timeout=3.0)
SERVICE = Service("shop_1_80", "shop", "10.0.0.1", 80, ("test", "1"), {"app": "shop"}, (CHECK,))


def entry(*statuses, **service):
    service = {"ID": "s1", "Service": "shop", "Address": "10.0.0.1", "Port": 80, "Tags": ["a"], "Meta": None, **service}
    node = {"Node": "n1", "Address": "10.0.0.9"}
    return {"Node": node, "Service": service, "Checks": [{"Status": s} for s in statuses]}
