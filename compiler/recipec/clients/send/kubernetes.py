"""Sends Jobs, JobSets and TrainJobs to a cluster, with Kubernetes' own client.

In: the objects of a document, the job last. Out: the job. The cluster is the current context of the
kubeconfig, or the one that we run in. The server makes the objects and refuses keys that it does
not know. Names are unique in a namespace: the job is looked for first. Where the job cannot be
made, what was made before it is removed again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipec.clients.send.call import Call, Outcome, Refused, Sender, Words, Work
from recipec.clients.send.once import CONFLICT, once
from recipec.clients.send.refusals import refused, safe, unreachable
from recipec.clients.verdict import at, client
from recipec.errors import EnvironmentLacks
from recipec.recipe.schema import TargetName

EXTRA, PACKAGE = "kubernetes", "kubernetes"
SERVICE = "the cluster"
TIMEOUT = (10, 60)
"""Seconds to connect, and without a byte of an answer."""
NOTE = "recipec.dev/run-id"
LOGIN = "`kubectl auth whoami` says who you are; `kubectl config use-context NAME` chooses another"

_PLURALS = {"Job": "jobs", "JobSet": "jobsets", "TrainJob": "trainjobs", "Service": "services"}
_INSTALLS = {
    "jobsets": "the cluster has no JobSets: install the controller of jobset.x-k8s.io",
    "trainjobs": "the cluster has no TrainJobs: install Kubeflow Trainer",
}
_KEYS = (
    (r"namespaces? \\?\"", "namespace"),
    (r"serviceaccount", "identity"),
    (r"runtimeRef|[Tt]rainingRuntime", "compute"),
)
_FAILED = ("Failed", "FailureTarget")
_DONE = ("Complete", "Completed", "SuccessCriteriaMet")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where the objects go."""

    client: Any
    endpoint: str
    namespace: str
    """The context's own, for objects that name none."""


def calls(work: Work) -> tuple[Call, ...]:
    """A request for each object; the endpoint is the kubeconfig's, if it can be read."""
    try:
        cluster = _cluster()
        endpoint, namespace = cluster.endpoint, cluster.namespace
    except EnvironmentLacks:
        endpoint, namespace = "", "default"
    return tuple(
        Call(
            service=one["apiVersion"],
            operation=f"POST {_path(one, _namespace(one, namespace))}",
            endpoint=endpoint,
            parameters={"namespace": _namespace(one, namespace), "body": one},
        )
        for one in work.documents
    )


def send(work: Work) -> Outcome:
    """Create the objects unless the job is there."""
    cluster = _cluster()
    made: list[Any] = []

    def start() -> Any:
        made.extend(one for one in work.documents[:-1] if _created(cluster, one, work.run_id))
        with _understood(cluster, _plural(work.document)):
            _create_custom(cluster, work.document)
        return {}

    try:
        found, started = once(lambda: _job(cluster, work), start)
    except BaseException as error:
        _remove(cluster, made, error)
        raise
    return _outcome(work, cluster, found, started=started)


def _cluster() -> Cluster:
    """The cluster that kubectl would talk to. Raises EnvironmentLacks."""
    config = client("kubernetes.config", PACKAGE, EXTRA, does="sends such jobs")
    library = client("kubernetes.client", PACKAGE, EXTRA, does="sends such jobs")
    files = os.environ.get("KUBECONFIG") or "~/.kube/config"
    known = any(Path(one).expanduser().is_file() for one in files.split(os.pathsep) if one)
    settings = library.Configuration()
    namespace = "default"
    try:
        if known:
            config.load_kube_config(files, client_configuration=settings, persist_config=False)
            _, active = config.list_kube_config_contexts(files)
            namespace = at(active, "context", "namespace") or namespace
        else:
            config.load_incluster_config(client_configuration=settings)
            mounted = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
            namespace = mounted.read_text(encoding="utf-8").strip()
    # Besides its own, what it raises of a broken file has no common base: yaml's, Python's.
    except Exception as error:
        raise EnvironmentLacks(
            f"there is no cluster to send to: {safe(str(error))}",
            hint="KUBECONFIG or ~/.kube/config names one: see `kubectl config get-contexts`",
        ) from error
    api = library.ApiClient(settings)
    return Cluster(client=api, endpoint=str(settings.host), namespace=namespace)


def _namespace(one: Any, usual: str) -> str:
    return str(at(one, "metadata", "namespace") or usual)


def _plural(one: Any) -> str:
    return _PLURALS[one["kind"]]


