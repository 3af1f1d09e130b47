haproxy:
  pkg.installed: []

{#- Says to `loadbalancer.clean` that the package was not there before. #}
/var/lib/saltdeploy-installed-haproxy:
  file.managed:
    - replace: false
    - onchanges:
      - pkg: haproxy
