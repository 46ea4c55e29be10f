// A browser's phone: registers by WebSocket, asks, writes, calls and is called, and reports each
// step to the test that has opened this page. JsSIP is what a web application would use; where
// media is not the point, a peer connection of our own offers plain RTP at a port of the test's.

const asked = new URLSearchParams(location.search);
const target = (user) => `sip:${user}@${asked.get("domain")}`;

const report = (step, more = {}) =>
  fetch("/report", { method: "POST", body: new URLSearchParams({ Step: step, ...more }) });

const plain = (version) => {
  const [host, port] = asked.get("media").split(":");
  return `v=0\r\no=- 1 ${version} IN IP4 ${host}\r\ns=-\r\nc=IN IP4 ${host}\r\nt=0 0\r\n` +
    `m=audio ${port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n`;
};

// As much of RTCPeerConnection as JsSIP needs.
class PlainConnection extends EventTarget {
  iceGatheringState = "complete";
  iceConnectionState = "connected";
  connectionState = "connected";
  signalingState = "stable";
  localDescription = null;
  remoteDescription = null;
  #version = 0;

  async createOffer() {
    this.#version += 1;
    return { type: "offer", sdp: plain(this.#version) };
  }
  async createAnswer() {
    this.#version += 1;
    return { type: "answer", sdp: plain(this.#version) };
  }
  async setLocalDescription(description) {
    this.localDescription = description;
    this.signalingState = description.type === "offer" ? "have-local-offer" : "stable";
  }
  async setRemoteDescription(description) {
    this.remoteDescription = description;
    this.signalingState = description.type === "offer" ? "have-remote-offer" : "stable";
  }
  addTrack() {}
  getSenders() { return []; }
  getReceivers() { return []; }
  getTransceivers() { return []; }
  close() { this.signalingState = "closed"; }
}

const RealConnection = window.RTCPeerConnection;
const usePlain = (yes) => { window.RTCPeerConnection = yes ? PlainConnection : RealConnection; };

// Told by the browser's log, which is printed when the test fails.
JsSIP.debug.enable("JsSIP:*");

const socket = new JsSIP.WebSocketInterface(asked.get("ws"));
const ua = new JsSIP.UA({
  sockets: [socket],
  uri: target(asked.get("user")),
  password: asked.get("password"),
  register_expires: 120,
  session_timers: true,
});

const outcome = (start) => new Promise((done) => {
  start({
    succeeded: ({ response }) => done({ Code: response.status_code }),
    failed: ({ response, cause }) => done({ Code: response ? response.status_code : 0, Cause: cause }),
  });
});

const call = (plainMedia, talk) => new Promise((done) => {
  usePlain(plainMedia);
  const session = ua.call(target(asked.get("callee")), {
    mediaConstraints: { audio: !plainMedia, video: false },
    eventHandlers: {
      confirmed: () => talk(session),
      ended: ({ originator, cause }) => done({ Code: 200, Originator: originator, Cause: cause }),
      failed: ({ message, cause }) => done({ Code: message ? message.status_code : 0, Cause: cause }),
    },
  });
});

const wait = (ms) => new Promise((done) => { setTimeout(done, ms); });

// Holds, takes back, hangs up.
const converse = async (session) => {
  report("confirmed", { Sdp: session.connection.remoteDescription.sdp });
  await wait(1500);
  await new Promise((done) => { if (!session.hold({}, done)) done(); });
  report("held");
  await wait(500);
  await new Promise((done) => { if (!session.unhold({}, done)) done(); });
  report("resumed");
  await wait(1000);
  session.terminate();
};

const isCalled = new Promise((done) => {
  ua.on("newRTCSession", ({ originator, session }) => {
    if (originator !== "remote") return;
    usePlain(true);
    session.on("ended", ({ originator: by }) => done({ Code: 200, Originator: by }));
    session.on("failed", ({ cause }) => done({ Code: 0, Cause: cause }));
    session.on("confirmed", () => report("talking"));
    session.answer({ mediaConstraints: { audio: false, video: false } });
  });
});

const registered = new Promise((done) => {
  ua.on("registered", () => done({ Code: 200 }));
  ua.on("registrationFailed", ({ response, cause }) =>
    done({ Code: response ? response.status_code : 0, Cause: cause }));
});

const run = async () => {
  ua.start();
  await report("registered", await registered);
  await report("options", await outcome((handlers) =>
    ua.sendOptions(`sip:${asked.get("domain")}`, null, { eventHandlers: handlers })));
  await report("message", await outcome((handlers) =>
    ua.sendMessage(target(asked.get("callee")), "hello", { eventHandlers: handlers })));
  await report("webrtc", await call(false, (session) => session.terminate()));
  await report("plain", await call(true, converse));
  await report("ready");
  await report("called", await isCalled);
  ua.on("unregistered", () => report("unregistered"));
  ua.unregister({ all: true });
};

run().catch((error) => report("error", { Cause: String(error) }));