def _path(one: Any, namespace: str) -> str:
    version = one["apiVersion"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{root}/namespaces/{namespace}/{_plural(one)}"


def _custom(cluster: Cluster, one: Any) -> tuple[Any, tuple[str, str, str, str]]:
    """The client of objects as plain values, and the first arguments of its methods."""
    group, _, version = one["apiVersion"].partition("/")
    library = client("kubernetes.client", PACKAGE, EXTRA)
    place = (group, version, _namespace(one, cluster.namespace), _plural(one))
    return library.CustomObjectsApi(cluster.client), place


def _create_custom(cluster: Cluster, one: Any) -> None:
    api, place = _custom(cluster, one)
    api.create_namespaced_custom_object(
        *place, one, field_validation="Strict", _request_timeout=TIMEOUT
    )


def _job(cluster: Cluster, work: Work) -> Any:
    """The job as the cluster has it, or None. Raises Refused if it is another run's."""
    one = work.document
    api, place = _custom(cluster, one)
    name = one["metadata"]["name"]
    with _understood(cluster, _plural(one)):
        try:
            found = api.get_namespaced_custom_object(*place, name, _request_timeout=TIMEOUT)
        except client("kubernetes.client", PACKAGE, EXTRA).ApiException as error:
            if error.status == 404:
                return None
            raise
    return _ours(found, work.run_id, f"{place[3]}/{name} in {place[2]}")


def _ours(found: Any, run_id: str, what: str) -> Any:
    if at(found, "metadata", "annotations", NOTE) != run_id:
        raise Refused(
            f"{SERVICE} has {what}, and it is not of this run",
            hint=f"see `kubectl describe`; the annotation {NOTE} is another",
        )
    return found


def _created(cluster: Cluster, one: Any, run_id: str) -> bool:
    """Create the service; False if this run's is there already."""
    library = client("kubernetes.client", PACKAGE, EXTRA)
    api, name = library.CoreV1Api(cluster.client), one["metadata"]["name"]
    namespace = _namespace(one, cluster.namespace)
    with _understood(cluster, "services"):
        try:
            api.create_namespaced_service(
                namespace, one, field_validation="Strict", _request_timeout=TIMEOUT
            )
        except library.ApiException as error:
            if error.status != CONFLICT:
                raise
            found = api.read_namespaced_service(name, namespace, _request_timeout=TIMEOUT)
            noted = {"metadata": {"annotations": found.metadata.annotations or {}}}
            _ours(noted, run_id, f"services/{name} in {namespace}")
            return False
    return True


def _remove(cluster: Cluster, made: list[Any], error: BaseException) -> None:
    """Remove what was made. Raises Refused, with what is left, if that cannot be done."""
    library = client("kubernetes.client", PACKAGE, EXTRA)
    for one in reversed(made):
        name, namespace = one["metadata"]["name"], _namespace(one, cluster.namespace)
        try:
            library.CoreV1Api(cluster.client).delete_namespaced_service(
                name, namespace, _request_timeout=TIMEOUT
            )
        # Whatever it is, the first error is the one to tell.
        except Exception:
            message = error.message if isinstance(error, EnvironmentLacks) else str(error)
            raise Refused(
                f"{message}; the service {name} was made before and is still there",
                hint=f"kubectl delete service/{name} --namespace {namespace}",
            ) from error


@contextmanager
def _understood(cluster: Cluster, plural: str) -> Iterator[None]:
    """Turn what the client raises into errors of ours."""
    from urllib3.exceptions import HTTPError

    library = client("kubernetes.client", PACKAGE, EXTRA)
    try:
        yield
    except library.ApiException as error:
        status, code, words = int(error.status or 0), *_said(error.body)
        if status == 404 and not code and plural in _INSTALLS:
            raise Refused(_INSTALLS[plural], hint="or emit the job for another target") from error
        words = words or str(error.reason or "")
        raise refused(
            SERVICE, status=status, code=code, words=words, login=LOGIN, keys=_KEYS
        ) from error
    except (HTTPError, OSError) as error:
        raise unreachable(SERVICE, cluster.endpoint, str(error)) from error


def _said(body: object) -> tuple[str, str]:
    """Reason and message of a Status."""
    try:
        plain = json.loads(body) if isinstance(body, str | bytes) else {}
    except ValueError:
        plain = {}
    return str(at(plain, "reason") or ""), str(at(plain, "message") or "")


def _state(found: Any) -> str:
    true = [at(one, "type") for one in at(found, "status", "conditions") or () if _holds(one)]
    for words, state in ((_FAILED, "Failed"), (_DONE, "Complete"), (("Suspended",), "Suspended")):
        if any(word in true for word in words):
            return state
    return "Running" if at(found, "status", "active") else "Pending"


def _holds(condition: Any) -> bool:
    return bool(at(condition, "status") == "True")


def _outcome(work: Work, cluster: Cluster, found: Any, *, started: bool) -> Outcome:
    one, state = work.document, _state(found)
    name, space = one["metadata"]["name"], _namespace(one, cluster.namespace)
    kind = one["kind"].lower()
    objects = " ".join(f"{_KINDS[o['kind']]}/{o['metadata']['name']}" for o in work.documents)
    return Outcome(
        name=name,
        identifier=f"{kind}/{name}",
        state=state,
        started=started,
        failed=not started and state == "Failed",
        words=Words(
            follow=f"kubectl get {kind}/{name} --namespace {space} --watch\n"
            + _LOGS[one["kind"]].format(name=name, space=space),
            results=str(work.settings.get("output", "")),
            stop=f"kubectl delete {objects} --namespace {space}",
            anew=f"kubectl delete {objects} --namespace {space}",
        ),
    )


_KINDS = {"Job": "job", "JobSet": "jobset", "TrainJob": "trainjob", "Service": "service"}
_SET = "kubectl logs --follow --namespace {space} --selector jobset.sigs.k8s.io/jobset-name={name}"
_LOGS: Mapping[str, str] = {
    "Job": "kubectl logs --follow --namespace {space} --selector"
    " batch.kubernetes.io/job-name={name} --prefix",
    "JobSet": _SET,
    "TrainJob": _SET,
}
"""How to see what the pods print."""

SENDERS: Mapping[TargetName, Sender] = dict.fromkeys(
    ("gke", "aks", "eks", "iks", "jobset", "trainjob"), Sender(calls=calls, send=send)
)
