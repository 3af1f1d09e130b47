"""The steps of a deployment as bare Salt calls and Consul requests: what an operator's script would do."""

import sys

import requests
import salt.client

config_dir, release, consul = sys.argv[1:]
nodes = ["web1", "web2", "web3"]

with salt.client.LocalClient(f"{config_dir}/master") as client:

    def job(function, *args, **kwargs):
        replies = client.cmd(nodes, function, args, kwarg=kwargs, tgt_type="list", full_return=True)
        assert {node for node, reply in replies.items() if reply["retcode"] == 0} == set(nodes), replies
        return {node: reply["ret"] for node, reply in replies.items()}

    client.cmd(nodes, "saltutil.refresh_pillar", kwarg={"wait": True}, tgt_type="list")
    old = {node: list(instances) for node, instances in job("app.instances", "web").items()}
    started = job("app.start", "web", release, 1, "by-hand")
    new = {node: [i["id"] for i in result["instances"]] for node, result in started.items()}
    job("discovery.publish", "web", new)
    wanted = {(node, i) for node, ids in new.items() for i in ids}
    found, index = set(), 0
    while not wanted <= found:
        query = {"passing": "1", "index": index, "wait": "5s"}
        answer = requests.get(f"{consul}/v1/health/service/web", params=query, timeout=10)
        index = answer.headers["X-Consul-Index"]
        found = {(e["Service"]["Meta"]["minion"], e["Service"]["ID"]) for e in answer.json()}
    job("app.stop", "web", old, drain=0, deregister_delay=0)
