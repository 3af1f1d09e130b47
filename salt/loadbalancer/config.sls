{#- Checked by HAProxy itself before it takes the place of the one that works. A configuration of somebody else is kept
    for `loadbalancer.clean`. -#}
/etc/haproxy/haproxy.cfg.before-saltdeploy:
  file.copy:
    - source: /etc/haproxy/haproxy.cfg
    - preserve: true
    - onlyif: test -e /etc/haproxy/haproxy.cfg
    - unless: grep --quiet 'Written by saltdeploy' /etc/haproxy/haproxy.cfg
    - require:
      - pkg: haproxy

/etc/haproxy/haproxy.cfg:
  file.managed:
    - source: salt://loadbalancer/files/haproxy.cfg.j2
    - template: jinja
    - mode: '0644'
    - check_cmd: haproxy -c -f
    - require:
      - file: /etc/haproxy/haproxy.cfg.before-saltdeploy
