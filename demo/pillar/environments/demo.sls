# The demo's environment: three nodes on this machine, each with a Consul of its own.
environments:
  demo:
    nodes:
      web1: {address: 127.0.0.11}
      web2: {address: 127.0.0.12}
      web3: {address: 127.0.0.13}
    discovery:
      consul:
        agent: "http://{address}:8500"
        servers: ["http://127.0.0.11:8500", "http://127.0.0.12:8500", "http://127.0.0.13:8500"]
        datacenter: demo
    apps:
      # The demo makes no account on your machine and installs no package.
      # Its check notices within min_healthy_time that a release hangs.
      httpbin: {version: 0.10.2, instances: 3, user: root, packages: [],
                checks: [{http: /status/200, interval: 1s, timeout: 2s}],
                env: {GUNICORN_CMD_ARGS: "--threads=2"}}
    strategy: {waves: [1, "100%"], min_healthy_time: 3s, drain: 5s}
