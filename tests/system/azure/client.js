// SPDX-License-Identifier: GPL-3.0-or-later
//
// Azure's own client against jitgate-server: node client.js ENDPOINT TOKEN, in a directory with node_modules.
// NODE_EXTRA_CA_CERTS names the CA.

import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { SecurityCenter } from "@azure/arm-security";

// The client takes it for granted; Node.js 18, as Debian 12 has it, does not have it here.
globalThis.crypto ??= webcrypto;

const [endpoint, token, other] = process.argv.slice(2);
const subscription = "20ff7fc3-e762-44dd-bd96-b71116dcdc23";
const vm = (name) =>
  `/subscriptions/${subscription}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/${name}`;
const later = (seconds) => new Date(Date.now() + seconds * 1000);

function connect(token) {
  const credential = { getToken: async () => ({ token, expiresOnTimestamp: Date.now() + 3600000 }) };
  return new SecurityCenter(credential, subscription, { endpoint, retryOptions: { maxRetries: 0 } })
    .jitNetworkAccessPolicies;
}

const jit = connect(token);
const port = { number: 22, protocol: "TCP", allowedSourceAddressPrefix: "*", maxRequestAccessDuration: "PT3H" };
const body = (...names) => ({
  kind: "Basic",
  virtualMachines: names.map((name) => ({ id: vm(name), ports: [port] })),
});
const ask = (name, more) => ({
  justification: "from the client",
  virtualMachines: [{ id: vm(name), ports: [{ number: 22, endTimeUtc: later(3600), ...more }] }],
});

async function refused(promise, status, code, text) {
  const error = await promise.then(
    (value) => assert.fail(`not refused: ${JSON.stringify(value)}`),
    (error) => error,
  );
  assert.equal(error.name, "RestError", String(error.stack));
  assert.equal(error.statusCode, status, error.message);
  assert.equal(error.code, code, error.message);
  if (text) assert.match(error.message, text);
}

async function pages(iterator) {
  const all = [];
  for await (const page of iterator.byPage()) all.push(page.map((policy) => policy.name));
  return all;
}

const tests = {
  async "a policy's life"() {
    const made = await jit.createOrUpdate("rg", "westeurope", "default", body("vm1", "vm2"));
    assert.equal(made.name, "default");
    assert.equal(made.location, "westeurope");
    assert.equal(made.kind, "Basic");
    assert.equal(made.type, "Microsoft.Security/locations/jitNetworkAccessPolicies");
    assert.equal(made.provisioningState, "Succeeded");
    assert.equal(made.virtualMachines.length, 2);
    assert.deepEqual(made.virtualMachines[0].ports, [port]);
    assert.deepEqual(made.requests, []);

    // A PUT replaces, also with what a GET gave.
    const got = await jit.get("RG", "westeurope", "Default");
    assert.equal(got.id, made.id);
    got.virtualMachines.pop();
    const put = await jit.createOrUpdate("rg", "westeurope", "default", got);
    assert.deepEqual(put.virtualMachines.map((one) => one.id), [vm("vm1")]);
  },

  async "a request and its statuses over time"() {
    const request = await jit.initiate("rg", "westeurope", "default", ask("vm1"));
    assert.equal(request.requestor, "azure@example.org");
    assert.equal(request.justification, "from the client");
    assert.ok(Math.abs(request.startTimeUtc - Date.now()) < 30000);
    const granted = request.virtualMachines[0].ports[0];
    assert.equal(granted.number, 22);
    assert.equal(granted.status, "Initiated");
    assert.equal(granted.statusReason, "UserRequested");
    assert.equal(granted.allowedSourceAddressPrefix, "127.0.0.1");
    assert.ok(granted.endTimeUtc instanceof Date);

    await jit.initiate("rg", "westeurope", "default", ask("vm1", { endTimeUtc: later(2) }));
    let [newer, older] = (await jit.get("rg", "westeurope", "default")).requests;
    assert.equal(older.virtualMachines[0].ports[0].status, "Revoked");
    assert.equal(older.virtualMachines[0].ports[0].statusReason, "NewerRequestInitiated");
    for (const end = Date.now() + 30000; newer.virtualMachines[0].ports[0].status === "Initiated"; ) {
      assert.ok(Date.now() < end);
      await sleep(100);
      [newer] = (await jit.get("rg", "westeurope", "default")).requests;
    }
    assert.equal(newer.virtualMachines[0].ports[0].status, "Revoked");
    assert.equal(newer.virtualMachines[0].ports[0].statusReason, "Expired");

    const six = await jit.initiate("rg", "westeurope", "default",
      ask("vm1", { allowedSourceAddressPrefix: "2001:db8::/64" }));
    assert.equal(six.virtualMachines[0].ports[0].allowedSourceAddressPrefix, "2001:db8::/64");
  },

  async "errors as the client reads them"() {
    await refused(jit.get("rg", "westeurope", "none"), 404, "ResourceNotFound", /none/);
    await refused(jit.initiate("rg", "westeurope", "none", ask("vm1")), 404, "ResourceNotFound");
    await refused(jit.initiate("rg", "westeurope", "default", ask("vm1", { number: 23 })), 400, "PortNotInPolicy");
    await refused(jit.initiate("rg", "westeurope", "default", ask("vm1", { endTimeUtc: later(4 * 3600) })), 400,
      "DurationTooLong", /PT3H/);
    await refused(jit.initiate("rg", "westeurope", "default", ask("vm1", { endTimeUtc: later(-60) })), 400,
      "EndTimeInThePast");
    await refused(jit.initiate("rg", "westeurope", "default", ask("vm9")), 400, "VirtualMachineNotInPolicy");
    const bad = { kind: "Basic", virtualMachines: [{ id: "x", ports: [port] }] };
    await refused(jit.createOrUpdate("rg", "westeurope", "bad", bad), 400, "InvalidRequestContent");
    await refused(connect(other).createOrUpdate("rg", "westeurope", "default", body("vm1")), 403,
      "AuthorizationFailed", /administrator/);
    await refused(connect("jgt_wrong").get("rg", "westeurope", "default"), 401, "AuthenticationFailed");
  },

  async "lists in pages"() {
    const names = Array.from({ length: 120 }, (_, i) => `p${String(i).padStart(3, "0")}`);
    for (const name of names)
      await jit.createOrUpdate(name < "p060" ? "many" : "more", "northeurope", name, body(name));
    const all = await pages(jit.list());
    assert.ok(all.length >= 3, `${all.length} pages`);
    assert.deepEqual(all.flat().sort(), [...names, "default"].sort());
    assert.deepEqual((await pages(jit.listByResourceGroup("Many"))).flat(), names.slice(0, 60));
    assert.deepEqual((await pages(jit.listByRegion("westeurope"))).flat(), ["default"]);
    assert.deepEqual((await pages(jit.listByResourceGroupAndRegion("more", "NorthEurope"))).flat(), names.slice(60));
    assert.deepEqual(await pages(jit.listByResourceGroup("nothing")), [[]]);
    const each = [];
    for await (const policy of jit.list()) each.push(policy.name);
    assert.equal(each.length, 121);
  },

  async "a delete is for good"() {
    let status;
    const onResponse = (response) => { status = response.status; };
    await jit.delete("rg", "westeurope", "default", { onResponse });
    assert.equal(status, 200);
    await jit.delete("rg", "westeurope", "default", { onResponse });
    assert.equal(status, 204);
    await refused(jit.get("rg", "westeurope", "default"), 404, "ResourceNotFound");
  },
};

for (const [name, test] of Object.entries(tests)) {
  await test();
  console.log(`ok ${name}`);
}
