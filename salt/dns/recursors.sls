{#- The servers that Consul asks for names that are not its own. Only systemd-resolved asks it for such names. -#}
{%- set dns = (pillar.environments.values() | first).get('dns') or {} %}
{%- set recursors = salt['discovery.recursors']() if dns.get('resolver') == 'systemd-resolved' else [] %}
/etc/consul.d/recursors.json:
{%- if recursors %}
  file.managed:
    - contents: {{ {'recursors': recursors} | json(indent=2) | json }}
    - user: root
    - group: consul
    - mode: '0640'
{%- else %}
  file.absent: []
{%- endif %}

recursors of consul:
  module.run:
    - service.reload:
      - name: consul
    - onchanges:
      - file: /etc/consul.d/recursors.json
