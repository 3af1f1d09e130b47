apps:
  hello:
    source:
      archive: file:///tmp/hello/hello-{version}.tar.gz
      sha256: file:///tmp/hello/hello-{version}.tar.gz.sha256
    run: ./bin/hello
    ports: 20100-20199
    checks:
      - http: /
    tests:
      - http: {path: /, contains: hello}
      - http: /
        from: peer
      - http: /
        from: master
