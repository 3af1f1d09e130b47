{#- `.consul` is resolved on this node, by the resolver that its environment names. -#}
{%- if pillar.get('saltdeploy_consul') %}
{%- set dns = (pillar.environments.values() | first).get('dns') or {} %}
{%- set resolver = dns.get('resolver', 'dnsmasq') %}
include:
  - dns.{{ resolver }}
  - dns.recursors

names of services:
  discovery.resolved:
    - name: consul.service.consul
    - require:
      - sls: dns.{{ resolver }}
{%- else %}
names are resolved by somebody else:
  test.nop
{%- endif %}
