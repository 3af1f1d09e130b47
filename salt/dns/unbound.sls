{#- unbound on loopback: .consul from the agent, or the domain of SkyDNS from CoreDNS, the rest from the upstream
    servers, or by itself. -#}
{%- set upstream = salt['discovery.upstream']('@') %}
{%- set domain = salt['discovery.domain']() %}
include:
  - dns.before

unbound:
  pkg.installed:
    - pkgs: [unbound, dns-root-data]
    - require:
      - file: /etc/resolv.conf.before-saltdeploy
  service.running:
    - enable: true
    - require:
      - pkg: unbound
    - watch:
      - file: /etc/unbound/unbound.conf.d/saltdeploy.conf

{#- Says to `dns.clean` that the package was not there before. #}
/var/lib/saltdeploy-installed-unbound:
  file.managed:
    - replace: false
    - onchanges:
      - pkg: unbound

/etc/unbound/unbound.conf.d/saltdeploy.conf:
  file.managed:
    - contents: |
        # Written by saltdeploy; changes are lost.
        server:
          interface: 127.0.0.1
          do-not-query-localhost: no
          domain-insecure: "{{ domain }}"
          # What is withdrawn is gone at once.
          cache-max-ttl: 0
{%- if upstream %}
          # Upstream servers may have names of the own network, which nobody has signed: their answers count as they are.
          module-config: "iterator"
{%- endif %}
        stub-zone:
          name: "{{ domain }}"
          stub-addr: 127.0.0.1@8600
{%- if upstream %}
        forward-zone:
          name: "."
{%- for address in upstream %}
          forward-addr: {{ address }}
{%- endfor %}
{%- endif %}
    - require:
      - pkg: unbound

/etc/resolv.conf:
  file.managed:
    - contents: |
        # Written by saltdeploy; changes are lost.
        nameserver 127.0.0.1
        options edns0
    - follow_symlinks: false
    - require:
      - service: unbound
