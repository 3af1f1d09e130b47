{#- systemd-resolved asks the agent for .consul, or CoreDNS for the domain of SkyDNS. CoreDNS is as the agent then.
    systemd-resolved has one list of servers for the whole host, and one for each link. It asks all of them at once for
    names that no `Domains` matches, so the agent gets these names, too. The agent passes them on to its recursors
    (dns.recursors): the upstream servers, or those that the host asked before. The servers of the links are asked as
    before, unless there are upstream servers: `~.` sends all names to the agent alone. `FallbackDNS` does not help: it
    is used only if no other server is known. -#}
{%- set upstream = ((pillar.environments.values() | first).get('dns') or {}).get('upstream') %}
{%- set domain = salt['discovery.domain']() %}
include:
  - dns.before

systemd-resolved:
  pkg.installed:
    # The package replaces /etc/resolv.conf.
    - require:
      - file: /etc/resolv.conf.before-saltdeploy
  service.running:
    - enable: true
    - require:
      - pkg: systemd-resolved
    - watch:
      - file: /etc/systemd/resolved.conf.d/saltdeploy.conf

{#- Says to `dns.clean` that the package was not there before. #}
/var/lib/saltdeploy-installed-systemd-resolved:
  file.managed:
    - replace: false
    - onchanges:
      - pkg: systemd-resolved

/etc/systemd/resolved.conf.d/saltdeploy.conf:
  file.managed:
    - contents: |
        # Written by saltdeploy; changes are lost.
        [Resolve]
        # The agent alone. An empty value clears the servers of resolved.conf, which the agent asks.
        DNS=
        DNS=127.0.0.1:8600
        Domains=~{{ domain }}{{ ' ~.' if upstream else '' }}
        DNSSEC=false
        # What is withdrawn is gone at once.
        Cache=no
    - makedirs: true
    - require:
      - pkg: systemd-resolved

/etc/resolv.conf:
  file.symlink:
    - target: /run/systemd/resolve/stub-resolv.conf
    - force: true
    - require:
      - service: systemd-resolved
