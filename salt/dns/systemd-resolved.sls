{#- systemd-resolved: .consul from the agent, the rest as it was. -#}
{%- set upstream = salt['discovery.upstream'](':') %}
systemd-resolved:
  pkg.installed: []
  service.running:
    - enable: true
    - require:
      - pkg: systemd-resolved
    - watch:
      - file: /etc/systemd/resolved.conf.d/saltdeploy.conf

/etc/systemd/resolved.conf.d/saltdeploy.conf:
  file.managed:
    - contents: |
        # Written by saltdeploy; changes are lost.
        [Resolve]
        DNS=127.0.0.1:8600
        Domains=~consul
        DNSSEC=false
        # What is withdrawn is gone at once.
        Cache=no
{%- if upstream %}
        FallbackDNS={{ upstream | join(' ') }}
{%- endif %}
    - makedirs: true
    - require:
      - pkg: systemd-resolved

/etc/resolv.conf:
  file.symlink:
    - target: /run/systemd/resolve/stub-resolv.conf
    - force: true
    - require:
      - service: systemd-resolved
