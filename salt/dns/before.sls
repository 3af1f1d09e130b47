{#- Keeps /etc/resolv.conf as it was before a resolver of ours stands in it. -#}
/etc/resolv.conf.before-saltdeploy:
  file.copy:
    - source: /etc/resolv.conf
    - onlyif: test -e /etc/resolv.conf
    - unless: grep --quiet 'Written by saltdeploy' /etc/resolv.conf
