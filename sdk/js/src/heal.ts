/** Official is what heal needs of an instance of @aptly-sdk/brook. */
export interface Official {
  onConnectivityChange(callback: (status: string) => void): () => void;
  channels: Map<string, { name: string; offset: number; streams: Map<unknown, unknown> }>;
  connection: { send(frame: object): void };
}

/**
 * heal makes an instance of @aptly-sdk/brook subscribe again after each reconnect, from where
 * every channel is. The returned function ends it.
 */
export function heal(client: Official): () => void {
  return client.onConnectivityChange((status) => {
    if (status !== 'connected') return;
    for (const { name, offset, streams } of client.channels.values()) {
      if (streams.size) client.connection.send({ type: 'subscribe', channel: name, fromOffset: offset });
    }
  });
}

export default heal;
