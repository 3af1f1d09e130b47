# The same on one machine of a developer. An app may come from a working copy there: see docs/howto/watch.rst.
environments:
  development:
    based_on: production
    scale: 0.34
    nodes:
      dev1: {address: 192.168.58.10, roles: [master, consul-server, app, loadbalancer]}
    apps:
      httpbin: {version: 0.10.2, tests: [{http: {path: /get, contains: '"url"'}}]}   # no peer tests it
    strategy: {min_healthy_time: 1s, drain: 1s}
