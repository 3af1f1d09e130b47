apps:
  hello:
    source:
      archive: /srv/hello/dist/hello-{version}.tar.gz
      sha256: /srv/hello/dist/hello-{version}.tar.gz.sha256
      latest: /srv/hello/dist/latest
    run: ./bin/hello
    ports: 20100-20199
    checks:
      - http: /
        interval: 1s
        timeout: 1s
    tests:
      - http: {path: /, contains: hello}
      - http: /
        from: master
