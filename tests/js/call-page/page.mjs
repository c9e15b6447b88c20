// A page that makes calls with the code of docs/clients.md and docs/calls.md. Tests sign in and read the page state.

import { Calls } from './calls.mjs';
import { openSocket } from './socket.mjs';
import { Tokens } from './tokens.mjs';

/** The state of the page: received events in order, errors in `problems`, and the number of requests in flight. */
const phone = (window.phone = { rings: [], quiet: [], ended: [], gone: [], elsewhere: [], problems: [], asking: 0 });

/** Signs in and starts to receive call events. */
phone.signIn = ({ url, socketUrl, auth, rtc }) => {
  let kept = null;
  const tokens = new Tokens({ url, load: () => kept, save: (pair) => (kept = pair) });
  tokens.set(auth);
  const ask = (query, variables) => {
    phone.asking += 1;
    return answer(query, variables).finally(() => (phone.asking -= 1));
  };
  const answer = async (query, variables) => {
    const headers = { 'Content-Type': 'application/json', ...(await tokens.freshHeaders()) };
    const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ query, variables }) });
    const { data, errors } = await response.json();
    if (errors) throw Object.assign(new Error(errors[0].message), { extensions: errors[0].extensions });
    return data;
  };
  const socket = openSocket({ url: socketUrl, tokens });
  phone.calls = new Calls({
    socket,
    ask,
    userId: auth.viewer.user.id,
    sessionId: auth.session.id,
    rtc,
    on: {
      ringing: (call) => phone.rings.push(call),
      quiet: (call) => phone.quiet.push(call),
      ended: (call) => phone.ended.push(call),
      elsewhere: (call) => phone.elsewhere.push(call),
      gone: (sessionId) => {
        phone.gone.push(sessionId);
        document.getElementById(sessionId)?.remove();
      },
      stream: show,
      problem: (problem) => phone.problems.push(String(problem?.message ?? JSON.stringify(problem))),
    },
  });
};

function show(sessionId, stream) {
  let video = document.getElementById(sessionId);
  if (!video) {
    // The video is muted, because a page cannot play sound before the user clicks on the page.
    video = Object.assign(document.createElement('video'), { id: sessionId, autoplay: true, muted: true });
    document.body.append(video);
  }
  video.srcObject = stream;
}

/** Returns the state of each connection: connection state, decoded frames, video size, and types of candidates. */
phone.connectionStates = async () => {
  const seen = [];
  for (const [sessionId, connection] of phone.calls.connections) {
    const stats = await connection.getStats();
    const all = [...stats.values()];
    const { selectedCandidatePairId } = all.find(({ type }) => type === 'transport') ?? {};
    const pair = stats.get(selectedCandidatePairId);
    const way = pair && [pair.localCandidateId, pair.remoteCandidateId].map((id) => stats.get(id)?.candidateType);
    const received = all.find(({ type, kind }) => type === 'inbound-rtp' && kind === 'video');
    const video = document.getElementById(sessionId);
    seen.push({
      state: connection.connectionState,
      settled: connection.signalingState === 'stable' && phone.asking === 0,
      ice: /^a=ice-ufrag:(.*)$/m.exec(connection.localDescription?.sdp)?.[1],
      frames: received?.framesDecoded ?? 0,
      width: video?.videoWidth ?? 0,
      time: video?.currentTime ?? 0,
      way,
    });
  }
  return seen;
};
