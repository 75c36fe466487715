"""Several nodes without Kubernetes: one script for every node, by vLLM's own launcher or by Ray.

Sources: vLLM docs, serving/parallelism_scaling and serving/data_parallel_deployment; 0.33 arg_utils.py.
"""

from __future__ import annotations

from wizard.render.arguments import ServeArguments
from wizard.render.commands import LOAD_ENVIRONMENT, exports
from wizard.render.deployment import Deployment
from wizard.render.draft import Argument
from wizard.render.escaping import shell_lines
from wizard.render.header import header, why_lines
from wizard.vllm.flags import flag_table
from wizard.vllm.versions import parse_version

MASTER_PORT = 29501
RPC_PORT = 29550
"""vLLM's own defaults for --master-port and --data-parallel-rpc-port (0.33 config/parallel.py)."""

RAY_PORT = 6379

RAY_RELEASES = {
    (0, 10): "2.48.0",
    (0, 14): "2.52.0",
    (0, 17): "2.54.0",
    (0, 20): "2.55.0",
    (0, 26): "2.56.0",
    (0, 28): "2.57.0",
    (0, 33): "2.58.0",
}
"""Ray as it was when a vLLM came out, by their dates on PyPI: vLLM asks for 2.48 or newer and names no upper bound,
all nodes need the same one, and a newest one is nobody's choice."""


def ray_version(version: str) -> str:
    """The Ray to install beside vLLM `version`."""
    minor = parse_version(version)[:2]
    return RAY_RELEASES[max((each for each in RAY_RELEASES if each <= minor), default=min(RAY_RELEASES))]


def ray_package(version: str) -> str:
    """What pip is asked for, quoted; `default` brings the agent that vLLM's data-parallel ranks are placed by."""
    return f"'ray[default]=={ray_version(version)}'"


HEAD = ': "${HEAD_ADDRESS:?Set HEAD_ADDRESS to the address of node 0 that every node reaches.}"\n'

NETWORK = [
    "HEAD_ADDRESS must be set on every node; with several networks set VLLM_HOST_IP to this node's own address,",
    "and NCCL_SOCKET_IFNAME (and NCCL_IB_HCA) to the interface between the nodes.",
    "Every node needs the same vLLM, and the model under the same path or in its own cache.",
]


def spans_nodes(deployment: Deployment) -> bool:
    """One engine of the plan needs GPUs of several nodes."""
    return deployment.nodes > 1


def native_launch(deployment: Deployment) -> bool:
    """vLLM can start it without Ray: --nnodes since 0.11, or data-parallel ranks that each fit on a node."""
    return spans_nodes(deployment) and (
        "--nnodes" in flag_table(deployment.version) or data_parallel_only(deployment)
    )


def data_parallel_only(deployment: Deployment) -> bool:
    """Only the data-parallel ranks are spread over nodes; each engine stays on one."""
    size = deployment.plan.config.data_parallel_size
    return size > 1 and size % deployment.nodes == 0


def node_scripts(deployment: Deployment) -> dict[str, str]:
    """`node-0.sh` (the head, which answers requests) to `node-N.sh`, by vLLM's own launcher."""
    return {name: _native(deployment, rank) for rank, name in enumerate(node_names(deployment))}


def ray_scripts(deployment: Deployment) -> dict[str, str]:
    """`ray-node-0.sh` (head and server) to `ray-node-N.sh`."""
    return {name: _ray(deployment, rank) for rank, name in enumerate(ray_names(deployment))}


def node_names(deployment: Deployment) -> tuple[str, ...]:
    """File names of `node_scripts`."""
    return tuple(f"node-{rank}.sh" for rank in range(deployment.nodes))


def ray_names(deployment: Deployment) -> tuple[str, ...]:
    """File names of `ray_scripts`."""
    return tuple(f"ray-node-{rank}.sh" for rank in range(deployment.nodes))


