"""No key, no credentials of a URL and no control character reaches a file or the terminal; TLS is verified alike."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.cli.main import main
from gptoss_bench.engines.launch import recorded_environment
from gptoss_bench.notebook.runner import execute_notebook
from gptoss_bench.runs.folder import Run
from gptoss_client import UsageError, hide_key, hide_secrets, printable_text
from gptoss_client.outside import hide_key_in_pieces
from hostile import CHAT, Answer, Hostile, after_first, document, hostile, stream
from scripted import ending, event

KEY = 'sk-a/b+c"d-0123456789'
ESCAPES = [KEY, KEY.replace("/", "\\/").replace('"', '\\"'), KEY.replace("+", "\\u002B"), KEY.replace("/", "%2f")]
TOLD = KEY.replace('"', '\\"')


def load(server: Hostile, results: Path, *more: str) -> int:
    where = ("--url", server.url, "--model", "m", "--results", str(results), "-c", "1", "-n", "2")
    return main(["load", *where, *more])


def in_two_reads(connection, request):
    body = b'data: {"choices":[{"delta":{"content":"your key is ' + TOLD.encode() + b'"}}]}\n\n' + ending(2)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body))
    for start in range(0, len(body), 60):
        connection.sendall(body[start : start + 60])


REPEATING: dict[str, Answer] = {
    "401": document({"error": {"message": f"Incorrect API key provided: {KEY}"}}, "401 Unauthorized"),
    "500 as text": document(f"bad header: Bearer {KEY}".encode(), "500 Oh"),
    "error in the stream": stream(event(content="a"), f'data: {{"error": "no {TOLD}"}}\n\n'.encode()),
    "answer": in_two_reads,
    "redirect": document(b"", "302 Found", f"Location: http://h/?key={KEY}"),
    "no HTTP": lambda connection, _: connection.sendall(f"HTTP/1.1 {KEY} x\r\n\r\n".encode()),
    "html": document(f"<html><title>{KEY}</title></html>".encode()),
}


def texts_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.suffix != ".parquet")


def no_key_in(results: Path, *shown: str) -> None:
    for text in (*shown, texts_in(results).decode("utf-8", "replace")):
        assert "0123456789" not in text and "sk-a" not in text
    for file in (results / "runs").glob("*"):
        run = Run.load(file)
        assert b"0123456789" not in b"".join(data for trace in run.traces() for _, data in trace.pieces)
        assert "0123456789" not in " ".join(run.requests.astype("string").fillna("").to_numpy().ravel())


@pytest.mark.parametrize("name", REPEATING)
def test_a_key_that_the_server_repeats_is_in_no_file_and_not_shown(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GPTOSS_API_KEY", KEY)
    with hostile({CHAT: after_first(REPEATING[name])}) as server:
        load(server, tmp_path)
    assert KEY.encode() in server.heads(CHAT)[0]
    no_key_in(tmp_path, *capsys.readouterr())
    with hostile({CHAT: REPEATING[name]}) as server:
        load(server, tmp_path)
    no_key_in(tmp_path, *capsys.readouterr())


def test_a_key_in_what_a_server_says_of_itself_is_in_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GPTOSS_API_KEY", KEY)
    answers = {
        "/v1/models": document({"data": [{"id": "m", "root": KEY, "max_model_len": 8}, {"id": KEY}]}),
        "/version": document({"version": f"0.1 {KEY}"}),
        "/metrics": document(f'vllm:cache_config_info{{cache_dtype="{TOLD}"}} 1\nbad {KEY}\n'.encode()),
    }
    with hostile(answers) as server:
        assert load(server, tmp_path) == 0
        assert main(["load", "--url", server.url, "--model", "other", "--results", str(tmp_path)]) == 2
    no_key_in(tmp_path, *capsys.readouterr())


# A backslash right before the key would be a part of it: an escape of its first character.
BEFORE = st.text(max_size=20).filter(lambda text: not text.endswith("\\"))


@given(st.sampled_from(ESCAPES), BEFORE, st.text(max_size=20), st.lists(st.integers(1, 80), max_size=8))
def test_a_key_is_hidden_wherever_a_body_is_cut_and_all_other_bytes_stay(written, before, after, sizes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTOSS_API_KEY", KEY)
        assert hide_key(before + written + after) == f"{before}[key]{after}"
        body = (before + written + after).encode("utf-8", "replace")
        pieces, rest = [], body
        for size in sizes:
            pieces, rest = [*pieces, rest[:size]], rest[size:]
        hidden = hide_key_in_pieces([*pieces, rest])
        assert [len(piece) for piece in hidden] == [len(piece) for piece in [*pieces, rest]]
        stars = b"*" * len(written.encode())
        assert b"".join(hidden) == before.encode("utf-8", "replace") + stars + after.encode("utf-8", "replace")


URLS = [
    "joe:PWPW@host",
    "http://joe:PWPW@host",
    "http://joe:PWPW/x@host",
    "http://joe:PWPW#1@host",
    "http://joe:PWPW?1@host",
    "http://joe:PWPW",
    "http://PWPW@host:x",
    "//joe:PWPW@host",
    "host/?api_key=PWPW",
    "http://host/?api_key=PWPW",
    "http://host/#PWPW",
    "ftp://joe:PWPW@host",
    "http://[PWPW",
    "http://joe:PWPW@[::1",
    "http://xn--PWPW:1",
    "http://\u2461PWPW:1",
    "http://PWPW\u202e:1",
]


@pytest.mark.parametrize("url", URLS)
def test_a_wrong_address_is_not_repeated(url, tmp_path, capsys):
    assert main(["load", "--url", url, "--model", "m", "--results", str(tmp_path)]) == 2
    reported = capsys.readouterr()
    assert "PWPW" not in reported.out + reported.err
    assert reported.err.count("\n") == 1
    assert b"PWPW" not in texts_in(tmp_path)


@pytest.mark.parametrize("url", [URLS[1], URLS[2], URLS[9]])
def test_papermill_never_sees_credentials(url, tmp_path):
    with pytest.raises(UsageError, match="the server's address has a"):
        execute_notebook("vllm_h100", {"url": url}, tmp_path)
    assert list(tmp_path.rglob("*")) == []


def test_papermill_never_sees_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTOSS_API_KEY", "sk-in-the-flags")
    with pytest.raises(UsageError, match="engine_flags holds the API key"):
        execute_notebook("vllm_h100", {"engine_flags": "--api-key sk-in-the-flags"}, tmp_path)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("pair", ["url=[http://joe:PWPW@h]", "urll=http://joe:PWPW@h", "http://joe:PWPW@h"])
def test_a_wrong_parameter_does_not_show_credentials(pair, tmp_path, capsys):
    profile = tmp_path / "p.yaml"
    profile.write_text("concurrency: 1\n")
    assert main(["run", "--profile", str(profile), "-p", pair, "--results", str(tmp_path), "vllm_h100"]) == 2
    assert "PWPW" not in capsys.readouterr().err
    assert b"PWPW" not in texts_in(tmp_path)


def test_credentials_in_a_recorded_variable_are_hidden():
    environment = recorded_environment({"OLLAMA_HOST": "http://joe:PW@h:1", "VLLM_X": "http://h/?token=abc&a=1"})
    assert environment["OLLAMA_HOST"] == "http://[hidden]@h:1"
    assert environment["VLLM_X"] == "http://h/?token=[hidden]&a=1"


@given(st.text())
def test_text_for_a_terminal_is_printable_and_stays_so(text):
    shown = printable_text(text)
    assert shown.replace("\n", "").replace("\t", "").isprintable()
    assert printable_text(shown) == shown.encode().decode() == shown
    assert text == shown or not text.replace("\n", "").replace("\t", "").isprintable()
    assert hide_secrets(text) == text or "@" in text or "=" in text


CONTROLS = "\x1b]0;owned\x07 \x9b31m \u202e \x00"


def test_control_characters_of_a_server_reach_neither_terminal_nor_documents(tmp_path, capsys):
    error = document({"error": {"message": f"no {CONTROLS}"}}, "400 Bad")
    answers = {
        "/v1/models": document({"data": [{"id": f"m{CONTROLS}"}, {"id": "m"}]}),
        "/version": document({"version": CONTROLS}),
        CHAT: after_first(error),
    }
    with hostile(answers) as server:
        assert load(server, tmp_path) == 1
        assert load(server, tmp_path, "--model", "x") == 2
    [folder] = (tmp_path / "runs").iterdir()
    main(["lint", str(folder)])
    main(["runs", "--results", str(tmp_path)])
    main(["report", str(folder), "--out", str(tmp_path / "rep")])
    shown = "".join(capsys.readouterr()) + texts_in(tmp_path).decode()
    assert shown.replace("\n", "").replace("\t", "").replace("\r", "").isprintable()
    assert "owned" in shown


def test_half_a_surrogate_pair_anywhere_leaves_every_row(tmp_path):
    bad = b'{"choices":[{"delta":{"content":"a\\ud83d","tool_calls":[{"function":{"name":"\\udfff"}}]},'
    bad += b'"finish_reason":"\\udfff"}]}'
    with hostile({CHAT: after_first(stream(b"data: " + bad + b"\n\n", b"data: [DONE]\n\n"))}) as server:
        assert load(server, tmp_path) == 0
    [folder] = (tmp_path / "runs").iterdir()
    run = Run.load(folder)
    assert list(run.requests.finish_reason) == ["\\udfff"] * 2
    assert main(["rebuild", "--check", str(folder)]) == 0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A self-signed certificate for 127.0.0.1, its key, and one for another name with the same key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command here to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key = folder / "key.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True)
    for name, address in (("here", "IP:127.0.0.1"), ("other", "DNS:elsewhere")):
        command = ["openssl", "req", "-x509", "-new", "-key", key, "-days", "2", "-subj", f"/CN={name}"]
        command += ["-addext", f"subjectAltName={address}", "-out", folder / f"{name}.pem"]
        subprocess.run(command, check=True, capture_output=True)
    return folder / "here.pem", key, folder / "other.pem"


def tls_of(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.mark.parametrize("how", ["--cacert", "SSL_CERT_FILE"])
def test_a_private_ca_is_trusted_by_questions_and_load_alike(how, certificates, tmp_path, monkeypatch):
    here, key, _ = certificates
    monkeypatch.setenv("SSL_CERT_FILE", str(here) if how == "SSL_CERT_FILE" else "")
    metrics = document(b"vllm:prompt_tokens_total 1.0\nvllm:num_requests_running 0\n")
    answers = {"/version": document({"version": "0.26.0"}), "/metrics": metrics}
    with hostile(answers, tls_of(here, key)) as server:
        assert load(server, tmp_path, *(("--cacert", str(here)) if how == "--cacert" else ())) == 0
    [folder] = (tmp_path / "runs").iterdir()
    run = Run.load(folder)
    assert (run.manifest.server.version, run.load_summary.completed) == ("0.26.0", 2)
    assert run.load_summary.server_metrics.words is None


def test_a_refused_certificate_is_named_and_gets_no_request(certificates, tmp_path, monkeypatch, capsys):
    here, key, other = certificates
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with hostile(tls=tls_of(here, key)) as server:
        assert load(server, tmp_path) == 2
        assert "its certificate is refused, self-signed certificate: name its CA" in capsys.readouterr().err
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    with hostile(tls=tls_of(other, key)) as wrong_name:
        assert load(wrong_name, tmp_path) == 2
        assert "its certificate is refused, IP address mismatch" in capsys.readouterr().err
    assert server.requests == wrong_name.requests == []


def test_a_ca_file_without_certificates_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "")
    (tmp_path / "no.pem").write_text("nothing")
    for file in (tmp_path / "no.pem", tmp_path / "missing.pem"):
        assert main(["load", "--cacert", str(file), "--url", "https://127.0.0.1:1", "--model", "m"]) == 2
        assert "holds no certificates" in capsys.readouterr().err
