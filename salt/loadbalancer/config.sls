{#- Checked by HAProxy itself before it takes the place of the one that works. -#}
/etc/haproxy/haproxy.cfg:
  file.managed:
    - source: salt://loadbalancer/files/haproxy.cfg.j2
    - template: jinja
    - mode: '0644'
    - check_cmd: haproxy -c -f
    - require:
      - pkg: haproxy
