// A live subscription over aptlyd's own WebSocket, with a token of the console
// that the node renews for as long as the session lasts.
import { base, path, post } from './api.js';

const renewBefore = 60_000; // ms before a token ends
const waits = [500, 1000, 2000, 5000];

// tail subscribes to a channel from its last messages on until signal aborts.
// tell gets every frame of the channel, state the state of the connection:
// "connecting", "live", or "waiting" with a reason. With members it is told who is in the
// channel, and no message.
export function tail(project, channel, last, { signal, tell, state, members = false }) {
  let socket;
  let renewal;
  let failures = 0;
  let offset = 0;
  let epoch = '';

  const send = (frame) => socket?.readyState === WebSocket.OPEN && socket.send(JSON.stringify(frame));

  async function authenticate() {
    const { token, expiresAt } = await post(path('projects', project, 'console-token'), undefined, signal);
    send({ type: 'auth', apiKey: token, timestamp: Date.now() });
    clearTimeout(renewal);
    renewal = setTimeout(() => authenticate().catch((error) => retry(error.message)), Math.max(1000, expiresAt - Date.now() - renewBefore));
  }

  function subscribe() {
    if (members) return send({ type: 'subscribe', channel, from: 'live', presence: 'members' });
    send(offset > 0 ? { type: 'subscribe', channel, fromOffset: offset, epoch } : { type: 'subscribe', channel, from: { last } });
  }

  function heard(frame) {
    switch (frame.type) {
      case 'connected':
        failures = 0;
        subscribe();
        break;
      case 'subscribed':
        epoch = frame.epoch;
        state('live');
        break;
      case 'presence':
      case 'occupancy':
        tell(frame);
        break;
      case 'message':
        if (members) break;
        if (frame.offset > 0) offset = frame.offset;
        tell(frame);
        break;
      case 'gap':
        offset = frame.to;
        tell(frame);
        break;
      case 'error':
        state('waiting', frame.error);
        break;
    }
  }

  function retry(reason) {
    if (signal.aborted) return;
    clearTimeout(renewal);
    if (socket) socket.onclose = null;
    socket?.close();
    state('waiting', reason);
    setTimeout(open, waits[Math.min(failures++, waits.length - 1)]);
  }

  function open() {
    if (signal.aborted) return;
    state('connecting');
    socket = new WebSocket(base.replace(/^http/, 'ws') + 'realtime');
    socket.onopen = () => authenticate().catch((error) => retry(error.message));
    socket.onmessage = ({ data }) => heard(JSON.parse(data));
    socket.onclose = () => retry('The connection was closed.');
  }

  signal.addEventListener('abort', () => {
    clearTimeout(renewal);
    socket?.close();
  });
  open();
}
