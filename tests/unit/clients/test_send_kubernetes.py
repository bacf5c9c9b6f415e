"""Jobs are sent to an API server on loopback by Kubernetes' own client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recipec.clients.send.call import Refused
from recipec.clients.send.make import sender_of
from recipec.errors import EnvironmentLacks
from recipec.recipe.schema import TargetName
from tests.support.clouds import Asked, Cloud, Reply, cloud
from tests.support.clusters import TOKEN, Server, kubeconfig, status
from tests.support.jobs import cases
from tests.support.submitting import submit, work


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def api(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with cloud(server) as made:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(made.url, tmp_path)))
        yield made


JOBS = "/apis/batch/v1/namespaces/training/jobs"
SERVICES = "/api/v1/namespaces/training/services"


@pytest.mark.parametrize("target", ["gke", "aks", "eks", "iks", "jobset", "trainjob"])
@pytest.mark.parametrize("case", ["cpu", "eight-gpus", "four-machines"])
def test_the_cluster_gets_the_document_itself(api: Cloud, target: TargetName, case: str) -> None:
    one = work(target, cases(target)[case])
    made = submit(one)
    posts = [asked for asked in api.asked if asked.method == "POST"]
    assert [post.plain for post in posts] == list(one.documents)
    assert all(post.query["fieldValidation"] == ["Strict"] for post in posts)
    assert {asked.headers["authorization"] for asked in api.asked} == {f"Bearer {TOKEN}"}
    assert api.asked[0].method == "GET"
    calls = sender_of(target).calls(one)
    assert [call.operation for call in calls] == [post.line for post in posts]
    assert {call.endpoint for call in calls} == {api.url}
    assert (made.started, made.failed) == (True, False)
    assert made.name == one.document["metadata"]["name"]
    assert made.words.results == "pvc:results/runs"
    assert "--namespace training" in made.words.stop


def test_a_namespace_of_the_context(api: Cloud) -> None:
    one = work("gke", cases("gke")["cpu"], namespace=None)
    assert submit(one).started
    assert api.lines[-1] == "POST /apis/batch/v1/namespaces/team/jobs"


def test_the_same_run_is_not_started_twice(api: Cloud, server: Server) -> None:
    one = work("gke", cases("gke")["four-machines"])
    assert submit(one).started
    api.asked.clear()
    again = submit(one)
    assert (again.started, again.failed, again.state) == (False, False, "Pending")
    assert [asked.method for asked in api.asked] == ["GET"]
    name = one.document["metadata"]["name"]
    stored = server.objects[f"{JOBS}/{name}"]
    for conditions, state, failed in (
        ([], "Running", False),
        ([{"type": "Complete", "status": "True"}], "Complete", False),
        ([{"type": "Failed", "status": "True"}], "Failed", True),
        ([{"type": "Suspended", "status": "True"}], "Suspended", False),
    ):
        stored["status"] = {"active": 1, "conditions": conditions}
        again = submit(one)
        assert (again.state, again.failed) == (state, failed)
    assert again.words.anew == (f"kubectl delete service/{name} job/{name} --namespace training")


@pytest.mark.usefixtures("api")
def test_another_runs_job_of_that_name(server: Server) -> None:
    one = work("gke", cases("gke")["cpu"])
    name = one.document["metadata"]["name"]
    server.objects[f"{JOBS}/{name}"] = {"metadata": {"name": name}}
    with pytest.raises(Refused, match="and it is not of this run"):
        submit(one)


@pytest.mark.parametrize(
    ("reply", "said", "key"),
    [
        (status(401, "Unauthorized", "Unauthorized"), "does not know who is asking", ""),
        (status(403, "Forbidden", "jobs.batch is forbidden"), "does not allow it", ""),
        (
            status(403, "Forbidden", "exceeded quota: gpus, requested: 8"),
            "does not allow it: Forbidden: exceeded quota: gpus",
            "",
        ),
        (
            status(404, "NotFound", 'namespaces "training" not found'),
            'namespaces "training" not found',
            "namespace",
        ),
        (status(422, "Invalid", "Job is invalid: spec"), "refuses the job: Invalid: Job is", ""),
        (status(429, "TooManyRequests", "slow down"), "has no room for the job", ""),
        (status(500, "InternalError", "etcd"), "fails: InternalError: etcd", ""),
        (Reply(status=503, plain=b"<html>no</html>"), "fails: Service Unavailable", ""),
    ],
)
def test_what_the_cluster_refuses(
    api: Cloud, server: Server, reply: Reply, said: str, key: str
) -> None:
    one = work("gke", cases("gke")["four-machines"])
    server.instead[f"POST {JOBS}"] = [reply]
    with pytest.raises(Refused) as error:
        submit(one)
    assert said in error.value.message
    assert error.value.key == key
    assert error.value.hint
    assert TOKEN not in error.value.render()
    # The service was made first, and is gone again.
    assert api.lines[-1] == f"DELETE {SERVICES}/{one.document['metadata']['name']}"
    assert server.objects == {}


@pytest.mark.usefixtures("api")
def test_a_service_that_was_there_stays(server: Server) -> None:
    one = work("gke", cases("gke")["four-machines"])
    name = one.document["metadata"]["name"]
    server.objects[f"{SERVICES}/{name}"] = one.documents[0]
    server.instead[f"POST {JOBS}"] = [status(500, "InternalError", "etcd")]
    with pytest.raises(Refused, match="etcd"):
        submit(one)
    assert list(server.objects) == [f"{SERVICES}/{name}"]
    assert submit(one).started


def test_what_cannot_be_removed_is_named(server: Server, api: Cloud) -> None:
    one = work("gke", cases("gke")["four-machines"])
    name = one.document["metadata"]["name"]
    server.instead[f"POST {JOBS}"] = [status(403, "Forbidden", "no jobs")]
    server.instead[f"DELETE {SERVICES}/{name}"] = [status(403, "Forbidden", "no deletes")]
    with pytest.raises(Refused) as error:
        submit(one)
    assert error.value.message.endswith(
        f"no jobs; the service {name} was made before and is still there"
    )
    assert error.value.hint == f"kubectl delete service/{name} --namespace training"
    assert api.lines[-1].startswith("DELETE")


def test_an_answer_that_is_lost(api: Cloud, server: Server) -> None:
    one = work("gke", cases("gke")["four-machines"])
    name = one.document["metadata"]["name"]
    honest = server.__call__

    def lose(asked: Asked) -> Reply:
        reply = honest(asked)
        return Reply(status=0) if asked.line == f"POST {JOBS}" else reply

    api.answer = lose
    assert submit(one).started
    assert set(server.objects) == {f"{SERVICES}/{name}", f"{JOBS}/{name}"}


@pytest.mark.parametrize(("target", "said"), [("jobset", "JobSets"), ("trainjob", "TrainJobs")])
def test_a_cluster_without_the_controller(api: Cloud, target: TargetName, said: str) -> None:
    api.answer = lambda _: Reply(status=404, plain=b"404 page not found\n")
    with pytest.raises(Refused, match=f"the cluster has no {said}: install"):
        submit(work(target, cases(target)["cpu"]))


def test_no_cluster_and_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = work("gke", cases("gke")["cpu"])
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(EnvironmentLacks, match="there is no cluster to send to"):
        submit(one)
    assert sender_of("gke").calls(one)[0].endpoint == ""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig("http://127.0.0.1:1", tmp_path)))
    with pytest.raises(EnvironmentLacks) as error:
        submit(one)
    assert error.value.message.startswith("the cluster cannot be reached at http://127.0.0.1:1")
    (tmp_path / "kubeconfig").write_text("{clusters: [")
    with pytest.raises(EnvironmentLacks, match="there is no cluster to send to"):
        submit(one)
