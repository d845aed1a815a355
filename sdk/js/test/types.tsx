// What the types promise, checked by the compiler (npm run types) against the built package: each
// line marked @ts-expect-error must be an error, and all others none.
import Brook, { BrookError, type Position, type PublishResult, type Status, type Subscribed } from '@aptlyd/brook';
import heal from '@aptlyd/brook/heal';
import BrookProvider, { useConnection, useHistory, useLazyStream, usePublish, useStream } from '@aptlyd/brook/react';

function is<T>(_: T) {}

new Brook({ apiKey: 'pk_', endpoint: 'wss://rt.example.com' });
new Brook({ token: async ({ reason }) => (is<'connect' | 'reconnect' | 'refresh' | 'refused'>(reason), 'token') });
new Brook({ apiKey: 'pk_', endpoints: ['a', 'b'], store: localStorage, offlineQueue: { max: 1 }, WebSocket });
// @ts-expect-error an option that there is not
new Brook({ apikey: 'pk_' });
// @ts-expect-error a token function returns text
new Brook({ token: async () => 17 });

const client = new Brook({ apiKey: 'pk_' });
is<Promise<boolean>>(client.connect());
is<Status>(client.getConnectionStatus());
is<() => void>(client.onConnectivityChange((status) => is<Status>(status)));
// @ts-expect-error no such status
is<'online'>(client.getConnectionStatus());

const channel = client.realtime.channel('orders');
const end = channel.stream<{ order: number }>((data, meta) => {
  is<number>(data.order);
  is<number | undefined>(meta.offset);
  is<boolean | undefined>(meta.replay);
  // @ts-expect-error the message has no such field
  data.price;
}, { from: { last: 50 }, onGap: (from, to) => is<number>(from + to), onError: (err) => is<BrookError>(err) });
is<Promise<Subscribed>>(end.ready);
end();
channel.stream(() => {}, { loadState: async (): Promise<Position> => ({ offset: 1, epoch: 'e' }) });
// @ts-expect-error where a stream begins is none of these
channel.stream(() => {}, { from: 'yesterday' });
is<Promise<PublishResult>>(channel.publish(null, { id: 'order-17' }));
channel.publish(1).catch((err: BrookError) => is<string>(err.code));
channel.publish(1).then((r) => is<number>(r.offset));

is<() => void>(heal({ onConnectivityChange: () => () => {}, channels: new Map(), connection: { send() {} } }));

export function App() {
  return <BrookProvider config={client}><Room /></BrookProvider>;
}
// @ts-expect-error the client is missing
export const bad = <BrookProvider />;

function Room() {
  const { streaming } = useStream<string>('room', (text) => is<string>(text));
  const lazy = useLazyStream<{ n: number }>(null);
  const publish = usePublish('room');
  const { status } = useConnection();
  const history = useHistory<string>('room', { limit: 10 });
  is<boolean>(streaming);
  is<number | undefined>(lazy.message?.n);
  is<Status>(status);
  is<Promise<PublishResult>>(publish({ text: 'hello' }));
  return <b>{history.messages.map((m) => m.data)}</b>;
}
