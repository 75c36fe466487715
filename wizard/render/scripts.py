"""smoke.sh, bench.sh and .env.example: is it up, does it answer, how fast is it."""

from __future__ import annotations

import json

from wizard.render.commands import LOAD_ENVIRONMENT
from wizard.render.deployment import Deployment
from wizard.render.escaping import shell_lines, shell_word
from wizard.render.header import header
from wizard.schemas.outputs import Estimate, PerfEstimate
from wizard.text import span
from wizard.vllm.versions import parse_version

REQUESTS_PER_SLOT = 4
"""Benchmark requests per concurrent one: the first wave fills the batch, three more are measured full."""

MOST_BENCH_REQUESTS = 1000
SMOKE_TOKENS = 64

_WAIT = """\
command -v curl > /dev/null || { echo "curl is missing; install it first." >&2; exit 2; }

authorization() {
  if [ -n "${VLLM_API_KEY:-}" ]; then
    local key="${VLLM_API_KEY//\\\\/\\\\\\\\}"
    printf 'header = "Authorization: Bearer %s"\\n' "${key//\\"/\\\\\\"}"
  fi
}

wait_until_healthy() {
  local deadline=$((SECONDS + timeout))
  until curl@TLS --silent --fail --output /dev/null --max-time 5 "$base_url/health"; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      echo "$base_url/health did not answer within $timeout s; look at the server's log." >&2
      exit 1
    fi
    sleep 1
  done
}
"""
"""The key reaches curl by a configuration on a pipe, so that no process list shows it."""

TLS = " --insecure"
"""curl's option for a certificate that names another host than the one asked here."""


def _wait(deployment: Deployment) -> str:
    return _WAIT.replace("@TLS", _tls(deployment))


def _tls(deployment: Deployment) -> str:
    return TLS if deployment.scheme == "https" else ""


def smoke_script(deployment: Deployment) -> str:
    """smoke.sh: waits for /health, sends one request, prints its speed."""
    more = f"BASE_URL={deployment.base_url} and TIMEOUT={deployment.start_seconds} can be set by the environment."
    first, *rest = [
        f"ask {path} {shell_word(json.dumps(body))}" for path, body in _smoke_requests(deployment)
    ]
    asked = first + "".join(f'\nif [ "$code" = 400 ]; then\n  {other}\nfi' for other in rest)
    return f"""\
#!/usr/bin/env bash
{header(deployment, "First request", more)}
set -euo pipefail

{LOAD_ENVIRONMENT}
base_url="${{BASE_URL:-{deployment.base_url}}}"
timeout="${{TIMEOUT:-{deployment.start_seconds}}}"

{_wait(deployment)}
ask() {{
  answer="$(curl{_tls(deployment)} --silent --show-error --max-time 600 --config <(authorization) \\
    --header 'Content-Type: application/json' --data "$2" \\
    --write-out '\\n%{{http_code}} %{{time_total}}' "$base_url$1")"
  read -r code seconds <<< "${{answer##*$'\\n'}}"
  answer="${{answer%$'\\n'*}}"
}}
count() {{ sed -n "s/.*\\"$1\\": *\\([0-9][0-9]*\\).*/\\1/p" <<< "$answer" | head -n 1; }}

echo "Waiting for $base_url ..."
wait_until_healthy
{asked}
if [ "$code" != 200 ]; then
  printf 'The server answered %s: %s\\n' "$code" "$answer" >&2
  exit 1
fi
{_smoke_report(deployment)}"""


def _smoke_requests(deployment: Deployment) -> list[tuple[str, dict[str, object]]]:
    """Paths and bodies, by what the model does; the second is for base models, which have no chat template."""
    name = deployment.served_name
    if deployment.pooling:
        sorts = deployment.plan.model.architecture.endswith("ForSequenceClassification")
        return [("/classify" if sorts else "/v1/embeddings", {"model": name, "input": "vLLM is up."})]
    question = "Say hello in one short sentence."
    chat = {"model": name, "messages": [{"role": "user", "content": question}], "max_tokens": SMOKE_TOKENS}
    text = {"model": name, "prompt": question, "max_tokens": SMOKE_TOKENS}
    return [("/v1/chat/completions", chat), ("/v1/completions", text)]


