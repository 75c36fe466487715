"""nginx in front of replicas: least connections, streaming unbuffered, long answers allowed.

Directives: nginx.org, modules ngx_http_upstream_module and ngx_http_proxy_module.
"""

from __future__ import annotations

from collections.abc import Sequence

from wizard.render.deployment import Deployment
from wizard.render.header import header

NGINX_IMAGE = "nginx:1.28-alpine"
"""The stable branch."""

READ_TIMEOUT_SECONDS = 3600
"""A long answer that isn't streamed sends no byte before it is complete."""


def nginx_file(deployment: Deployment) -> str:
    """nginx.conf for replicas that listen on this machine, one port after the other."""
    servers = [f"127.0.0.1:{deployment.port + 1 + index}" for index in range(deployment.replicas)]
    host = f"[{deployment.host}]" if ":" in deployment.host else deployment.host
    text = nginx_config(servers, listen=f"{host}:{deployment.port}", scheme=deployment.scheme)
    more = "Start: nginx -c /absolute/path/to/nginx.conf; the replicas: ./serve.sh 0, ./serve.sh 1, ..."
    return header(deployment, "nginx", more) + "\n" + text


def nginx_config(servers: Sequence[str], *, listen: str, scheme: str = "http") -> str:
    """A complete nginx.conf that spreads requests over `servers`."""
    upstream = "\n".join(f"    server {server} max_fails=3 fail_timeout=10s;" for server in servers)
    return f"""\
worker_processes auto;

events {{
  worker_connections 4096;
}}

http {{
  upstream vllm {{
    least_conn;
{upstream}
    keepalive 64;
  }}

  server {{
    listen {listen};
    client_max_body_size 64m;

    location / {{
      proxy_pass {scheme}://vllm;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_buffering off;
      proxy_connect_timeout 5s;
      proxy_send_timeout {READ_TIMEOUT_SECONDS}s;
      proxy_read_timeout {READ_TIMEOUT_SECONDS}s;
    }}
  }}
}}
"""
