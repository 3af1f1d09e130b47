{#- SkyDNS on this node: etcd and CoreDNS where its environment has `skydns`, and the health agent. -#}
include:
{%- if pillar.get('saltdeploy_skydns') %}
  - saltdeploy.skydns.etcd
  - saltdeploy.skydns.coredns
{%- endif %}
  - saltdeploy.skydns.agent
