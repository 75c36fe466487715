"""The real hub client against a hub of the tests' own: what is read, what it costs, how it fails in words."""

from __future__ import annotations

import json
import ssl
import struct
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.hub.repository import CONFIG, Repository, Weights, llama_shapes, model, plain
from tests.hub.server import FakeHub
from wizard.errors import ConfigError, ModelUnavailableError, WizardError
from wizard.models import hub
from wizard.models.metadata import ModelMetadata
from wizard.models.traffic import CancelledError, Traffic

EXACT_BYTES = 2 * 155_730_944
"""Of the small Llama in bfloat16."""


def refused(name: str, **arguments: str) -> str:
    """The one sentence of a look that fails."""
    with pytest.raises(ModelUnavailableError) as caught:
        hub.fetch(name, **arguments)  # type: ignore[arg-type]
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


class TestFacts:
    def test_bytes_are_exact_and_the_weights_stay_where_they_are(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/llama", shards=3))
        metadata = hub.fetch("org/llama")
        assert metadata.source == "hub"
        assert metadata.checkpoint is not None
        assert metadata.checkpoint.total_bytes == EXACT_BYTES
        assert len(metadata.checkpoint.tensors) == len(llama_shapes())
        assert metadata.revision == fake_hub.repositories[0].branches["main"]
        assert fake_hub.sent_bytes < 100_000

    def test_licence_and_gate_are_told(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/llama", tags=("license:mit",)))
        assert hub.fetch("org/llama").license == "mit"
        fake_hub.repositories.append(
            model("org/other", card={"license": "apache-2.0"}, tags=("license:mit",))
        )
        assert hub.fetch("org/other").license == "apache-2.0"

    def test_headers_longer_than_the_first_read(self, fake_hub: FakeHub) -> None:
        shapes = {f"model.layers.{number}.{'x' * 200}": ("BF16", (2, 2)) for number in range(2000)}
        files = {"config.json": plain(CONFIG), "model.safetensors": Weights(shapes)}
        fake_hub.repositories.append(Repository("org/long", files))  # type: ignore[arg-type]
        checkpoint = hub.fetch("org/long").checkpoint
        assert checkpoint is not None
        assert len(checkpoint.tensors) == 2000

    def test_a_hub_without_ranges_is_cut_off(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/llama", ignores_ranges=True))
        checkpoint = hub.fetch("org/llama").checkpoint
        assert checkpoint is not None
        assert checkpoint.total_bytes == EXACT_BYTES

    def test_weights_behind_a_redirect(self, fake_hub: FakeHub) -> None:
        fake_hub.cdn = True
        fake_hub.repositories.append(model("org/llama", shards=2))
        traffic = Traffic()
        checkpoint = hub.fetch("org/llama", traffic=traffic).checkpoint
        assert checkpoint is not None
        assert checkpoint.total_bytes == EXACT_BYTES
        assert traffic.requests == len(fake_hub.seen) == 6

    def test_only_the_set_of_weights_that_the_index_names_counts(self, fake_hub: FakeHub) -> None:
        repository = model("org/llama", shards=2)
        shards = [name for name in repository.files if name.endswith(".safetensors")]
        repository.files["model.safetensors.index.json"] = plain(
            {"weight_map": {"a": shards[0], "b": shards[1]}}
        )
        repository.files["model-int8.safetensors"] = Weights({"other": ("U8", (5, 5))})
        fake_hub.repositories.append(repository)
        checkpoint = hub.fetch("org/llama").checkpoint
        assert checkpoint is not None
        assert "other" not in checkpoint.tensors
        assert checkpoint.total_bytes == EXACT_BYTES

    def test_a_missing_shard_is_told(self, fake_hub: FakeHub) -> None:
        repository = model("org/llama", shards=3)
        del repository.files["model-00002-of-00003.safetensors"]
        fake_hub.repositories.append(repository)
        metadata = hub.fetch("org/llama")
        assert metadata.checkpoint is not None
        assert not metadata.checkpoint.complete
        assert "model-00002-of-00003.safetensors" in metadata.warnings[0]

    def test_modelopt_section_beside_the_config(self, fake_hub: FakeHub) -> None:
        repository = model("org/llama")
        section = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}}
        repository.files["hf_quant_config.json"] = plain(section)
        fake_hub.repositories.append(repository)
        quantization = hub.fetch("org/llama").quantization_config
        assert quantization is not None
        assert quantization["quant_algo"] == "NVFP4"

    def test_limit_of_a_sentence_encoder(self, fake_hub: FakeHub) -> None:
        repository = model("org/encoder")
        repository.files["sentence_bert_config.json"] = plain({"max_seq_length": 384})
        fake_hub.repositories.append(repository)
        assert hub.fetch("org/encoder").max_position_embeddings == 384

    def test_limit_of_the_tokenizer_counts_for_absolute_positions_alone(self, fake_hub: FakeHub) -> None:
        for name, config in (
            ("org/rotary", CONFIG),
            ("org/absolute", {**CONFIG, "position_embedding_type": "absolute"}),
        ):
            repository = model(name, config)
            repository.files["tokenizer_config.json"] = plain({"model_max_length": 512})
            fake_hub.repositories.append(repository)
        assert hub.fetch("org/rotary").max_position_embeddings == 8192
        assert not [seen for seen in fake_hub.seen if "tokenizer" in seen.path]
        assert hub.fetch("org/absolute").max_position_embeddings == 512

    def test_cap_on_answers_is_told(self, fake_hub: FakeHub) -> None:
        repository = model("org/llama")
        repository.files["generation_config.json"] = plain({"max_new_tokens": 2048})
        fake_hub.repositories.append(repository)
        assert "2,048 tokens" in hub.fetch("org/llama").warnings[0]

    def test_code_of_a_repository_is_never_read(self, fake_hub: FakeHub) -> None:
        repository = model(
            "org/own-code", {**CONFIG, "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}}
        )
        repository.files["configuration_own.py"] = plain("raise SystemExit('run')")
        fake_hub.repositories.append(repository)
        assert hub.fetch("org/own-code").needs_remote_code
        assert not [seen for seen in fake_hub.seen if seen.path.endswith(".py")]

    def test_a_model_that_was_renamed(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories += [Repository("old/name", moved_to="new/name"), model("new/name")]
        metadata = hub.fetch("old/name")
        assert metadata.checkpoint is not None
        assert metadata.model == "old/name"
        assert "'new/name'" in metadata.warnings[0]
        assert not [seen for seen in fake_hub.seen if "resolve" in seen.path and "old" in seen.path]

    def test_a_revision_is_another_commit(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/llama", branches={"main": "a" * 40, "v2/beta": "b" * 40}))
        assert hub.fetch("org/llama").revision == "a" * 40
        assert hub.fetch("org/llama", revision="v2/beta").revision == "b" * 40
        assert hub.fetch("org/llama", revision="b" * 40).revision == "b" * 40


class TestCost:
    def test_second_look_asks_nothing(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/llama", shards=4))
        first = hub.fetch("org/llama")
        fake_hub.seen.clear()
        second = hub.fetch("org/llama")
        assert not fake_hub.seen
        assert second.checkpoint is not None
        assert first.checkpoint is not None
        assert second.checkpoint.tensors == first.checkpoint.tensors
        assert (second.revision, second.config) == (first.revision, first.config)

    def test_six_hundred_gigabytes_in_two_hundred_files(self, fake_hub: FakeHub) -> None:
        """A mixture of experts like the largest, each matrix with its scales: 89,000 tensors."""
        shapes = {
            f"model.layers.{layer}.mlp.experts.{expert}.{part}_proj.{kind}": (dtype, shape)
            for layer in range(58)
            for expert in range(256)
            for part, (rows, columns) in {
                "gate": (2048, 7168),
                "up": (2048, 7168),
                "down": (7168, 2048),
            }.items()
            for kind, dtype, shape in (
                ("weight", "F8_E4M3", (rows, columns)),
                ("weight_scale_inv", "F32", (rows // 128, columns // 128)),
            )
        }
        names = list(shapes)
        step = -(-len(names) // 200)
        repository = Repository("org/giant", {"config.json": plain(CONFIG)})
        for number in range(200):
            part = {name: shapes[name] for name in names[number * step : (number + 1) * step]}
            repository.files[f"model-{number + 1:05d}-of-00200.safetensors"] = Weights(part)
        fake_hub.repositories.append(repository)
        traffic = Traffic()
        checkpoint = hub.fetch("org/giant", traffic=traffic).checkpoint
        assert checkpoint is not None
        assert len(checkpoint.tensors) == len(shapes)
        assert checkpoint.total_bytes > 600e9
        assert traffic.requests == len(fake_hub.seen) <= 204
        assert fake_hub.sent_bytes <= traffic.received_bytes < 14e6
        fake_hub.seen.clear()
        hub.fetch("org/giant")
        assert not fake_hub.seen

    def test_headers_beyond_the_budget_leave_the_files_sizes(self, fake_hub: FakeHub) -> None:
        wordy = {f"{'x' * 2000}.{number}": ("BF16", (64, 64)) for number in range(400)}
        repository = Repository("org/wordy", {"config.json": plain(CONFIG)})
        for number in range(30):
            repository.files[f"model-{number + 1:05d}-of-00030.safetensors"] = Weights(wordy)
        fake_hub.repositories.append(repository)
        traffic = Traffic()
        checkpoint = hub.fetch("org/wordy", traffic=traffic).checkpoint
        assert checkpoint is not None
        assert checkpoint.total_bytes == 30 * repository.files["model-00001-of-00030.safetensors"].size
        assert traffic.received_bytes < 20e6

    def test_a_moved_branch_is_read_again_and_an_unmoved_one_is_not(
        self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("wizard.models.facts_cache.FRESH_S", -1.0)
        fake_hub.repositories.append(model("org/llama"))
        hub.fetch("org/llama")
        fake_hub.seen.clear()
        hub.fetch("org/llama")
        assert len(fake_hub.seen) == 1
        fake_hub.repositories[0].branches["main"] = "c" * 40
        assert hub.fetch("org/llama").revision == "c" * 40

    def test_a_glance_reads_no_header(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/llama", shards=4))
        metadata = hub.glance("org/llama")
        assert metadata.checkpoint is not None
        assert abs(metadata.checkpoint.total_bytes - EXACT_BYTES) < 100_000
        assert len(fake_hub.seen) == 2
        assert len(hub.fetch("org/llama").checkpoint.tensors) == len(llama_shapes())  # type: ignore[union-attr]

    def test_whoever_watches_is_told(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/llama", shards=2))
        told: list[tuple[str, int, int]] = []
        traffic = Traffic(report=lambda now: told.append((now.doing, now.received_bytes, now.requests)))
        hub.fetch("org/llama", traffic=traffic)
        assert traffic.requests == 4
        assert len(told) == 2 * traffic.requests  # before each is sent, and after its answer
        assert {"file list", "config.json", "header 1 of 2", "header 2 of 2"} == {
            doing for doing, _, _ in told
        }


class TestRefusals:
    def test_missing(self, fake_hub: FakeHub) -> None:
        assert "not on the hub, or private" in refused("no/such-model")

    def test_missing_but_nearly_known(self, fake_hub: FakeHub) -> None:
        assert "Qwen/Qwen3-8B" in refused("Qwen/Qwen3-8b-")

    def test_private(self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_hub.users = {"hf_alice": "alice", "hf_bob": "bob"}
        fake_hub.repositories.append(model("org/secret", private=True, members=("alice",)))
        assert "HF_TOKEN" in refused("org/secret")
        monkeypatch.setenv("HF_TOKEN", "hf_bob")
        assert "this login may not see it" in refused("org/secret")
        monkeypatch.setenv("HF_TOKEN", "hf_alice")
        assert hub.fetch("org/secret").checkpoint is not None

    def test_gated(self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_hub.users = {"hf_alice": "alice", "hf_bob": "bob"}
        fake_hub.repositories.append(model("org/gated", gated="manual", members=("alice",)))
        sentence = refused("org/gated")
        assert f"{fake_hub.url}/org/gated" in sentence
        assert "hf auth login" in sentence
        assert "HF_TOKEN" in sentence
        monkeypatch.setenv("HF_TOKEN", "hf_bob")
        assert "no access yet" in refused("org/gated")
        monkeypatch.setenv("HF_TOKEN", "hf_alice")
        metadata = hub.fetch("org/gated")
        assert metadata.gated
        assert metadata.checkpoint is not None

    def test_a_token_that_is_none(self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_hub.repositories.append(model("org/llama"))
        monkeypatch.setenv("HF_TOKEN", "hf_expired")
        assert "refuses this token" in refused("org/llama")

    def test_a_token_that_cannot_be_sent(self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_é")
        assert "login can't be used" in refused("org/llama")
        assert not fake_hub.seen

    def test_disabled(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/taken-down", disabled=True))
        assert "disabled" in refused("org/taken-down")

    def test_wrong_revision(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/llama"))
        assert "no revision 'v9'" in refused("org/llama", revision="v9")

    @pytest.mark.parametrize(
        "name", ["a/b/c", "org/na me", "org/..", "org/x--y", "x" * 97, "org/\x1b[2J", "-x/y"]
    )
    def test_no_model_id(self, fake_hub: FakeHub, name: str) -> None:
        sentence = refused(name)
        assert "no model id" in sentence
        assert sentence.isprintable()
        assert not fake_hub.seen

    def test_lora_adapter_names_its_base(self, fake_hub: FakeHub) -> None:
        files = {
            "adapter_config.json": plain({"base_model_name_or_path": "org/base"}),
            "adapter_model.safetensors": Weights({"lora_A": ("BF16", (8, 64))}),
        }
        fake_hub.repositories.append(Repository("org/lora", files))  # type: ignore[arg-type]
        sentence = refused("org/lora")
        assert "LoRA adapter" in sentence
        assert "'org/base'" in sentence

    @pytest.mark.parametrize("extra", [{}, {"config.json": plain(CONFIG)}])
    def test_gguf_only(self, fake_hub: FakeHub, extra: dict[str, object]) -> None:
        files = {"model.Q4_K_M.gguf": plain(b"GGUF"), **extra}
        fake_hub.repositories.append(Repository("org/x-GGUF", files, card={"base_model": ["org/x"]}))  # type: ignore[arg-type]
        sentence = refused("org/x-GGUF")
        assert "GGUF" in sentence
        assert "'org/x'" in sentence

    @pytest.mark.parametrize(
        ("name", "words"),
        [("model_index.json", "diffusers"), ("README.md", "no config.json"), ("params.json", "params.json")],
    )
    def test_no_config(self, fake_hub: FakeHub, name: str, words: str) -> None:
        fake_hub.repositories.append(Repository("org/other", {name: plain({})}))
        assert words in refused("org/other")


class TestBrokenRepositories:
    @pytest.mark.parametrize("body", ["{", "null", "[1]", '"text"', "{" * 100_000, b"\xff\xfe"])
    def test_malformed_config(self, fake_hub: FakeHub, body: str | bytes) -> None:
        fake_hub.repositories.append(Repository("org/broken", {"config.json": plain(body)}))
        assert "config.json" in refused("org/broken")

    def test_huge_config_is_not_read(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(Repository("org/huge", {"config.json": plain(b" " * (30 << 20))}))
        traffic = Traffic()
        with pytest.raises(ModelUnavailableError, match="over 4 MB"):
            hub.fetch("org/huge", traffic=traffic)
        assert traffic.received_bytes < 100_000

    def test_truncated_config(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/cut", cut={"config.json": 50}))
        assert "broke off" in refused("org/cut")

    def test_a_config_that_lies_is_a_config_error(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/lies"))
        fake_hub.repositories[0].files["config.json"] = plain({**CONFIG, "num_hidden_layers": "eight"})
        with pytest.raises(ConfigError, match="num_hidden_layers"):
            hub.fetch("org/lies")

    @pytest.mark.parametrize(
        "start",
        [
            b"",
            b"1234",
            struct.pack("<Q", 0),
            struct.pack("<Q", 1 << 60),
            struct.pack("<Q", 4) + b"nope",
            struct.pack("<Q", 1 << 20) + b"{}",
            b"<html>not a model</html>",
        ],
    )
    def test_malformed_header_leaves_sizes_to_the_architecture(self, fake_hub: FakeHub, start: bytes) -> None:
        repository = model("org/broken")
        repository.files["model.safetensors"] = plain(start)
        fake_hub.repositories.append(repository)
        metadata = hub.fetch("org/broken")
        assert metadata.checkpoint is None
        assert "model.safetensors" in metadata.warnings[0]
        assert "architecture" in metadata.warnings[0]

    def test_headers_that_cannot_be_had_now_are_tried_again_later(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/llama", cut={"model.safetensors": 100}))
        metadata = hub.fetch("org/llama")
        assert "next time" in metadata.warnings[0]
        fake_hub.repositories[0].cut.clear()
        again = hub.fetch("org/llama")
        assert not again.warnings
        assert again.checkpoint is not None
        assert len(again.checkpoint.tensors) == len(llama_shapes())


class TestBadLines:
    @pytest.mark.parametrize("failures", [[503], [503, 502, 500], [429, 0], [0, 0, 504]])
    def test_a_flaky_hub_is_asked_again(self, fake_hub: FakeHub, failures: list[int]) -> None:
        fake_hub.repositories.append(model("org/llama"))
        fake_hub.failures = failures
        assert hub.fetch("org/llama").checkpoint is not None

    def test_a_hub_that_keeps_failing_is_told(self, fake_hub: FakeHub) -> None:
        fake_hub.failing = 503
        assert "status 503" in refused("org/llama")
        assert len(fake_hub.seen) == 4

    def test_retry_after_of_seconds_is_waited_for(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/llama"))
        fake_hub.failures, fake_hub.retry_after = [429], "0"
        assert hub.fetch("org/llama").checkpoint is not None

    def test_retry_after_of_minutes_is_told_instead(self, fake_hub: FakeHub) -> None:
        fake_hub.failing, fake_hub.retry_after = 429, "300"
        assert "300 s" in refused("org/llama")
        assert len(fake_hub.seen) == 1

    def test_a_hub_that_is_silent(self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
        fake_hub.hangs = True
        assert "did not answer" in refused("org/llama")

    def test_a_hub_that_drips(self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
        fake_hub.repositories.append(model("org/llama"))
        fake_hub.drips = True
        assert "did not answer" in refused("org/llama")

    def test_a_login_page_in_between(self, fake_hub: FakeHub) -> None:
        fake_hub.login_page = True
        assert "login page" in refused("org/llama")
        with pytest.raises(ModelUnavailableError, match="login page"):
            hub.search("llama")

    def test_nobody_listens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        assert "can't be reached" in refused("org/llama")

    def test_no_such_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
        assert "can't be reached" in refused("org/llama")

    def test_no_tls_where_it_should_be(self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", fake_hub.url.replace("http:", "https:"))
        assert "TLS" in refused("org/llama")

    def test_a_certificate_nobody_vouches_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(Path(__file__).parents[1] / "hub" / "self_signed.pem")
        server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
        server.handle_error = lambda *_: None  # type: ignore[method-assign, assignment]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"https://127.0.0.1:{server.server_address[1]}")
        try:
            assert "certificate" in refused("org/llama")
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def test_an_endpoint_that_is_no_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "huggingface.co")
        with pytest.raises(WizardError, match="HF_ENDPOINT"):
            hub.fetch("org/llama")

    def test_forbidden_by_the_environment(self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert "HF_HUB_OFFLINE" in refused("org/llama")
        assert not fake_hub.seen

    def test_what_was_read_earlier_outlives_the_hub(
        self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake_hub.repositories.append(model("org/llama"))
        hub.fetch("org/llama")
        monkeypatch.setattr("wizard.models.facts_cache.FRESH_S", -1.0)
        fake_hub.failing = 503
        metadata = hub.fetch("org/llama")
        assert metadata.checkpoint is not None
        assert "status 503" in metadata.warnings[0]
        assert "earlier" in metadata.warnings[0]


class TestCancelling:
    def test_a_silent_hub_is_left_at_once(self, fake_hub: FakeHub) -> None:
        fake_hub.hangs = True
        traffic = Traffic()
        ended: list[BaseException] = []

        def look() -> None:
            try:
                hub.fetch("org/llama", traffic=traffic)
            except CancelledError as error:
                ended.append(error)

        thread = threading.Thread(target=look)
        thread.start()
        traffic.cancelled.set()
        thread.join(5)  # the hub's own timeout is twice that
        assert ended

    def test_between_headers(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/llama", shards=50))
        traffic = Traffic()
        traffic.report = lambda now: now.cancelled.set() if now.requests > 5 else None
        with pytest.raises(CancelledError):
            hub.fetch("org/llama", traffic=traffic)
        assert len(fake_hub.seen) < 50

    def test_a_cancelled_look_leaves_nothing_half_known(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories.append(model("org/llama", shards=5))
        traffic = Traffic(report=lambda now: now.cancelled.set())
        with pytest.raises(CancelledError):
            hub.fetch("org/llama", traffic=traffic)
        checkpoint = hub.fetch("org/llama").checkpoint
        assert checkpoint is not None
        assert checkpoint.total_bytes == EXACT_BYTES

    def test_many_looks_at_once(self, fake_hub: FakeHub) -> None:
        fake_hub.repositories += [model(f"org/llama-{number}", shards=3) for number in range(6)]
        found: dict[str, ModelMetadata] = {}

        def look(name: str) -> None:
            found[name] = hub.fetch(name)

        threads = [threading.Thread(target=look, args=(each.id,)) for each in fake_hub.repositories]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {name: each.checkpoint.total_bytes for name, each in found.items() if each.checkpoint} == {
            each.id: EXACT_BYTES for each in fake_hub.repositories
        }


class TestSearch:
    def test_rows_carry_what_the_hub_knows(self, fake_hub: FakeHub) -> None:
        section = {"quant_method": "awq", "bits": 4}
        packed = Repository(
            "org/llama-awq",
            {
                "config.json": plain({**CONFIG, "quantization_config": section}),
                "model.safetensors": Weights(
                    {"qweight": ("I32", (1000, 1000)), "scales": ("F16", (100, 100))}
                ),
            },
            tags=("license:apache-2.0", "base_model:quantized:org/llama", "awq"),
            downloads=7,
        )
        fake_hub.repositories += [
            model("org/llama", downloads=90, gated="auto", tags=("license:llama3.1",)),
            packed,
        ]
        first, second = hub.search("llama")
        assert (first.id, first.params, first.dtype) == ("org/llama", 155_730_944, "bfloat16")
        assert (first.downloads, first.license, first.gated, first.quantization) == (
            90,
            "llama3.1",
            True,
            None,
        )
        assert (second.quantization, second.base, second.params) == ("awq", "org/llama", 8_010_000)

    def test_most_downloaded_first_over_several_pages(self, fake_hub: FakeHub) -> None:
        fake_hub.page_size = 3
        fake_hub.repositories += [model(f"org/llama-{number}", downloads=number) for number in range(8)]
        found = hub.search("llama", limit=8)
        assert [row.downloads for row in found] == [7, 6, 5, 4, 3, 2, 1, 0]
        assert len(fake_hub.seen) == 3
        assert len(hub.search("llama", limit=2)) == 2

    def test_the_token_is_sent_to_no_other_host(
        self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with FakeHub([model("evil/llama")]) as other:
            fake_hub.page_size = 1
            fake_hub.repositories += [model("org/llama-1"), model("org/llama-2")]
            monkeypatch.setattr(
                FakeHub, "url", property(lambda _: f"http://127.0.0.1:{other.server.server_address[1]}")
            )
            assert len(hub.search("llama")) == 1
            assert not other.seen

    def test_a_private_model_is_found_by_its_member(
        self, fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake_hub.users = {"hf_alice": "alice"}
        fake_hub.repositories.append(model("org/secret-llama", private=True, members=("alice",)))
        assert hub.search("llama") == []
        monkeypatch.setenv("HF_TOKEN", "hf_alice")
        assert [row.id for row in hub.search("llama")] == ["org/secret-llama"]

    @pytest.mark.parametrize("failing", [500, 503, 429])
    def test_a_failing_hub_is_one_sentence(self, fake_hub: FakeHub, failing: int) -> None:
        fake_hub.failing = failing
        with pytest.raises(ModelUnavailableError, match=f"status {failing}"):
            hub.search("llama")


class TestQuantisedForms:
    @pytest.fixture(autouse=True)
    def _forms(self, fake_hub: FakeHub) -> None:
        section = {"quant_method": "fp8"}
        tag = "base_model:quantized:org/llama"
        fake_hub.repositories += [
            model("org/llama"),
            model("a/llama-FP8", {**CONFIG, "quantization_config": section}, tags=(tag, "fp8"), downloads=5),
            model("b/llama-GGUF", tags=(tag, "gguf"), downloads=900),
            model("c/llama-plain", tags=(tag,), downloads=3),
            model("d/llama-gated", tags=(tag, "awq"), gated="auto", downloads=4),
            model("e/llama-finetuned", tags=("base_model:finetune:org/llama",)),
        ]

    def test_those_that_the_hub_lists(self) -> None:
        assert [row.id for row in hub.quantised_forms("org/llama")] == [
            "b/llama-GGUF",
            "a/llama-FP8",
            "d/llama-gated",
            "c/llama-plain",
        ]

    def test_facts_of_those_that_can_be_served(self, fake_hub: FakeHub) -> None:
        found = hub.siblings("org/llama")
        assert list(found) == ["a/llama-FP8"]
        assert found["a/llama-FP8"].quantization_config == {"quant_method": "fp8"}
        assert not [seen for seen in fake_hub.seen if "GGUF" in seen.path]

    def test_known_ones_are_not_asked_for(self) -> None:
        assert hub.siblings("org/llama", besides=["A/LLAMA-fp8"]) == {}

    def test_a_failing_hub_has_none(self, fake_hub: FakeHub) -> None:
        fake_hub.failing = 503
        assert hub.siblings("org/llama") == {}


def test_a_listing_that_is_nonsense_is_told(fake_hub: FakeHub) -> None:
    fake_hub.repositories.append(Repository("org/odd", {"config.json": plain(CONFIG)}))
    entry = json.loads(json.dumps(fake_hub.repositories[0].info("a" * 40)))
    for wrong in (
        {**entry, "siblings": "none"},
        {**entry, "sha": None},
        [],
        None,
        {**entry, "siblings": None},
    ):
        fake_hub.repositories[0].info = lambda _, wrong=wrong: wrong  # type: ignore[method-assign, misc, assignment]
        assert "not what a hub answers" in refused("org/odd")
