# The master's own pillar holds every environment: write its id instead of salt_master, exactly as
# `salt-run config.get id` prints it. A node's pillar holds the one environment that lists it.
base:
  salt_master:
    - apps
    - environments.all
  '*':
    - apps
    - environments.own
