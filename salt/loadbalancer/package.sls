haproxy:
  pkg.installed: []
