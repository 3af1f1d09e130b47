# Every app there is; one file each.
include:
  - apps.httpbin
