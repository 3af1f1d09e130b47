# httpbin from the Python package index, served by gunicorn.
apps:
  httpbin:
    source:
      pip: httpbin
      requirements: [gunicorn==23.0.0, flask==2.3.3, werkzeug==2.3.8]   # httpbin 0.10.1 breaks on newer ones
      sdists: [flasgger]   # the newest flasgger has no wheel, and httpbin breaks on older ones
    packages: [python3-venv]   # Debian needs it to make virtualenvs
    run: ./bin/gunicorn --bind {host}:{port} --workers 1 --worker-tmp-dir /dev/shm httpbin:app
    ports: 20000-20099
    checks:
      - http: /status/200
        interval: 2s
    tests:
      - http: {path: /get, contains: '"url"'}
      - http: {path: /status/418, status: 418}
        from: peer
      - http: /uuid
        from: master
