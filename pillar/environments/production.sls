environments:
  production:
    nodes:
      prod-salt: {address: 192.168.56.10, roles: [master]}
      prod-web1: {address: 192.168.56.11, roles: [consul-server, app]}
      prod-web2: {address: 192.168.56.12, roles: [consul-server, app]}
      prod-web3: {address: 192.168.56.13, roles: [consul-server, app]}
      prod-lb1: {address: 192.168.56.21, roles: [loadbalancer]}
    consul: {version: 1.22.3}     # highstate sets it up, on every node; leave it out where you run your own
    dns: {resolver: dnsmasq}      # .consul is resolved on every node
    apps:
      httpbin: {version: 0.10.1, instances: 3, frontend: {port: 80}}
    strategy: {waves: [1, "100%"], min_healthy_time: 10s, drain: 30s}
