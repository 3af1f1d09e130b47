{#- `.consul`, or the domain of SkyDNS, is resolved on this node, by the resolver that its environment names. -#}
{%- if pillar.get('saltdeploy_consul') or pillar.get('saltdeploy_skydns') %}
{%- set dns = (pillar.environments.values() | first).get('dns') or {} %}
{%- set resolver = dns.get('resolver', 'dnsmasq') %}
include:
  - dns.{{ resolver }}
{%- if pillar.get('saltdeploy_consul') %}
  - dns.recursors

names of services:
  discovery.resolved:
    - name: consul.service.consul
    - require:
      - sls: dns.{{ resolver }}
{%- endif %}
{%- else %}
names are resolved by somebody else:
  test.nop
{%- endif %}
