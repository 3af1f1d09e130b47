{#- dnsmasq on loopback: .consul from the agent, or the domain of SkyDNS from CoreDNS, the rest from where this
    node asked before. -#}
{%- set upstream = salt['discovery.upstream']('#') %}
{%- set domain = salt['discovery.domain']() %}
include:
  - dns.before

dnsmasq:
  pkg.installed:
    - require:
      - file: /etc/resolv.conf.before-saltdeploy
  service.running:
    - enable: true
    - require:
      - pkg: dnsmasq
    - watch:
      - file: /etc/dnsmasq.d/saltdeploy.conf

{#- Says to `dns.clean` that the package was not there before. #}
/var/lib/saltdeploy-installed-dnsmasq:
  file.managed:
    - replace: false
    - onchanges:
      - pkg: dnsmasq

/etc/dnsmasq.d/saltdeploy.conf:
  file.managed:
    - contents: |
        # Written by saltdeploy; changes are lost.
        listen-address=127.0.0.1
        bind-interfaces
        server=/{{ domain }}/127.0.0.1#8600
        # More than three instances do not fit into a small answer.
        edns-packet-max=4096
        # What is withdrawn is gone at once.
        max-cache-ttl=0
        no-negcache
{%- if upstream %}
        no-resolv
{%- for address in upstream %}
        server={{ address }}
{%- endfor %}
{%- else %}
        resolv-file=/etc/resolv.conf.before-saltdeploy
{%- endif %}
    - require:
      - pkg: dnsmasq

/etc/resolv.conf:
  file.managed:
    - contents: |
        # Written by saltdeploy; changes are lost.
        nameserver 127.0.0.1
        options edns0
    - follow_symlinks: false
    - require:
      - service: dnsmasq
