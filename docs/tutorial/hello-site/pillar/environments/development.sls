environments:
  development:
    based_on: production
    scale: 0.34
    nodes:
      dev1: {address: 192.168.56.11, roles: [master, consul-server, app]}
    apps:
      hello:
        version: working-copy
        source: {path: /srv/hello/app}
