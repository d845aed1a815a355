import { useState } from 'react';
import { createRoot } from 'react-dom/client';
import Brook from '@aptlyd/brook';
import { BrookProvider, useConnection, usePublish, useStream } from '@aptlyd/brook/react';

async function fetchToken(user) {
  const answer = await fetch(`/token?user=${encodeURIComponent(user)}`, { method: 'POST' });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

function App() {
  const [session, setSession] = useState();
  const [error, setError] = useState('');
  async function join(event) {
    event.preventDefault();
    const user = new FormData(event.target).get('user');
    try {
      const { broker } = await fetchToken(user);
      const client = new Brook({ endpoint: broker, token: async () => (await fetchToken(user)).token });
      setSession({ user, client });
    } catch (err) {
      setError(err.message);
    }
  }
  if (!session) {
    return <form onSubmit={join}><input name="user" placeholder="Your name" autoFocus /> <button>Join</button> <p role="alert">{error}</p></form>;
  }
  return <BrookProvider config={session.client}><Room name="chat:lobby" user={session.user} /></BrookProvider>;
}

function Room({ name, user }) {
  const [lines, setLines] = useState([]);
  const [waiting, setWaiting] = useState([]); // said, and not yet safe
  const { status } = useConnection();
  const publish = usePublish(name);
  useStream(name, (line, { offset }) => setLines((all) => [...all, { ...line, offset }]), {
    from: { last: 50 },
    onGap: (from, to) => setLines((all) => [...all, { user: '', text: `${to - from + 1} messages are gone`, offset: to }]),
  });
  async function say(event) {
    event.preventDefault();
    const form = event.target;
    const line = { user, text: new FormData(form).get('text'), id: crypto.randomUUID() };
    form.reset();
    setWaiting((all) => [...all, line]);
    try {
      await publish({ user, text: line.text }, { id: line.id });
      setWaiting((all) => all.filter((l) => l !== line));
    } catch (err) {
      setWaiting((all) => all.map((l) => (l === line ? { ...l, failed: err.message } : l)));
    }
  }
  return <>
    <p id="status">{status}</p>
    <ol>
      {lines.map((l) => <li key={l.offset}><b>{l.user}</b> {l.text}</li>)}
      {waiting.map((l) => <li key={l.id} className={l.failed ? 'failed' : 'pending'}><b>{l.user}</b> {l.text} {l.failed}</li>)}
    </ol>
    <form onSubmit={say}><input name="text" placeholder="Say something" required maxLength="1000" /> <button>Send</button></form>
  </>;
}

createRoot(document.getElementById('root')).render(<App />);
