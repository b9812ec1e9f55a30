"""What the processes on the node may do, as the kernel sees it."""

import pytest

from harness import kube

# capabilities(7)
KILL, SETGID, SETUID, NET_BIND_SERVICE, NET_ADMIN = 5, 6, 7, 10, 12

FILTER = "2"  # seccomp(2): a filter is at work


@pytest.fixture(scope="module")
def processes(release, agent, node):
    """The supervisor's and the resolver's (pid, /proc/PID/status)."""
    container = release.container(node)
    supervisor, resolvers = agent.daemon(container)
    found = agent.processes(container)
    return [(pid, found[pid]) for pid in (supervisor, *resolvers)]


def capabilities(status, which):
    bits = int(status[which][0], 16)
    return {number for number in range(64) if bits >> number & 1}


def test_the_supervisor_holds_just_the_capabilities_that_the_chart_names(processes):
    (_, supervisor), _ = processes
    expected = {NET_BIND_SERVICE, NET_ADMIN, SETUID, SETGID, KILL}
    for which in ("CapEff", "CapPrm", "CapBnd"):
        assert capabilities(supervisor, which) == expected
    assert capabilities(supervisor, "CapInh") | capabilities(supervisor, "CapAmb") <= expected


def test_the_resolver_holds_no_capability(processes):
    _, (_, resolver) = processes
    for which in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert capabilities(resolver, which) == set()


def test_the_resolver_has_a_user_of_its_own_and_no_other_group(processes):
    (_, supervisor), (_, resolver) = processes
    assert supervisor["Uid"] == ["0"] * 4
    assert resolver["Uid"] == resolver["Gid"] == ["65532"] * 4
    assert resolver["Groups"] == []


def test_both_processes_are_under_a_seccomp_filter_and_gain_no_privilege(processes):
    for _, status in processes:
        assert status["Seccomp"] == [FILTER]
        assert status["NoNewPrivs"] == ["1"]


def test_the_resolver_has_a_filter_of_its_own_over_that_of_the_runtime(processes, release, node):
    (_, supervisor), (_, resolver) = processes
    if "Seccomp_filters" not in resolver:
        pytest.skip("the kernel does not count filters (Linux 5.9)")
    assert int(resolver["Seccomp_filters"][0]) > int(supervisor["Seccomp_filters"][0]) > 0
    assert "no system-call filter" not in release.log(node)


def test_the_resolver_cannot_be_traced_or_dumped_by_its_user(processes, agent):
    """The files of a process that cannot be dumped belong to root (proc(5))."""
    _, (pid, _) = processes
    assert agent("stat", "-c", "%u", f"/proc/{pid}/mem").strip() == "0"


def mounts(agent, pid):
    """{mount point: options} of the process."""
    lines = agent("cat", f"/proc/{pid}/mountinfo").splitlines()
    return {line.split()[4]: line.split()[5].split(",") for line in lines}


def test_the_root_and_the_configuration_are_read_only(processes, agent):
    (pid, _), _ = processes
    found = mounts(agent, pid)
    assert "ro" in found["/"] and "ro" in found["/etc/nodedot"]


def test_no_token_of_a_service_account_is_there(processes, agent):
    (pid, _), _ = processes
    assert not [place for place in mounts(agent, pid) if "serviceaccount" in place]


def test_no_host_port_is_reserved(release, node):
    assert "ports" not in release.pod(node)["spec"]["containers"][0]


def test_the_api_server_takes_the_chart_with_every_extra(release):
    """Monitors need their custom resources, so they are left out."""
    extras = {
        "metrics": {"enabled": True},
        "networkPolicy": {"enabled": True, "clientNamespaces": ["default"]},
        "dashboard": {"enabled": True},
    }
    release.install("--dry-run=server", **extras)


def test_the_api_server_takes_the_manifests_without_helm(release):
    kube.kubectl("apply", "--dry-run=server", "--validate=strict", "-k", kube.ROOT / "k8s")
