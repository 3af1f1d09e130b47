{#- Who may do what. On the first server only, which is given the management token for it. -#}
{%- set consul = pillar['saltdeploy_consul'] %}
{%- set management = consul.management %}
access control:
  consul_acl.bootstrapped:
    - name: http://127.0.0.1:8500
    - secret: {{ management }}
    - require:
      - service: consul service
{%- for name, rules in consul.acl.policies.items() %}

policy {{ name }}:
  consul_acl.policy:
    - name: {{ name }}
    - rules: {{ rules | json }}
    - management: {{ management }}
    - require:
      - consul_acl: access control
    - require_in:
      - consul_acl: tokens of nodes and apps
{%- endfor %}
{%- for name, policies in consul.acl.roles.items() %}

role {{ name }}:
  consul_acl.role:
    - name: {{ name }}
    - policies: {{ policies | json }}
    - management: {{ management }}
    - require:
{%- for policy in policies %}
      - consul_acl: policy {{ policy }}
{%- endfor %}
    - require_in:
      - consul_acl: tokens of nodes and apps
{%- endfor %}
{%- for token in consul.acl.tokens %}

token {{ token.description }}:
  consul_acl.token:
    - name: {{ token.description }}
    - accessor: {{ token.accessor }}
    - secret: {{ token.secret }}
    - rights: {{ token.rights | json }}
    - management: {{ management }}
    - require:
      - consul_acl: access control
{%- for role in token.rights.get('Roles', []) %}
      - consul_acl: role {{ role.Name }}
{%- endfor %}
    - require_in:
      - consul_acl: tokens of nodes and apps
{%- endfor %}

tokens of nodes and apps:
  consul_acl.tokens_known:
    - name: saltdeploy-
    - accessors: {{ consul.acl.tokens | map(attribute='accessor') | list | json }}
    - management: {{ management }}
    - require:
      - consul_acl: access control
    - require_in:
      - discovery: this node's agent
