"""Films per second from stores, beside the same films in a folder; and the memory of a run and of a long list.

    python benchmarks/remote_speed.py [--films N] [--repeats N] [--keys N] [--out FILE.json]

The films are the examples under other names, N of them. Sources: a folder; `s3://` of moto's server; `http://` of
Python's own web server, both in processes of their own on this machine, so that they take processor time from the run:
what is measured is what fetching costs, not a network. Each run is a `cxrzero predict --no-cache` in a process of its
own, whose rate its record tells and whose memory at its highest the system (`ru_maxrss`); sources take turns, and the
median is told. A tenth of the films tells whether memory grows with them.

The long list is one of --keys keys that a server makes up, listed by `Objects.films`; a tenth of them tells the same.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cxrzero.bench.machine import machine, versions

EXAMPLES = Path(__file__).parent.parent / "examples"
PAGE = 1000
LOGIN = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


def draw(folder: Path, count: int) -> None:
    """The examples, again and again, each under a name of its own."""
    films = sorted(path for path in EXAMPLES.iterdir() if path.suffix in (".dcm", ".png"))
    for number in range(count):
        film = films[number % len(films)]
        place = folder / f"{number // 1000:03d}"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(film, place / f"{number:06d}{film.suffix}")


@contextlib.contextmanager
def server(*command: str, port: int) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        for _ in range(600):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def measured(code: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """MB that a process held at most, and seconds of processor that it and its own processes took."""
    process = subprocess.Popen([sys.executable, *code], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{code} ended with {process.returncode}")
    return usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def predict(source: str, folder: Path, environment: dict[str, str]) -> tuple[float, float, float]:
    """Films per second, MB at most, seconds of processor."""
    out = folder / "table.csv"
    command = ["-m", "cxrzero", "predict", source, "--labels", "edema", "--no-cache", "--quiet", "--overwrite"]
    most, cpu = measured([*command, "--out", str(out)], environment)
    record = json.loads((folder / "table.run.json").read_text(encoding="utf-8"))
    assert record["counts"]["failed"] == 0
    return record["counts"]["ok"] / record["seconds"]["wall"], most, cpu


def films(count: int, repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "films", count)
        s3_port, web_port = free_port(), free_port()
        endpoint = f"http://127.0.0.1:{s3_port}"
        environment = {**os.environ, **LOGIN, "AWS_ENDPOINT_URL": endpoint, "NO_PROXY": "127.0.0.1"}
        web = ("-m", "http.server", str(web_port), "--bind", "127.0.0.1", "--directory", str(folder / "films"))
        with (
            server("-m", "moto.server", "-H", "127.0.0.1", "-p", str(s3_port), port=s3_port),
            server(*web, port=web_port),
        ):
            fill(folder / "films", endpoint)
            sources = {
                "folder": str(folder / "films"),
                "s3": "s3://films/",
                "http": f"http://127.0.0.1:{web_port}/",
            }
            few = {"folder": str(folder / "films/000"), "s3": "s3://films/000/", "http": f"{sources['http']}000/"}
            found: dict[str, Any] = {source: {"films_per_s": [], "mb": [], "cpu_s": []} for source in sources}
            for source, address in few.items() if count > PAGE else ():
                _, found[source]["mb_of_1000"], _ = predict(address, folder, environment)
            for _ in range(repeats):
                for source, address in sources.items():
                    rate, most, cpu = predict(address, folder, environment)
                    found[source]["films_per_s"].append(round(rate, 2))
                    found[source]["mb"].append(round(most))
                    found[source]["cpu_s"].append(round(cpu, 2))
                    print(f"{source:8} {rate:8.1f} films/s {most:7.0f} MB {cpu:7.1f} s of processor", flush=True)
    for each in found.values():
        each["median"] = round(statistics.median(each["films_per_s"]), 2)
    for each in found.values():
        each["of_folder"] = round(each["median"] / found["folder"]["median"], 3)
        each["ms_of_processor_per_film"] = round(1000 * statistics.median(each["cpu_s"]) / count, 1)
    return {"count": count, **found}


def fill(folder: Path, endpoint: str) -> None:
    import boto3

    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )
    client.create_bucket(Bucket="films")
    for file in sorted(folder.rglob("*.*")):
        client.put_object(Bucket="films", Key=str(file.relative_to(folder)), Body=file.read_bytes())


class Keys(http.server.BaseHTTPRequestHandler):
    """Pages of a listing of S3 with as many keys as asked for."""

    protocol_version = "HTTP/1.1"
    count = 0

    def do_GET(self) -> None:
        begin = int(parse_qs(urlsplit(self.path).query).get("continuation-token", ["0"])[0])
        end = min(begin + PAGE, self.count)
        entries = "".join(
            f"<Contents><Key>archive/{number // 1000:05d}/{number:09d}.dcm</Key><Size>9000000</Size>"
            f"<ETag>&quot;{number:032x}&quot;</ETag></Contents>"
            for number in range(begin, end)
        )
        is_last = "false" if end == self.count else "true"
        more = f"<IsTruncated>{is_last}</IsTruncated><NextContinuationToken>{end}</NextContinuationToken>"
        body = f"<ListBucketResult>{entries}{more}</ListBucketResult>".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def serve_keys(port: int, count: int) -> None:
    Keys.count = count
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Keys).serve_forever()


def list_keys() -> None:
    from cxrzero import Objects
    from cxrzero.sources import WalkCounts

    started = time.perf_counter()
    with Objects() as objects:
        objects.check(["s3://films/archive/"])
        count = sum(1 for _ in objects.films(["s3://films/archive/"], WalkCounts()))
    seconds = time.perf_counter() - started
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"keys": count, "seconds": round(seconds, 1), "mb": round(most)}))


def keys(count: int) -> list[dict[str, Any]]:
    found = []
    for some in (count // 10, count):
        port = free_port()
        environment = {**os.environ, **LOGIN, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "NO_PROXY": "127.0.0.1"}
        with server(__file__, "--serve-keys", str(port), "--keys", str(some), port=port):
            command = [sys.executable, __file__, "--list-keys"]
            done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout))
        print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--films", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve-keys", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--list-keys", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve_keys:
        serve_keys(asked.serve_keys, asked.keys)
        return
    if asked.list_keys:
        list_keys()
        return
    found = {**machine(), **versions(), "films": films(asked.films, asked.repeats), "keys": keys(asked.keys)}
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
