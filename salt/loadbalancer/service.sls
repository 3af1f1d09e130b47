haproxy service:
  service.running:
    - name: haproxy
    - enable: true
    - reload: true
    - require:
      - pkg: haproxy
    - watch:
      - file: /etc/haproxy/haproxy.cfg
