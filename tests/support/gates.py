"""Gates of a strategy's ``analysis``, and an answer of Prometheus."""

from __future__ import annotations

from saltdeploy.core.model import Gate

VALUES = {"app": "shop", "version": "1.0+b2", "environment": "test"}


def gate(kind="http", **more):
    limits = {} if {"maximum", "minimum"} & set(more) or kind == "command" else {"maximum": 5}
    return Gate("errors", kind, **{"interval": 0.01, "timeout": 5.0, **limits, **more})


def vector(*values):
    result = [{"metric": {"code": str(n)}, "value": [1435781451.781, v]} for n, v in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def named(name, one):
    return Gate(**{**one.__dict__, "name": name})
