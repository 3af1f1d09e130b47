{#- A deployment with steps of your own: orchestrations that run before it, after it, or if it fails.

      salt-run state.orchestrate saltdeploy.orch.deploy pillar='{app: shop, version: 1.4.3, environment: production,
        before: [backup], after: [announce], failed: [page]}' -#}
{%- set app = pillar.get('app') or raise("say the app: pillar='{app: shop}'") %}
{%- set before, after, failed = pillar.get('before', []), pillar.get('after', []), pillar.get('failed', []) %}
{%- set given = {'env': pillar.get('environment')} %}
{%- for key in ('version', 'from_env', 'reason', 'wait', 'skip_absent', 'force') if key in pillar %}
{%-   do given.update({key: pillar[key]}) %}
{%- endfor %}
{%- if before or after or failed %}
include: {{ (before + after + failed) | json }}
{%- endif %}

saltdeploy deploys {{ app }}:
  salt.runner:
    - name: deploy.app
    - arg: [{{ ("'%s'" % app) | json }}]   # a positional argument is read as YAML
    {%- for key, value in given.items() %}
    - {{ key }}: {{ value | json }}
    {%- endfor %}
    {%- for kind, some in (('require', before), ('require_in', after), ('onfail_in', failed)) if some %}
    - {{ kind }}:
      {%- for name in some %}
      - sls: {{ name }}
      {%- endfor %}
    {%- endfor %}
