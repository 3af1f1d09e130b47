# The same, at a third of the size.
environments:
  test:
    based_on: production
    scale: 0.34
    nodes:
      test-salt: {address: 10.0.1.10, roles: [master]}
      test-web1: {address: 10.0.1.11, roles: [consul-server, app]}
      test-web2: {address: 10.0.1.12, roles: [consul-server, app]}
      test-web3: {address: 10.0.1.13, roles: [consul-server, app]}
      test-lb1: {address: 10.0.1.21, roles: [loadbalancer]}
    apps:
      httpbin: {version: 0.10.2}
