# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what: every route, every role, in and outside of its scope."""

import pytest

from control_plane import VERSION, ask, policy, policy_id, rule, utc, vm_id

ROLES = ("reader", "requester", "approver", "administrator")
EVERYONE = set(ROLES)
OTHER_GROUP = "/subscriptions/s1/resourceGroups/other"


def put(world):
    return "PUT", policy_id(), policy({"vm1": [rule(approvalRequired=True)]})


def put_new(world):
    return "PUT", policy_id("new"), policy({"vm1": [rule(approvalRequired=True)]})


def delete(world):
    return "DELETE", policy_id("spare"), None


def initiate(world):
    return "POST", policy_id() + "/initiate", ask(source=world.next_source())


def create(world):
    return "POST", "/v1/requests", {"vm": vm_id("vm1"), "ports": [
        {"number": 22, "source": world.next_source()}]}


def approve(world):
    return "POST", f"/v1/requests/{world.request()}/approve", {}


def deny(world):
    return "POST", f"/v1/requests/{world.request()}/deny", {}


def revoke(world):
    return "POST", f"/v1/requests/{world.request()}/revoke", {}


def revoke_azure(world):
    return "POST", policy_id() + "/revoke", {"requestId": world.request()}


def get_policy(world):
    return "GET", policy_id(), None


def get_request(world):
    return "GET", f"/v1/requests/{world.request()}", None


CALLS = {
    put: {"administrator"}, put_new: {"administrator"}, delete: {"administrator"},
    initiate: {"requester"}, create: {"requester"},
    approve: {"approver"}, deny: {"approver"},
    revoke: {"approver", "administrator"}, revoke_azure: {"approver", "administrator"},
    get_policy: EVERYONE, get_request: EVERYONE,
}

SCOPES = {
    "/": True, "/subscriptions/s1": True, "/SUBSCRIPTIONS/S1/resourcegroups/RG": True,
    "/subscriptions/s": False, "/subscriptions/s2": False, OTHER_GROUP: False,
}


class RoleWorld:
    def __init__(self, server):
        self.server = server
        self.admin = server.person("root", "administrator")
        self.carol = server.person("carol", "requester")
        self.admin.put({"vm1": [rule(approvalRequired=True)]})
        self.admin.put({"vm2": [rule()]}, "spare")
        self.count = 0
        self.people = {}

    def next_source(self):
        self.count += 1
        return f"198.51.{self.count // 250}.{self.count % 250 + 1}"

    def request(self):
        return self.carol.call("POST", "/v1/requests", {"vm": vm_id("vm1"), "ports": [
            {"number": 22, "source": self.next_source()}]})["id"]

    def person(self, role, scope):
        if (role, scope) not in self.people:
            self.people[role, scope] = self.server.person(
                f"{role}-{len(self.people)}", role, scope)
        return self.people[role, scope]


def test_each_call_takes_its_role_in_its_scope(server):
    world = RoleWorld(server)
    wrong = []
    for make, roles in CALLS.items():
        for role in ROLES:
            for scope, inside in SCOPES.items():
                person = world.person(role, scope)
                method, path, body = make(world)
                answer = person.call(method, path, body)
                allowed = role in roles and inside
                if allowed != (answer.status < 300):
                    wrong.append(f"{role} {scope} {method} {path}: {answer}")
                elif not allowed:
                    if (answer.status, answer.code) != (403, "AuthorizationFailed"):
                        wrong.append(f"{role} {scope} {method} {path}: {answer}")
                    if not world.admin.activity(principal=person.name, top=1)[0]["result"] == "Denied":
                        wrong.append(f"not in the log: {role} {scope} {method} {path}")
                if make is delete and answer.status == 200:
                    world.admin.put({"vm2": [rule()]}, "spare")
                if make is put_new and answer.status == 200:
                    world.admin.call("DELETE", policy_id("new"))
    assert not wrong, "\n".join(wrong)


