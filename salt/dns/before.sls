{#- Keeps /etc/resolv.conf as it was before a resolver of ours stands in it: its text, and where it led to if it was a
    link. -#}
{%- set now, before = '/etc/resolv.conf', '/etc/resolv.conf.before-saltdeploy' %}
{%- if salt['file.is_link'](now) and not salt['file.file_exists'](before) %}
/etc/resolv.conf.link-before-saltdeploy:
  file.symlink:
    - target: {{ salt['file.readlink'](now) | json }}
    - require_in:
      - file: {{ before }}
{%- endif %}

/etc/resolv.conf.before-saltdeploy:
  file.copy:
    - source: /etc/resolv.conf
    - onlyif: test -e /etc/resolv.conf
    - unless: grep --quiet 'Written by saltdeploy' /etc/resolv.conf
