environments:
  test:
    based_on: production
    scale: 0.34
    nodes:
      test1: {address: 192.168.56.21, roles: [consul-server, app]}
