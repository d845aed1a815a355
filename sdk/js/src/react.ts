import {
  createContext, createElement, useCallback, useContext, useEffect, useMemo, useRef, useState, useSyncExternalStore,
  type ReactElement, type ReactNode,
} from 'react';
import { Presence, type Member } from '@aptlyd/brook/presence';
import type { Brook } from './client.js';
import type { MessageHandler, MessageMetadata, PublishOptions, PublishResult, Status, StreamOptions } from './types.js';

export type * from './types.js';

export interface BrookContextValue {
  client: Brook;
  log?: Brook['log'];
}

export interface BrookProviderProps {
  /** config is the client. */
  config: Brook;
  children?: ReactNode;
}

const Context = createContext<BrookContextValue | null>(null);

/** BrookProvider gives its children a client, and connects it. The client stays connected when it goes. */
export function BrookProvider({ config, children }: BrookProviderProps): ReactElement {
  if (!config) throw new Error('BrookProvider requires a config prop with Brook client instance');
  useEffect(() => {
    config.connect().catch((err) => config.log.error(err)); // useConnection tells the status
  }, [config]);
  const value = useMemo(() => ({ client: config, log: config.log }), [config]);
  return createElement(Context.Provider, { value }, children);
}

export function useBrookContext(): BrookContextValue {
  const context = useContext(Context);
  if (!context) throw new Error('Hook must be used within a BrookProvider');
  return context;
}

/** useConnection returns the status of the connection. */
export function useConnection(): { status: Status } {
  const { client } = useBrookContext();
  const status = useSyncExternalStore<Status>(
    useCallback((changed) => client.onConnectivityChange(changed), [client]),
    () => client.getConnectionStatus(),
    () => 'disconnected',
  );
  return { status };
}

/** useLatest returns a reference to what was given last. */
function useLatest<T>(value: T): { readonly current: T } {
  const ref = useRef(value);
  useEffect(() => {
    ref.current = value;
  });
  return ref;
}

/** useSubscription follows a topic while `wanted`, and calls what it was given last. */
function useSubscription(topic: string | null | undefined, wanted: boolean, call: MessageHandler, options: StreamOptions) {
  const { client } = useBrookContext();
  const latest = useLatest(call);
  const given = useLatest(options);
  const [streaming, setStreaming] = useState(false);
  useEffect(() => {
    if (!topic || !wanted) return;
    const end = client.realtime.channel(topic).stream((data, metadata) => latest.current(data, metadata), {
      ...given.current,
      onGap: (from, to) => given.current.onGap?.(from, to),
      onReset: (now) => given.current.onReset?.(now),
      onRecovered: () => given.current.onRecovered?.(),
    });
    setStreaming(true);
    return () => {
      end();
      setStreaming(false);
    };
  }, [client, topic, wanted]);
  return streaming;
}

/** useStream calls back with each message of a topic, in order and at once, until the component unmounts. */
export function useStream<T = any>(topic: string | null | undefined, callback: MessageHandler<T>, options: StreamOptions = {}) {
  const [wanted, setWanted] = useState(true);
  const streaming = useSubscription(topic, wanted, callback, options);
  const subscribe = useCallback(() => setWanted(true), []);
  const unsubscribe = useCallback(() => setWanted(false), []);
  return { streaming, subscribe, unsubscribe };
}

/** useLazyStream returns the latest message of a topic, from when subscribe() is called. */
export function useLazyStream<T = any>(topic: string | null | undefined, options: StreamOptions = {}) {
  const [latest, setLatest] = useState<{ message?: T; metadata?: MessageMetadata }>({});
  const [wanted, setWanted] = useState(false);
  const streaming = useSubscription(topic, wanted, (message, metadata) => setLatest({ message, metadata }), options);
  const subscribe = useCallback(() => setWanted(true), []);
  const unsubscribe = useCallback(() => setWanted(false), []);
  return { message: latest.message, metadata: latest.metadata, streaming, subscribe, unsubscribe };
}

/** usePublish returns a function that publishes to a topic. */
export function usePublish(topic: string): (message: unknown, options?: PublishOptions) => Promise<PublishResult> {
  const { client } = useBrookContext();
  return useCallback((message, options) => client.realtime.channel(topic).publish(message, options), [client, topic]);
}

export interface History<T = any> {
  messages: { offset: number; timestamp: number; data: T }[];
  loading: boolean;
  error?: Error;
}

/** useHistory reads what is retained of a topic behind an offset, once. */
export function useHistory<T = any>(topic: string, { after = 0, limit = 100 } = {}): History<T> {
  const { client } = useBrookContext();
  const [state, setState] = useState<History<T>>({ messages: [], loading: true });
  useEffect(() => {
    let over = false;
    client.history(topic, { after, limit }).then(
      (page) => over || setState({ messages: page.messages as History<T>['messages'], loading: false }),
      (error) => over || setState({ messages: [], loading: false, error }),
    );
    return () => {
      over = true;
    };
  }, [client, topic, after, limit]);
  return state;
}

/** usePresence returns who is in a topic, and makes the client one of them while `data` is given. */
export function usePresence<T = any>(topic: string | null | undefined, { data }: { data?: T } = {}) {
  const { client } = useBrookContext();
  const [state, setState] = useState<{ members: Member<T>[]; count: number }>({ members: [], count: 0 });
  const room = useRef<Presence<T>>(undefined);
  useEffect(() => {
    if (!topic) return;
    const p = (room.current = new Presence<T>(client, topic));
    p.watch(({ members, count }) => setState({ members: [...members.values()], count }));
    return () => {
      room.current = undefined;
      p.close();
    };
  }, [client, topic]);
  const text = JSON.stringify(data);
  useEffect(() => {
    if (text !== undefined) room.current?.enter(data!).catch((err) => client.log.error(err));
    else room.current?.leave().catch(() => {});
  }, [client, topic, text]);
  return state;
}

export default BrookProvider;
