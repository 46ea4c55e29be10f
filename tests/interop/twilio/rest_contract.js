// Trunks and the lists of networks, judged by the unmodified twilio-node client library.
//
//     NODE_PATH=.../node_modules node rest_contract.js ENDPOINTS.json
//
// Exit status 0: every check passed.
"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const twilio = require("twilio");

async function refused(status, code, promise) {
  try {
    await promise;
  } catch (error) {
    assert.deepStrictEqual([error.status, error.code], [status, code], error.message);
    return;
  }
  throw new Error(`not refused: wanted ${status}/${code}`);
}

async function main() {
  const switched = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
  const client = twilio(switched.account_sid, switched.auth_token);
  const base = switched.api_base.replace(/\/$/, "");
  client.api.baseUrl = base;
  client.trunking.baseUrl = base;
  const mark = String(process.hrtime.bigint()).slice(-9);
  const trunks = client.trunking.v1.trunks;
  const trunk = await trunks.create({ friendlyName: "Node", domainName: `j${mark}.example.com` });
  assert.ok(trunk.sid.startsWith("TK") && trunk.dateCreated instanceof Date);
  await refused(400, 21248, trunks.create({ domainName: `j${mark}.example.com` }));
  const urls = trunks(trunk.sid).originationUrls;
  for (let at = 0; at < 5; at += 1) {
    const sipUrl = `sip:pbx${at}.example.com`;
    await urls.create({ weight: 1, priority: at, enabled: true, friendlyName: "PBX", sipUrl });
  }
  assert.strictEqual((await urls.list({ pageSize: 2 })).length, 5);
  const acl = await client.api.v2010.account.sip.ipAccessControlLists.create({ friendlyName: "net" });
  const address = { friendlyName: "one", ipAddress: "192.0.2.1", cidrPrefixLength: 32 };
  await client.sip.ipAccessControlLists(acl.sid).ipAddresses.create(address);
  await trunks(trunk.sid).ipAccessControlLists.create({ ipAccessControlListSid: acl.sid });
  const number = await client.incomingPhoneNumbers.create({ phoneNumber: `+1556${mark.slice(-7)}` });
  const attached = await trunks(trunk.sid).phoneNumbers.create({ phoneNumberSid: number.sid });
  assert.strictEqual(attached.trunkSid, trunk.sid);
  assert.strictEqual((await trunks(trunk.sid).phoneNumbers.list()).length, 1);
  await refused(400, 21247, trunks(trunk.sid).remove());
  await trunks(trunk.sid).phoneNumbers(number.sid).remove();
  assert.strictEqual((await trunks(trunk.sid).fetch()).authType, "IP_ACL");
  const found = await trunks.list({ pageSize: 1 });
  assert.ok(found.some((it) => it.sid === trunk.sid));
  assert.ok(await trunks(trunk.sid).remove());
  assert.ok(await client.sip.ipAccessControlLists(acl.sid).remove());
  assert.ok(await client.incomingPhoneNumbers(number.sid).remove());
  await refused(404, 20404, trunks(trunk.sid).fetch());
  console.log("ok      trunks by twilio-node");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
