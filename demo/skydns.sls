# The part of the demo's environment that `make demo DISCOVERY=skydns` puts in the place of `discovery: {consul: …}`.
environments:
  demo:
    discovery:
      skydns:
        etcd: ["http://127.0.0.11:2379", "http://127.0.0.12:2379", "http://127.0.0.13:2379"]
        agent: "http://{address}:8500"
        ttl: 1
