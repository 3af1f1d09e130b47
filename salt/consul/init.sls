{#- Consul on this node, where its environment has `consul` and asks for it to be set up. -#}
{%- if pillar.get('saltdeploy_consul') %}
include:
  - consul.package
  - consul.config
  - consul.service
{%- if pillar['saltdeploy_consul'].get('acl') %}
  - consul.acl
{%- endif %}
  - consul.ready
{%- else %}
Consul is set up by somebody else:
  test.nop
{%- endif %}
