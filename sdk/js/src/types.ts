import type { BrookError } from './error.js';

/** Status of the connection, in the words of @aptly-sdk/brook. */
export type Status =
  | 'disconnected' | 'connecting' | 'authenticating' | 'connected' | 'reconnecting' | 'unauthorized' | 'failed';

/** TokenReason says why a token is asked for: the first one, before a reconnect, before it ends, or since it was refused. */
export type TokenReason = 'connect' | 'reconnect' | 'refresh' | 'refused';

/** WebSocketLike is the constructor of a WebSocket: the browser's, Node's, or that of package ws. */
export type WebSocketLike = new (url: string) => WebSocket;

/** Store keeps positions across page loads; localStorage is one. */
export interface Store {
  getItem(key: string): string | null | undefined;
  setItem(key: string, value: string): void;
}

export interface ClientConfig {
  /** apiKey is a public key, a server key or a token. */
  apiKey?: string;
  /** token returns a fresh token; it is asked before every connection and before the token ends. */
  token?: (ask: { reason: TokenReason }) => Promise<string> | string;
  /** endpoint is where the server is, such as `wss://rt.example.com`; in a page by default where the page is from. */
  endpoint?: string;
  /** endpoints are several of them: the next is tried when one fails. */
  endpoints?: string[];
  /** host is endpoint without its scheme. */
  host?: string;
  /** offlineQueue bounds what is published while there is no connection. */
  offlineQueue?: { max?: number; maxBytes?: number; maxAgeMs?: number };
  /** ackTimeoutMs is how long a publish waits for its answer before it is sent again (10,000). */
  ackTimeoutMs?: number;
  /** connectTimeoutMs is when connect() rejects while trying goes on (30,000). */
  connectTimeoutMs?: number;
  /** store keeps the position of each channel across page loads. By default nothing is kept. */
  store?: Store;
  /** WebSocket is used in place of the global one. */
  WebSocket?: unknown;
  /** transports in the order to try. 'sse', Server-Sent Events, needs `import '@aptlyd/brook/sse'`. By default ['ws']. */
  transports?: ('ws' | 'sse')[];
  /** verbose logs to the console. */
  verbose?: boolean;
}

export interface MessageMetadata {
  channel: string;
  /** offset counts from 1 in each channel; 0 in channels that keep nothing. */
  offset?: number;
  /** timestamp is the server's, in Unix milliseconds. */
  timestamp?: number;
  /** replay is true for a message from before the subscription. */
  replay?: boolean;
}

export type MessageHandler<T = any> = (data: T, metadata: MessageMetadata) => void;
export type ConnectivityCallback = (status: Status) => void;

/** Position is a place in a channel: after offset, in the epoch that the offset belongs to. */
export interface Position {
  offset: number;
  epoch?: string;
}

/** From says where a subscription begins; a number is the offset after which. */
export type From = number | 'live' | 'all' | { last: number } | { time: number };

export interface StreamOptions {
  /** from says where to begin. By default where this channel was left, else where the channel's rule says. */
  from?: From;
  /** epoch is the one that a `from` offset belongs to. */
  epoch?: string;
  /** onGap is called when messages, both offsets included, are no longer retained and will not come. */
  onGap?: (from: number, to: number) => void;
  /** onReset is called when the channel's history is another one than before: what was seen may not exist. */
  onReset?: (now: Position) => void;
  /** onRecovered is called after a reconnect through which nothing was missed. */
  onRecovered?: () => void;
  /** onError is called when the server refuses the subscription. */
  onError?: (error: BrookError) => void;
  /** loadState loads the application's state and says to which position it belongs; called again when what follows is lost. */
  loadState?: () => Promise<Position> | Position;
}

/** Subscribed is what a server says of a channel at the beginning of a subscription. */
export interface Subscribed {
  /** offset of the newest message. */
  offset: number;
  /** earliest offset that is retained; offset + 1 when none is. */
  earliest: number;
  epoch?: string;
  /** recovered is false when something after the wanted offset is missing. */
  recovered?: boolean;
}

/** Unsubscribe ends a stream when it is called. */
export interface Unsubscribe {
  (): void;
  /** ready settles with the first answer to the subscription. */
  ready: Promise<Subscribed>;
}

export interface PublishOptions {
  /** id makes a repeated publish happen once; one is made by default. */
  id?: string;
}

export interface PublishResult {
  success: true;
  error: null;
  offset: number;
  timestamp: number;
  id: string;
  /** duplicate is true when a publish with this id had happened before. */
  duplicate: boolean;
}

/** HistoryPage is what is retained of a channel. */
export interface HistoryPage<T = any> {
  channel: string;
  epoch: string;
  earliest: number;
  /** offset is the head. */
  offset: number;
  messages: { offset: number; timestamp: number; data: T }[];
}

/** Frame is one JSON object of the protocol. */
export interface Frame {
  type: string;
  channel?: string;
  [field: string]: any;
}

export interface ChannelStats {
  name: string;
  streamHandlers: number;
  connectionState: Status;
}

export interface ConnectionStats {
  state: Status;
  clientId: string;
  isAuthenticated: boolean;
  reconnectAttempts: number;
  queuedMessages: number;
  lastPongTime?: number;
  backoffStatus: { attempts: number };
}

export interface PackageStats {
  connection: ConnectionStats;
  channels: Record<string, ChannelStats>;
  activeChannels: number;
}