def _script(deployment: Deployment, rank: int, kind: str, more: list[str], body: str) -> str:
    head = header(
        deployment, f"Node {rank} of {deployment.nodes}, {kind}", *NETWORK, *more, *why_lines(deployment)
    )
    setup = "\n".join(exports(deployment))
    return f"#!/usr/bin/env bash\n{head}\nset -euo pipefail\n\n{LOAD_ENVIRONMENT}{HEAD}{setup}\n{body}\n"


def _native(deployment: Deployment, rank: int) -> str:
    if data_parallel_only(deployment):
        extra, tail = _data_parallel(deployment, rank)
    else:
        extra = [Argument("--nnodes", (str(deployment.nodes),)), Argument("--node-rank", (str(rank),))]
        tail = f'--master-addr "$HEAD_ADDRESS" --master-port "${{MASTER_PORT:-{MASTER_PORT}}}"'
    command = deployment.command.without("--distributed-executor-backend")
    command = command if rank == 0 else command.without("--host", "--port")
    if rank > 0:
        extra.append(Argument("--headless"))
    body = f"exec {_lines(command.with_arguments(*extra))} \\\n  {tail}"
    more = [] if rank else ["Requests are answered by this node; start the others as well, in any order."]
    if rank == 0 and not deployment.open:
        more.append(f"It listens on {deployment.host}: smoke.sh and bench.sh run here, on node 0.")
    return _script(deployment, rank, "vLLM's own launcher", more, body)


def _data_parallel(deployment: Deployment, rank: int) -> tuple[list[Argument], str]:
    """The head balances requests over ranks; the other nodes hold their share of them."""
    local = deployment.plan.config.data_parallel_size // deployment.nodes
    extra = [Argument("--data-parallel-size-local", (str(local),))]
    if rank > 0:
        extra.append(Argument("--data-parallel-start-rank", (str(rank * local),)))
    tail = f'--data-parallel-address "$HEAD_ADDRESS" --data-parallel-rpc-port "${{RPC_PORT:-{RPC_PORT}}}"'
    return extra, tail


def _ray(deployment: Deployment, rank: int) -> str:
    package = ray_package(deployment.version)
    more = [f"Ray must be installed beside vLLM (pip install {package}), the same version on every node."]
    gpus = deployment.gpus_per_node
    if rank > 0:
        body = f'exec ray start --address "$HEAD_ADDRESS:{RAY_PORT}" --num-gpus {gpus} --block'
        return _script(deployment, rank, "Ray", more, body)
    command = on_ray(deployment, deployment.command)
    body = (
        f'ray start --head --node-ip-address "$HEAD_ADDRESS" --port {RAY_PORT} --num-gpus {gpus}\n'
        f"{wait_for_nodes(deployment.nodes)}\nexec {_lines(command)}"
    )
    return _script(deployment, rank, "Ray", more, body)


def on_ray(deployment: Deployment, command: ServeArguments) -> ServeArguments:
    """The command as Ray's head runs it: one launch starts the workers, or the data-parallel ranks, of every node.

    Source: vLLM docs, serving/data_parallel_deployment (--data-parallel-backend=ray needs no address).
    """
    if not data_parallel_only(deployment):
        return command.with_arguments(Argument("--distributed-executor-backend", ("ray",)))
    local = deployment.plan.config.data_parallel_size // deployment.nodes
    return command.without("--distributed-executor-backend").with_arguments(
        Argument("--data-parallel-size-local", (str(local),)), Argument("--data-parallel-backend", ("ray",))
    )


def wait_for_nodes(nodes: int) -> str:
    """Bash that returns once all nodes have joined the Ray cluster."""
    count = (
        "import ray; ray.init(address='auto', logging_level='ERROR', log_to_driver=False); "
        "print(sum(node['Alive'] for node in ray.nodes()))"
    )
    return (
        f'until [ "$(python3 -c "{count}" | tail -n 1)" -ge {nodes} ]; do\n'
        f'  echo "Waiting for {nodes} nodes ..."\n  sleep 5\ndone'
    )


def _lines(command: ServeArguments) -> str:
    return shell_lines(["vllm", "serve", command.model], [argument.words for argument in command.arguments])
