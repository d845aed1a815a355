// How to connect: snippets with the project's own key and this host.
import { h, fill } from '../dom.js';
import { base } from '../api.js';
import { card, copyButton } from '../parts.js';

// Below a path of a proxy the endpoint ends in a slash: there is the WebSocket.
const endpoint = () => (base === location.origin + '/' ? location.origin : base).replace(/^http/, 'ws');

const installs = {
  JavaScript: 'npm install @aptly-sdk/brook', React: 'npm install @aptly-sdk/brook', Go: 'go get github.com/aptly-cloud/go',
};

// heal has the SDK subscribe again after it has reconnected, which it does not do by
// itself. It works for the hooks of React too, which go silent without it.
const heal = `const connect = () => client.connect().catch((error) => console.error(error.message));
client.onConnectivityChange((status) => {
  // After every (re)connect each channel goes on from its last offset.
  if (status === 'connected') {
    for (const channel of client.channels.values()) {
      if (channel.streams.size > 0) channel.stream(() => {})();
    }
  }
  if (status === 'failed') setTimeout(connect, 10_000); // the SDK has given up
});
`;

const snippets = {
  JavaScript: (key) => `import Brook from '@aptly-sdk/brook';

const client = new Brook({ apiKey: '${key}' });
client.config.endpoint = '${endpoint()}';

${heal}
client.realtime.channel('news').stream((data, { offset }) => console.log(offset, data));
connect();`,
  React: (key) => `import Brook from '@aptly-sdk/brook';
import { BrookProvider, useConnection, useStream } from '@aptly-sdk/brook/react';
import { useState } from 'react';

const client = new Brook({ apiKey: '${key}' });
client.config.endpoint = '${endpoint()}';

${heal}
connect();

function News() {
  const { status } = useConnection();
  const [last, setLast] = useState(null);
  useStream('news', (message) => setLast(message));
  return <p>{status}: {JSON.stringify(last)}</p>;
}

export default function App() {
  return <BrookProvider config={client}><News /></BrookProvider>;
}`,
  Go: () => `package main

import (
	"log"
	"os"

	aptly "github.com/aptly-cloud/go"
)

func main() {
	client, err := aptly.NewClient(aptly.Config{
		APIKey:   os.Getenv("APTLY_SERVER_KEY"), // sk_…
		Endpoint: "${endpoint()}",
	})
	if err != nil {
		log.Fatal(err)
	}
	// Returns when the message is stored; Channel.Publish does not wait.
	answer, err := client.PublishHTTP("news", map[string]string{"text": "hello"})
	if err != nil {
		log.Fatal(err)
	}
	log.Print("published at offset ", answer["offset"])
}`,
  curl: () => `curl ${base}realtime \\
  -H "x-api-key: $APTLY_SERVER_KEY" \\
  -H 'Content-Type: application/json' \\
  -d '{"channel":"news","message":{"text":"hello"}}'`,
};

// connectCard shows one snippet at a time; update puts another public key in.
export function connectCard() {
  let chosen = 'JavaScript';
  let key = '';
  const code = h('pre', { class: 'code', tabIndex: 0 });
  const install = h('p', {});
  const hint = h('p', { class: 'hint' });
  const show = () => {
    code.textContent = snippets[chosen](key || 'pk_…');
    install.hidden = !installs[chosen];
    fill(install, h('span', { class: 'hint' }, 'Install with '), h('code', {}, installs[chosen]));
    hint.textContent = chosen === 'Go' || chosen === 'curl'
      ? 'Publishes with a server key (sk_…): keep it out of web pages.'
      : 'Subscribes with the public key of this project, which may be in a web page.';
    for (const tab of choices.children) tab.setAttribute('aria-selected', String(tab.textContent === chosen));
  };
  const choices = h('div', { class: 'segments', role: 'tablist', 'aria-label': 'Language' }, Object.keys(snippets).map((name) =>
    h('button', { type: 'button', role: 'tab', onclick: () => { chosen = name; show(); } }, name)));
  const node = card('How to connect', { id: 'connect', hint: h('span', {}, 'Endpoint ', h('code', {}, endpoint())) },
    h('div', { class: 'row between' }, choices, copyButton(() => code.textContent, 'Copy', 'the code')),
    install, code, hint);
  show();
  return {
    node,
    update(project) {
      const live = project.keys.filter((k) => k.kind === 'public' && k.key);
      const current = live.find((k) => !k.expiresAt) ?? live[0];
      if (current?.key === key) return;
      key = current?.key ?? '';
      show();
    },
  };
}
