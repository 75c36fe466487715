"""systemd units: restart, limits and a sandbox that CUDA still works in.

Source: systemd.service(5), systemd.exec(5). Left out on purpose: PrivateDevices, DevicePolicy and
ProtectClock close /dev/nvidia*; MemoryDenyWriteExecute breaks every JIT compiler; ProcSubset hides
/proc/driver/nvidia. With the same User= in every unit, replicas share one dynamic user, and so the directories.
"""

from __future__ import annotations

from wizard.render.arguments import ServeArguments
from wizard.render.deployment import DEFAULT_PORT, LOOPBACK, Deployment, listening
from wizard.render.escaping import systemd_value, systemd_word
from wizard.render.header import header, why_lines

START_LIMIT = 5
"""Starts in ten minutes before systemd gives up: a plan that doesn't fit never will by retrying."""

HARDENING = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
LockPersonality=yes
SystemCallArchitectures=native
UMask=0077"""

OWN_CACHE = ("HF_HOME=/var/cache/vllm/huggingface", "VLLM_CACHE_ROOT=/var/cache/vllm/vllm")
"""Set on the command line: EnvironmentFile= wins over Environment= (systemd.exec(5))."""

LOWEST_FREE_PORT = 1024
"""Ports below it need CAP_NET_BIND_SERVICE (ip(7), net.ipv4.ip_unprivileged_port_start)."""


def systemd_units(deployment: Deployment) -> dict[str, str]:
    """`vllm.service`, or one unit for every replica."""
    if deployment.replicas == 1:
        return {"vllm.service": _unit(deployment, deployment.command, deployment.device_ids, "vllm")}
    units: dict[str, str] = {}
    for index in range(deployment.replicas):
        command = listening(deployment.command, LOOPBACK, deployment.port + 1 + index)
        name = f"vllm-{index}"
        units[f"{name}.service"] = _unit(deployment, command, deployment.replica_devices(index), name)
    return units


def unit_names(deployment: Deployment) -> tuple[str, ...]:
    """File names of `systemd_units`."""
    if deployment.replicas == 1:
        return ("vllm.service",)
    return tuple(f"vllm-{index}.service" for index in range(deployment.replicas))


def _unit(deployment: Deployment, command: ServeArguments, devices: tuple[str, ...], name: str) -> str:
    amd = deployment.plan.gpus[0].vendor == "amd"
    more = [
        f"Install: cp {name}.service /etc/systemd/system/ && systemctl daemon-reload && "
        f"systemctl enable --now {name}",
        "Token and key: cp .env.example /etc/vllm.env && chmod 600 /etc/vllm.env, and fill in.",
        "Where vllm is installed elsewhere than in /opt/vllm, change PATH below.",
        "The service runs as a user of its own; a model directory must be readable by everyone.",
        "HF_HOME is the service's own cache whatever /etc/vllm.env says: nowhere else may it write.",
        *why_lines(deployment),
    ]
    variables = [
        ("PATH", "/opt/vllm/bin:/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "/var/lib/vllm"),
        *(((deployment.devices_variable, ",".join(devices)),) if devices else ()),
        *deployment.environment,
    ]
    environment = "\n".join(f"Environment={_assignment(key, value)}" for key, value in variables)
    words = ["/usr/bin/env", *OWN_CACHE, "vllm", "serve", systemd_word(command.model)]
    arguments = [" ".join(systemd_word(word) for word in each.words) for each in command.arguments]
    start = " \\\n  ".join([" ".join(words), *arguments])
    devices_line = (
        "SupplementaryGroups=video render" if amd else "ExecStartPre=-+/usr/bin/nvidia-modprobe -u -c=0"
    )
    port = int(command.value("--port") or DEFAULT_PORT)
    capability = "CAP_NET_BIND_SERVICE" if port < LOWEST_FREE_PORT else ""
    ambient = f"AmbientCapabilities={capability}\n" if capability else ""
    return f"""\
{header(deployment, "systemd unit", *more)}
[Unit]
Description=vLLM server for {systemd_value(deployment.plan.model.id)}
Documentation=https://docs.vllm.ai
Wants=network-online.target
After=network-online.target nvidia-persistenced.service
StartLimitIntervalSec=600
StartLimitBurst={START_LIMIT}

[Service]
Type=exec
DynamicUser=yes
User=vllm
StateDirectory=vllm
CacheDirectory=vllm
WorkingDirectory=/var/lib/vllm
EnvironmentFile=-/etc/vllm.env
{environment}
{devices_line}
ExecStart={start}
Restart=on-failure
RestartSec=10
TimeoutStopSec=60
KillMode=mixed
LimitNOFILE=65536
LimitMEMLOCK=infinity
{HARDENING}
CapabilityBoundingSet={capability}
{ambient}
[Install]
WantedBy=multi-user.target
"""


def _assignment(key: str, value: str) -> str:
    """`Environment=` takes words; % is a specifier there, $ is not special."""
    text = f"{key}={value}".replace("%", "%%")
    if all(character.isalnum() or character in "_=./,:%-" for character in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
