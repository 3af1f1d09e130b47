{#- Each app of this node's environment, as the record has it; and, where it may run here, what it needs on a node,
    so that a node that was wiped can bring it back. A deployment is the runner's work. -#}
{%- from 'app/needs.jinja' import states %}
{%- set included = [] %}
{%- for environment in (pillar.get('environments') or {}).values() %}
{%-   for name in environment.get('apps') or {} %}
{%-     if name in salt['app.eligible']() %}
{%-       set needs = salt['app.needs'](name) %}
{%-       do included.extend(needs.states) %}
{{ states(name, needs) }}
{%-     endif %}
saltdeploy app {{ name }}:
  app.deployed:
    - name: {{ name }}
{%-   endfor %}
saltdeploy apps without a definition:
  app.defined
{%- else %}
{%-   if pillar.get('saltdeploy_broken') %}
saltdeploy has no environment for {{ grains.id }}:
  test.fail_without_changes:
    - comment: {{ pillar['saltdeploy_broken'] | json | json }}
{%-   else %}
{{ grains.id }} is a node of no environment:
  test.nop
{%-   endif %}
{%- endfor %}
{%- if included %}
include: {{ included | unique | list | json }}
{%- endif %}