def _smoke_report(deployment: Deployment) -> str:
    counted = "prompt_tokens" if deployment.pooling else "completion_tokens"
    return f"""\
tokens="$(count {counted})"
printf '%s\\n' "${{answer:0:600}}"
awk -v tokens="${{tokens:-0}}" -v seconds="$seconds" 'BEGIN {{
  printf "%d tokens in %.2f s: %.1f tokens/s\\n", tokens, seconds, (seconds > 0 ? tokens / seconds : 0)
}}'
"""


def bench_script(deployment: Deployment) -> str:
    """bench.sh: the user's own workload, by `vllm bench serve`, or by curl where vllm isn't installed."""
    workload = deployment.request.workload
    requests = min(MOST_BENCH_REQUESTS, max(8, REQUESTS_PER_SLOT * workload.concurrency))
    shared = round(workload.prompt_tokens * workload.prefix_share)
    bench = shell_lines(["vllm", "bench", "serve"], _bench_options(deployment, requests, shared))
    tail = ' \\\n  --base-url "$base_url" "$@"'
    return f"""\
#!/usr/bin/env bash
{header(deployment, "Benchmark", *_expected(deployment))}
set -euo pipefail

{LOAD_ENVIRONMENT}
base_url="${{BASE_URL:-{deployment.base_url}}}"
timeout="${{TIMEOUT:-{deployment.start_seconds}}}"

{_wait(deployment)}
wait_until_healthy
if command -v vllm > /dev/null; then
  export OPENAI_API_KEY="${{OPENAI_API_KEY:-${{VLLM_API_KEY:-}}}}"
{_indented(bench + tail)}
else
  echo "vllm is not installed here, so curl sends the requests: {requests}, {workload.concurrency} at once."
{_indented(_curl_bench(deployment, requests))}
fi
{_print_expected(deployment)}"""


def _bench_options(deployment: Deployment, requests: int, shared: int) -> list[list[str]]:
    """Options of `vllm bench serve` that every version since 0.10.2 has (benchmarks/serve.py, datasets)."""
    workload, config = deployment.request.workload, deployment.plan.config
    model = deployment.command.model
    options = [
        ["--backend", "openai-embeddings" if deployment.pooling else "openai"],
        ["--endpoint", "/v1/embeddings" if deployment.pooling else "/v1/completions"],
        [f"--model={model}"] if model.startswith("-") else ["--model", model],
        ["--dataset-name", "random"],
        ["--random-input-len", str(workload.prompt_tokens - shared)],
        *([["--random-prefix-len", str(shared)]] if shared else []),
        *(
            []
            if deployment.pooling
            else [["--random-output-len", str(workload.gen_tokens)], ["--ignore-eos"]]
        ),
        ["--num-prompts", str(requests)],
        ["--max-concurrency", str(workload.concurrency)],
        ["--percentile-metrics", "e2el" if deployment.pooling else "ttft,tpot,itl,e2el"],
    ]
    if deployment.pooling and parse_version(deployment.version) < (0, 11, 0):
        options.insert(0, ["--endpoint-type", "openai-embeddings"])
    if deployment.served_name != model:
        options.append(["--served-model-name", deployment.served_name])
    if config.tokenizer:
        options.append(["--tokenizer", config.tokenizer])
    if config.trust_remote_code:
        options.append(["--trust-remote-code"])
    return options


