apps:
  hello:
    source:
      archive: salt://hello/hello-{version}.tar.gz
      sha256: salt://hello/hello-{version}.tar.gz.sha256
    run: ./bin/hello
    ports: 20100-20199
    checks:
      - http: /
        interval: 1s
        timeout: 2s
    tests:
      - http: {path: /, contains: hello}
      - http: /
        from: master
