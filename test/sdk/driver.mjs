// Drives one client of the published SDK for the Go tests: commands come as JSON
// lines on standard input, what happens goes out as JSON lines.
//
// Environment: ENDPOINT, API_KEY, ORIGIN (empty: none is sent, as by a native app).
import { createInterface } from 'node:readline';
import WebSocket from 'ws';
import Brook from '@aptly-sdk/brook';

// Browsers send the page's origin by themselves; here the socket has to.
globalThis.WebSocket = class extends WebSocket {
  constructor(url) {
    super(url, process.env.ORIGIN ? { origin: process.env.ORIGIN } : {});
  }
};

const emit = (event) => process.stdout.write(JSON.stringify(event) + '\n');

const client = new Brook({ apiKey: process.env.API_KEY, reconnectTimeout: 200 });
client.config.endpoint = process.env.ENDPOINT;
client.onConnectivityChange((status) => emit({ event: 'status', status }));

const show = (data, meta) => emit({ event: 'message', data, ...meta });

const commands = {
  async connect() {
    try {
      await client.connect();
      emit({ event: 'connected' });
    } catch (error) {
      emit({ event: 'refused', reason: error.message });
    }
  },
  stream({ channel }) {
    client.realtime.channel(channel).stream(show);
  },
  // The lines of the README by which a page resumes after a reconnect.
  resume({ channel }) {
    client.realtime.channel(channel).stream(show);
    client.onConnectivityChange((status) => {
      if (status !== 'connected') return;
      for (const channel of client.channels.values()) {
        if (channel.streams.size > 0) channel.stream(() => {})();
      }
    });
  },
  async publish({ channel, message }) {
    await client.realtime.channel(channel).publish(message);
  },
  async publishHttp({ channel, message }) {
    emit({ event: 'publishedHttp', answer: await client.publishHttp(channel, message) });
  },
};

createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line);
  commands[command.cmd](command);
}).on('close', () => process.exit(0));