def test_nobody_without_a_token(server, admin):
    admin.put({"vm1": [rule()]})
    for method, path in (
            ("GET", "/subscriptions/s1/providers/Microsoft.Security/jitNetworkAccessPolicies"),
            ("GET", policy_id()), ("PUT", policy_id()), ("DELETE", policy_id()),
            ("POST", policy_id() + "/initiate"), ("POST", policy_id() + "/revoke"),
            ("GET", "/v1/requests"), ("POST", "/v1/requests"), ("GET", "/v1/requests/r-1"),
            ("POST", "/v1/requests/r-1/approve"), ("POST", "/v1/requests/r-1/deny"),
            ("POST", "/v1/requests/r-1/revoke"), ("GET", "/v1/vms"), ("GET", "/v1/activity"),
            ("GET", "/v1/vms/x/documents"), ("POST", "/v1/vms/x/events"), ("POST", "/v1/enroll")):
        for token in (None, "jgt_" + 43 * "A", "jga_" + 43 * "A", "jge_" + 43 * "A", "x.y.z"):
            answer = server.call(method, f"{path}?{VERSION}", token=token)
            assert (answer.status, answer.code) == (401, "AuthenticationFailed"), (path, token)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert server.call("GET", "/.well-known/jwks.json").status == 200


def test_an_agents_credential_is_no_persons_and_the_reverse(server, admin, alice):
    admin.put({"vm1": [rule()]})
    agent = server.enroll("vm1")
    for path in ("/v1/requests", "/v1/vms", "/v1/activity", f"{policy_id()}?{VERSION}"):
        assert server.call("GET", path, token=agent.credential).status == 401
    assert server.call("GET", agent.path + "/documents", token=alice.token).status == 401
    other = server.enroll("vm2")
    for method, path in (("GET", "/documents"), ("POST", "/events")):
        answer = server.call(method, other.path + path, token=agent.credential)
        assert (answer.status, answer.code) == (403, "AuthorizationFailed")
    assert admin.activity(top=1)[0]["result"] == "Denied"


def test_a_scope_of_one_vm_shows_only_that_vm(server, admin, alice):
    admin.put({"vm1": [rule()], "vm2": [rule()]})
    both = alice.call("POST", policy_id() + "/initiate", {"virtualMachines": [
        {"id": vm_id(name), "ports": [{"number": 22, "endTimeUtc": utc(600)}]}
        for name in ("vm1", "vm2")]})
    assert both.status == 202
    dave = server.person("dave", "requester", vm_id("vm1"))
    shown = dave.call("GET", policy_id())["properties"]
    assert [vm["id"] for vm in shown["virtualMachines"]] == [vm_id("vm1")]
    assert [vm["id"] for vm in shown["requests"][0]["virtualMachines"]] == [vm_id("vm1")]
    listed = dave.call("GET", "/subscriptions/s1/providers/Microsoft.Security/jitNetworkAccessPolicies")
    assert [one["id"] for one in listed["value"]] == [policy_id()]
    assert [vm["id"] for vm in dave.get(both["id"])["virtualMachines"]] == [vm_id("vm1")]
    assert [vm["id"] for vm in dave.call("GET", "/v1/vms")["value"]] == [vm_id("vm1")]
    assert {entry["vm"] for entry in dave.activity()} == {vm_id("vm1")}
    # To ask for both takes both.
    refused = dave.call("POST", policy_id() + "/initiate", {"virtualMachines": [
        {"id": vm_id(name), "ports": [{"number": 22, "endTimeUtc": utc(600)}]}
        for name in ("vm1", "vm2")]})
    assert refused.code == "AuthorizationFailed"
    stranger = server.person("eve", "reader", vm_id("vm9"))
    assert stranger.call("GET", policy_id()).status == 403
    assert stranger.call(
        "GET", "/subscriptions/s1/providers/Microsoft.Security/jitNetworkAccessPolicies"
    )["value"] == []


@pytest.mark.parametrize("change", ["take in", "leave out"])
def test_a_policy_is_written_with_rights_for_all_its_vms(server, admin, change):
    """Those it had, and those it gets."""
    frank = server.person("frank", "administrator", "/subscriptions/s1/resourceGroups/rg")
    foreign = vm_id("foreign", OTHER_GROUP)
    if change == "leave out":
        admin.put({"vm1": [rule()], foreign: [rule()]})
        body = policy({"vm1": [rule()]})
    else:
        body = policy({"vm1": [rule()], foreign: [rule()]})
    refused = frank.call("PUT", policy_id(), body)
    assert (refused.status, refused.code) == (403, "AuthorizationFailed")
    assert foreign in refused["error"]["message"]
    if change == "leave out":
        assert frank.call("DELETE", policy_id()).status == 403
