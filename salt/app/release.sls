{#- Installs one release, beside what runs: packages, user, artifact, states of the user's own.
    Nothing of that is begun where there is no room for it.
    Which one comes with the job: pillar={"saltdeploy": {"app": …, "version": …}}. A digest beside them is that of the archive that it must be made of. -#}
{%- from 'app/needs.jinja' import states %}
{%- set name = pillar['saltdeploy']['app'] %}
{%- set needs = salt['app.needs'](name) %}
room for {{ name }}:
  app.room:
    - app: {{ name }}
    - version: {{ pillar['saltdeploy']['version'] | json }}
    - order: first
    - failhard: true
{{ states(name, needs) }}
saltdeploy app {{ name }}:
  app.installed:
    - name: {{ name }}
    - version: {{ pillar['saltdeploy']['version'] | json }}
    - digest: {{ pillar['saltdeploy'].get('digest', '') | json }}
    - deployment: {{ pillar['saltdeploy'].get('deployment') | json }}
{%- if needs.states %}
include: {{ needs.states | json }}
{%- endif %}
