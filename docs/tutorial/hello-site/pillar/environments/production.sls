environments:
  production:
    nodes:
      prod1: {address: 192.168.56.31, roles: [consul-server, app]}
      prod2: {address: 192.168.56.32, roles: [consul-server, app]}
      prod3: {address: 192.168.56.33, roles: [consul-server, app]}
    consul: {version: 1.22.3}
    dns: {resolver: dnsmasq}
    apps:
      hello: {instances: 3}
    strategy: {waves: [1, "100%"], min_healthy_time: 5s, drain: 2s}
