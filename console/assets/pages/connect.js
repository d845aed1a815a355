// How to connect: snippets with the project's own keys and the addresses of the nodes.
import { h, fill, setText } from '../dom.js';
import { base } from '../api.js';
import { card, copyButton } from '../parts.js';

// Below a path of a proxy the endpoint ends in a slash: there is the WebSocket.
const here = () => (base === location.origin + '/' ? location.origin : base).replace(/^http/, 'ws');

const own = '@aptlyd/brook';
const official = '@aptly-sdk/brook';

// heal has the official SDK subscribe again after it has reconnected, which it does not do by
// itself. It works for its hooks of React too, which go silent without it.
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

const news = `function News() {
  const { status } = useConnection();
  const [last, setLast] = useState(null);
  useStream('news', (message) => setLast(message));
  return <p>{status}: {JSON.stringify(last)}</p>;
}

export default function App() {
  return <BrookProvider config={client}><News /></BrookProvider>;
}`;

const where = (urls) => urls.length > 1 ? `endpoints: [${urls.map((url) => `'${url}'`).join(', ')}]` : `endpoint: '${urls[0]}'`;

// Each snippet takes the public key, the addresses and the id of a server key.
const snippets = {
  JavaScript: {
    install: 'npm install @aptlyd/brook', sdk: own, key: 'public',
    text: (key, urls) => `import Brook from '@aptlyd/brook';

const client = new Brook({
  apiKey: '${key}',
  ${where(urls)},
});

client.realtime.channel('news').stream((data, { offset }) => console.log(offset, data));
client.connect().catch((error) => console.error(error.code, error.message));`,
  },
  React: {
    install: 'npm install @aptlyd/brook', sdk: own, key: 'public',
    text: (key, urls) => `import Brook from '@aptlyd/brook';
import { BrookProvider, useConnection, useStream } from '@aptlyd/brook/react';
import { useState } from 'react';

const client = new Brook({
  apiKey: '${key}',
  ${where(urls)},
});

${news}`,
  },
  Go: {
    install: 'go get github.com/aptlyd/aptlyd/client', key: 'server',
    text: (_, urls) => `package main

import (
	"context"
	"log"
	"os"

	"github.com/aptlyd/aptlyd/client"
)

func main() {
	rest := &client.REST{
		BaseURL: "${urls[0].replace(/^ws/, 'http')}",
		APIKey:  os.Getenv("APTLYD_SERVER_KEY"), // sk_…
	}
	receipt, err := rest.Publish(context.Background(), client.Publication{
		Channel: "news",
		Data:    map[string]string{"text": "hello"},
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Print("published at offset ", receipt.Offset)
}`,
  },
  curl: {
    key: 'server',
    text: (_, urls) => `curl ${urls[0].replace(/^ws/, 'http').replace(/\/$/, '')}/realtime \\
  -H "x-api-key: $APTLYD_SERVER_KEY" \\
  -H 'Content-Type: application/json' \\
  -d '{"channel":"news","message":{"text":"hello"}}'`,
  },
  Tokens: {
    install: 'npm install jsonwebtoken', key: 'signing',
    text: (_, urls, keyID) => `import jwt from 'jsonwebtoken';

// In your backend, for the user who has signed in there:
export const tokenFor = (user) => jwt.sign(
  { sub: user.id, channels: { [\`chat:\${user.id}:*\`]: ['subscribe', 'publish'] } },
  process.env.SIGNING_SECRET, // ss_…, shown once with the server key
  { keyid: '${keyID}', expiresIn: '1h' },
);

// In the page, in place of the public key:
// new Brook({ token: ({ reason }) => askYourBackend(), ${where(urls)} })`,
  },
};

const officialSnippets = {
  JavaScript: {
    install: 'npm install @aptly-sdk/brook', sdk: official, key: 'public',
    text: (key, urls) => `import Brook from '@aptly-sdk/brook';

const client = new Brook({ apiKey: '${key}' });
client.config.endpoint = '${urls[0]}';

${heal}
client.realtime.channel('news').stream((data, { offset }) => console.log(offset, data));
connect();`,
  },
  React: {
    install: 'npm install @aptly-sdk/brook', sdk: official, key: 'public',
    text: (key, urls) => `import Brook from '@aptly-sdk/brook';
import { BrookProvider, useConnection, useStream } from '@aptly-sdk/brook/react';
import { useState } from 'react';

const client = new Brook({ apiKey: '${key}' });
client.config.endpoint = '${urls[0]}';

${heal}
connect();

${news}`,
  },
};

const hints = {
  public: 'Subscribes with the public key of this project, which may be in a web page.',
  server: 'Publishes with a server key (sk_…): keep it out of web pages.',
  signing: 'Each user gets a token of their own, so that not everybody may see everything. The page Tokens makes one to try.',
};

// connectCard shows one snippet at a time; update puts other keys in, and reach the addresses
// that nodes were told with --public-url.
export function connectCard() {
  let chosen = 'JavaScript';
  let sdk = own;
  let key = '';
  let keyID = '';
  let urls = [];
  const code = h('pre', { class: 'code', tabIndex: 0 });
  const install = h('p', {});
  const hint = h('p', { class: 'hint' });
  const address = h('code', {});
  const tab = (label, onclick) => h('button', { type: 'button', role: 'tab', onclick }, label);
  const sdks = h('div', { class: 'segments', role: 'tablist', 'aria-label': 'SDK' },
    [own, official].map((name) => tab(name, () => { sdk = name; show(); })));
  const choices = h('div', { class: 'segments', role: 'tablist', 'aria-label': 'Language' },
    Object.keys(snippets).map((name) => tab(name, () => { chosen = name; show(); })));
  function show() {
    const snippet = sdk === official ? officialSnippets[chosen] ?? snippets[chosen] : snippets[chosen];
    const at = urls.length ? urls : [here()];
    code.textContent = snippet.text(key || 'pk_…', at, keyID || 'key_…');
    install.hidden = !snippet.install;
    fill(install, h('span', { class: 'hint' }, 'Install with '), h('code', {}, snippet.install));
    setText(hint, hints[snippet.key]);
    setText(address, at.join(' '));
    sdks.hidden = !officialSnippets[chosen];
    for (const t of choices.children) t.setAttribute('aria-selected', String(t.textContent === chosen));
    for (const t of sdks.children) t.setAttribute('aria-selected', String(t.textContent === sdk));
  }
  const node = card('How to connect', { id: 'connect', hint: h('span', {}, 'Endpoint ', address) },
    h('div', { class: 'row between' }, choices, copyButton(() => code.textContent, 'Copy', 'the code')),
    sdks, install, code, hint);
  show();
  return {
    node,
    update(project) {
      const pick = (kind, has) => {
        const live = project.keys.filter((k) => k.kind === kind && has(k));
        return live.find((k) => !k.expiresAt) ?? live[0];
      };
      const now = [pick('public', (k) => k.key)?.key ?? '', pick('server', () => true)?.id ?? ''];
      if (now[0] === key && now[1] === keyID) return;
      [key, keyID] = now;
      show();
    },
    reach(status) {
      const first = (m) => (m.name === status.node ? 0 : 1); // the node that serves this page
      const told = [...new Set(status.members.filter((m) => m.state === 'alive' && m.publicUrl).sort((a, b) => first(a) - first(b)).map((m) => m.publicUrl))];
      if (told.join() === urls.join()) return;
      urls = told;
      show();
    },
  };
}