def _curl_bench(deployment: Deployment, requests: int) -> str:
    """The same load without vllm: words stand for tokens, so prompts are near the wanted length only."""
    workload = deployment.request.workload
    body: dict[str, object] = {"model": deployment.served_name}
    if deployment.pooling:
        path, key = "/v1/embeddings", "input"
    else:
        path, key = "/v1/completions", "prompt"
        body |= {"max_tokens": workload.gen_tokens, "ignore_eos": True}
    prefix = json.dumps(body)[:-1]
    counted = "prompt_tokens" if deployment.pooling else "completion_tokens"
    return f"""\
export base_url
words="$(printf 'word %.0s' $(seq {workload.prompt_tokens}))"
body={shell_word(prefix)}", \\"{key}\\": \\"$words\\"}}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
printf '%s' "$body" > "$work/body.json"
authorization > "$work/curl.conf"
started="$(date +%s.%N)"
seq {requests} | xargs -P {workload.concurrency} -I '{{}}' curl{_tls(deployment)} \\
  --silent --show-error --max-time 3600 --config "$work/curl.conf" \\
  --header 'Content-Type: application/json' --data "@$work/body.json" \\
  --output "$work/{{}}.json" --write-out '%{{http_code}}\\n' "$base_url{path}" > "$work/codes"
ended="$(date +%s.%N)"
failed="$(grep -vc '^200$' "$work/codes" || true)"
tokens="$(cat "$work"/[0-9]*.json | {{ grep -o '"{counted}": *[0-9]*' || true; }} \\
  | awk -F ': *' '{{ sum += $2 }} END {{ print sum + 0 }}')"
awk -v tokens="$tokens" -v started="$started" -v ended="$ended" -v failed="$failed" 'BEGIN {{
  seconds = ended - started
  printf "{requests} requests (%d failed), %d tokens in %.1f s: %.1f tokens/s, %.2f requests/s\\n", \\
    failed, tokens, seconds, tokens / seconds, {requests} / seconds
}}'
[ "$failed" -eq 0 ]"""


def _expected(deployment: Deployment) -> list[str]:
    """Header lines that say which result to expect."""
    workload = deployment.request.workload
    lines = [
        f"Workload    {workload.prompt_tokens:,} prompt and {workload.gen_tokens:,} output tokens, "
        f"{workload.concurrency:,} requests at once"
    ]
    forecast = deployment.plan.performance
    if forecast is not None and not deployment.pooling:
        lines += [f"Expected    {line}" for line in _forecast_lines(forecast)]
        lines.append(f"Basis       {forecast.basis}")
    return lines


def _forecast_lines(forecast: PerfEstimate) -> list[str]:
    def line(name: str, value: Estimate, unit: str) -> str:
        return f"{name} {span(value.low, value.high)} {unit}"

    return [
        line("TTFT", forecast.ttft_ms, "ms"),
        line("TPOT", forecast.tpot_ms, "ms"),
        line("output", forecast.output_tokens_per_s, "tokens/s"),
        line("requests", forecast.requests_per_s, "a second"),
    ]


def _print_expected(deployment: Deployment) -> str:
    forecast = deployment.plan.performance
    if forecast is None or deployment.pooling:
        return ""
    text = "Expected: " + "; ".join(_forecast_lines(forecast))
    return f"echo {shell_word(text)}\n"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" if line else line for line in text.splitlines())


def environment_example(deployment: Deployment) -> str:
    """.env.example: what may be set, never with a value that is secret."""
    return f"""\
{header(deployment, "Environment")}
#
# Copy to .env beside this file (chmod 600 .env), take the # off what you need and fill it in, in single quotes: the
# scripts, Docker Compose and the systemd unit then read the same letters. A value can hold no single quote itself.
# Kubernetes doesn't read this file: its objects name a Secret, and their first lines say how to make it.

# A read token of https://huggingface.co/settings/tokens.{token_words(deployment)}
#HF_TOKEN=''

# Clients must send it as "Authorization: Bearer ..."; without it anyone who reaches the port may ask.
#VLLM_API_KEY=''

# Where weights are cached on this machine. The scripts use it, and Docker shows it to the container; the systemd
# unit keeps to its own cache, the only place where it may write.
#HF_HOME=''

# No usage statistics to the vLLM project.
#VLLM_NO_USAGE_STATS='1'
"""


def token_words(deployment: Deployment) -> str:
    """Whether the model needs a token, as far as that is known."""
    if deployment.model_directory:
        return " The model is a directory, so none is needed."
    model = deployment.plan.model
    if model.gated:
        return " Needed: the model is gated, so its terms must be accepted at its page first."
    return " Needed where the model is gated or private." if model.source != "hub" else ""
