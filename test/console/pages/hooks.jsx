// A page with the hooks of the published SDK.
import { useState } from 'react';
import { createRoot } from 'react-dom/client';
import Brook from '@aptly-sdk/brook';
import { BrookProvider, useConnection, usePublish, useStream } from '@aptly-sdk/brook/react';

const { key, endpoint } = Object.fromEntries(new URLSearchParams(location.search));
const client = new Brook({ apiKey: key });
client.config.endpoint = endpoint;

function News() {
  const { status } = useConnection();
  const [messages, setMessages] = useState([]);
  useStream('news', (message, { offset }) => setMessages((seen) => [...seen, `${offset} ${JSON.stringify(message)}`]));
  const publish = usePublish('news');
  return <>
    <p id="status">{status}</p>
    <pre id="messages">{messages.join('\n')}</pre>
    <button onClick={() => publish({ text: 'from a hook' })}>Publish</button>
  </>;
}

createRoot(document.getElementById('root')).render(<BrookProvider config={client}><News /></BrookProvider>);
