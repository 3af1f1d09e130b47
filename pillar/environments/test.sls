# The same, at a third of the size.
environments:
  test:
    based_on: production
    scale: 0.34
    nodes:
      test-salt: {address: 192.168.57.10, roles: [master]}
      test-web1: {address: 192.168.57.11, roles: [consul-server, app]}
      test-web2: {address: 192.168.57.12, roles: [consul-server, app]}
      test-web3: {address: 192.168.57.13, roles: [consul-server, app]}
      test-lb1: {address: 192.168.57.21, roles: [loadbalancer]}
    apps:
      httpbin: {version: 0.10.2}
